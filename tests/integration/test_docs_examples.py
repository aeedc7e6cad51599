"""The worked examples of the documentation compute what they say.

That they join by the command line is tested in ``tests/e2e``: a study in ``test_another_packages_study``, a model,
an edit, a predictor and a perceptual measure in ``test_own_code``, metrics in ``test_extra_metrics``.
"""

import importlib.util
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel

import diffgeo
from diffgeo.api import run_study
from diffgeo.composition import typed
from diffgeo.config import EditConfig
from diffgeo.diffusion.noise_schedule import NoiseSchedule
from diffgeo.errors import ConfigError
from diffgeo.session import Context

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def load(path, name):
    """The example as the module that it becomes."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def test_the_first_steps_end_in_three_pictures(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    left = runpy.run_path(str(EXAMPLES / "first_steps.py"))
    assert left["pictures"].shape == (3, 3, 32, 32)
    assert left["basis"].certificate.converged
    assert not torch.equal(left["pictures"][0], left["pictures"][2])


def test_any_network_has_a_jacobian():
    left = runpy.run_path(str(EXAMPLES / "any_network.py"))
    picture, classifier = left["picture"], left["classifier"]
    gradient = torch.autograd.functional.jacobian(lambda x: classifier(x)[0, 1], picture).flatten()
    torch.testing.assert_close(left["gradients"][:, 1], gradient, rtol=1e-3, atol=1e-6)
    step = torch.zeros(12288)
    step[2] = 1e-2
    changed = (classifier(picture + step.reshape(picture.shape)) - classifier(picture))[0] / 1e-2
    assert torch.nn.functional.cosine_similarity(left["images"][:, 2], changed, dim=0) > 0.99
    assert left["basis"].certificate.converged
    dense = torch.autograd.functional.jacobian(left["first_token"], left["embeddings"]).reshape(64, -1)
    assert left["largest"] == pytest.approx(torch.linalg.svdvals(dense)[:3].flip(0).numpy(), rel=1e-4)


def test_what_the_study_measures(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES / "study")
    for name in [name for name in sys.modules if name.startswith("diffgeo_greyness")]:
        monkeypatch.delitem(sys.modules, name)
    measure = importlib.import_module("diffgeo_greyness.measure")
    grey, colour = torch.ones(3, 4, 4), torch.ones(3, 4, 4)
    colour[1] *= -1
    colour[2] = 0
    random = torch.randn(48, 400, generator=torch.Generator().manual_seed(0))
    v = torch.cat([grey.flatten()[:, None], colour.flatten()[:, None], random], dim=1)
    shares = measure.greyness(v / v.norm(dim=0), (3, 4, 4))
    assert shares[0] == pytest.approx(1)
    assert shares[1] == pytest.approx(0)
    assert shares[2:].mean().item() == pytest.approx(1 / 3, abs=0.02)


@pytest.fixture
def conditional():
    """``conditional(label)``: the example's model, on one tiny class-conditional network with random weights."""
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        num_class_embeds=3,
    )
    made = load("model/my_model.py", "my_model").ClassConditional
    schedule = NoiseSchedule.of(DDPMScheduler(num_train_timesteps=1000))
    return lambda label: made(unet, schedule, label, name="mine", source="random weights")


def test_the_model_shows_its_class_everywhere(conditional):
    zero, one = conditional(0), conditional(1)
    x = diffgeo.initial_noise(zero, [0])
    assert not torch.allclose(zero.predict_noise(x, 500), one.predict_noise(x, 500))
    bases = [diffgeo.local_basis(model.feature_map(500), x, 3) for model in (zero, one)]
    assert diffgeo.grassmann_distance(bases[0].U, bases[1].U) > 0.01
    assert zero.fingerprint != one.fingerprint
    with pytest.raises(ConfigError, match="3 classes"):
        conditional(3)


def test_studies_run_on_the_model_from_python(conditional, composed):
    small = ("scale=smoke", "schedule.steps=4", "schedule.edit=[1.0,0.5]", "svd.rank=3", "edit.frames=3")
    cfg = typed(composed(*small, "data.samples=1", "predictor=none", "study=[discovery]", "device=cpu"))
    result = run_study("discovery", Context(conditional(1), cfg), cfg.study["discovery"])
    assert set(result.table["model"]) == {"random weights"}
    assert len(result.table) == cfg.data.samples * 2 * 3


@pytest.mark.parametrize("share", [1.0, 0.5, 0.0])
def test_the_edit_takes_out_its_share_of_grey_and_keeps_the_length(share):
    cfg = EditConfig(_target_="my_edit.Colour", method="colour", frames=3, normalise=False)
    model = SimpleNamespace(latent_size=48)
    edit = load("edit/my_edit.py", "my_edit").Colour(model, cfg, None, None, share=share)
    generator = torch.Generator().manual_seed(0)
    x, v = (torch.randn(shape, generator=generator) for shape in ((3, 4, 4), (48,)))
    v = v / v.norm()
    sample = SimpleNamespace(x0=None)
    moved = edit.move(x, v, edit.gammas, 500, sample) - x
    torch.testing.assert_close(moved.flatten(1).norm(dim=1), edit.gammas.abs())
    grey, colour = v.view(3, 4, 4).mean(dim=0), v.view(3, 4, 4)
    colour = colour - grey
    found = moved[2].mean(dim=0).norm() / (moved[2] - moved[2].mean(dim=0)).norm()
    assert found.item() == pytest.approx((1 - share) * (grey.norm() / colour.norm()).item(), abs=1e-6)
