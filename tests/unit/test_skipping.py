"""Networks without one of their blocks."""

import pytest
import torch
from diffusers import SD3Transformer2DModel, UNet2DModel
from diffusers.models.attention import JointTransformerBlock

from diffgeo.diffusion.skipping import without_block
from diffgeo.errors import ConfigError


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    sizes = {"block_out_channels": (32, 64), "layers_per_block": 1, "norm_num_groups": 8}
    types = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
    return UNet2DModel(sample_size=8, in_channels=3, out_channels=3, **sizes, **types).eval().requires_grad_(False)


def seen(module, run):
    """(input, output) of a module while the network runs."""
    found = []
    handle = module.register_forward_hook(lambda _m, inputs, output: found.append((inputs[0], output)))
    run()
    handle.remove()
    return found[0]


def test_a_middle_block_that_is_skipped_passes_its_input_on(unet):
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with without_block(unet, "mid"):
        given, returned = seen(unet.mid_block, lambda: unet(x, 10))
    assert torch.equal(given, returned)
    given, returned = seen(unet.mid_block, lambda: unet(x, 10))
    assert not torch.allclose(given, returned), "all is as before behind the context"


@pytest.mark.parametrize("block", ["down.0", "down.1", "up.0", "up.1"])
def test_every_block_of_a_unet_can_be_skipped(unet, block):
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    whole = unet(x, 10).sample
    with without_block(unet, block):
        without = unet(x, 10).sample
    assert without.shape == whole.shape
    assert not torch.allclose(without, whole)
    assert torch.equal(unet(x, 10).sample, whole)


def test_a_joint_block_that_is_skipped_passes_image_and_text_on():
    torch.manual_seed(0)
    block = JointTransformerBlock(dim=16, num_attention_heads=2, attention_head_dim=8).eval()
    network = torch.nn.Module()
    network.transformer_blocks = torch.nn.ModuleList([block])
    image, text, time = torch.randn(1, 4, 16), torch.randn(1, 3, 16), torch.randn(1, 16)
    with without_block(network, "transformer_blocks.0"), torch.no_grad():
        context, hidden = block(image, text, time)
    assert torch.equal(hidden, image)
    assert torch.equal(context, text)


def test_a_module_without_residual_branches_cannot_be_skipped():
    network = SD3Transformer2DModel(
        sample_size=4, patch_size=2, in_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=8, caption_projection_dim=16, pooled_projection_dim=8, pos_embed_max_size=4,
    )  # fmt: skip
    with pytest.raises(ConfigError, match="no residual branch"), without_block(network, "transformer_blocks.0.norm1"):
        pass
