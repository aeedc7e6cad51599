"""Products with J of a network of Stable Diffusion's size, in a process with little memory."""

import subprocess
import sys
from textwrap import dedent

import pytest

PROGRAM = """
    import resource, torch
    from diffusers import UNet2DConditionModel
    from diffgeo import local_basis
    from diffgeo.diffusion.feature_map import FeatureMap

    resource.setrlimit(resource.RLIMIT_AS, (6_000_000_000, 6_000_000_000))
    torch.manual_seed(0)
    torch.set_num_threads(1)
    widths = (64, 128, 256, 256)
    unet = UNet2DConditionModel(
        sample_size=64, cross_attention_dim=768, attention_head_dim=8, block_out_channels=widths
    )
    unet.eval().requires_grad_(False)
    text = torch.randn(1, 77, 768)
    run = lambda x: unet(x, 981, encoder_hidden_states=text.expand(len(x), -1, -1))
    basis = local_basis(FeatureMap(run, unet), torch.randn(4, 64, 64), 4, tol=0.2)
    assert basis.certificate.converged, basis
    print(basis.V.shape, basis.certificate.passes)
"""


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
def test_a_basis_of_a_large_network_in_six_gigabytes():
    done = subprocess.run([sys.executable, "-c", dedent(PROGRAM)], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "torch.Size([16384, 4])" in done.stdout
