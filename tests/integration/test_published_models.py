"""Every entry of ``conf/model/`` runs from disk to edited pictures, and so does every kind of network that it may hold.

Weights are random: what is tested is that the architectures load and go through. The quick tests narrow them; the slow
ones have them at full width.
"""

import math
import shutil
from dataclasses import replace

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

import diffgeo
from diffgeo import JacobianOperator
from diffgeo.composition import check, typed
from diffgeo.config import TextToImageConfig, config_folder
from diffgeo.diffusion.models import SHIPPED
from diffgeo.diffusion.noise_schedule import CLEAN
from published import CALM, PUBLISHED, build_unet, save_published

ENTRIES = sorted(path.stem for path in (config_folder() / "model").glob("*.yaml"))
BY_FAMILY = ["dit_xl_256", "flux_dev", "ldm_celebahq", "local_class", "pixart_alpha", "sana_600m", "sd3_medium"]
BY_FAMILY += ["sdxl_base"]
"""Entries whose families are tried in ``tests/unit/test_families.py`` and ``test_sd3.py``."""
UNPINNED = ["ldm_celebahq"]
"""Entries of which no commit could be verified."""
OWN_FOLDER = {"afhq_dog": "afhq_dog", "local": "ddpm_celebahq", "local_class": "", "local_sd": "sd15"}
"""Entries that have no model of their own, and the architecture that they are tried with."""
EQUAL = dict.fromkeys(("ddpm_lsun_bedroom", "ddpm_lsun_cat", "ddpm_lsun_church", "local"), "ddpm_celebahq")
EQUAL["local_sd"] = "sd15"
"""Entries that, with these random weights, are another one to the last bit: they are loaded, the other goes through."""
QUICK = {*EQUAL, "ddpm_celebahq", "sd15"}
"""An entry on pixels and one on latents; the others go through among the slow tests."""


def slow_unless(quick, cases):
    """The cases, as parameters; those that are not among the quick ones are slow."""
    slow = [case for case in cases if case not in quick]
    return [
        *(case for case in cases if case in quick),
        *(pytest.param(*([case] if isinstance(case, str) else case), marks=pytest.mark.slow) for case in slow),
    ]


def settings(composed, entry, folder=None):
    """The entry as a run would have it, with a folder in place of its hub id."""
    overrides = [f"model={entry}"]
    if folder is not None:
        overrides.append(f"model.path={folder}")
    text = (config_folder() / "model" / f"{entry}.yaml").read_text()
    if "/schema/model/text_to_image@" in text:
        overrides.append("prompt='a smiling face'")
    if "/schema/model/class_conditional@" in text:
        overrides.append("model.class_label=1")
    config = typed(composed(*overrides))
    check(config)
    return config.model


def load(m):
    """What the runner loads for these settings."""
    keys = ("prompt", "negative_prompt", "guidance", "inversion_guidance")
    prompted = {key: getattr(m, key) for key in keys} if isinstance(m, TextToImageConfig) else {}
    return diffgeo.load_model(m.path, revision=m.revision, local_files_only=True, **prompted)


def picture(height, width):
    """A smooth picture (1, 3, height, width) in [−1, 1]."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return 0.8 * torch.stack([x, y, torch.sin(3 * x) * torch.cos(3 * y)])[None]


def psnr(a, b):
    return 10 * torch.log10(4 / (a - b).square().mean()).item()


def goes_through(model, x0, *, steps=6, tol=3e-2, block="mid"):
    """Invert x0, rebuild it, find three directions at T, and edit along the first; the picture's PSNR."""
    top = model.schedule.T
    assert x0.shape[1:] == model.latent_shape
    plain = model.inverter
    x = diffgeo.ddim_invert(plain, x0, steps=steps)
    rebuilt = diffgeo.ddim_sample(plain, x, steps=steps)

    f = model.feature_map(top, block)
    basis = diffgeo.local_basis(f, x[0], 3, tol=tol)
    assert basis.certificate.converged
    jacobian = JacobianOperator(f, x[0], forward=True)  # on small x the solver goes by reverse mode alone
    image = jacobian.mv(basis.V[:, :1])
    torch.testing.assert_close(image, basis.U[:, :1] * basis.s[0], atol=2 * tol * basis.s[0].item(), rtol=0)
    torch.testing.assert_close(basis.V.T @ basis.V, torch.eye(3, dtype=model.dtype), atol=1e-5, rtol=0)

    gammas = torch.tensor([-1.0, 1.0]) * 0.1 * math.sqrt(x[0].numel())
    moved = diffgeo.single_step(x[0], basis.V[:, 0], gammas)
    moved = diffgeo.normalise_distortion(model.predict_noise, model.schedule, x, moved, top)
    pictures = model.decode(diffgeo.ddim_sample(model, moved, steps=steps))
    assert pictures.shape == (2, 3, model.picture_size, model.picture_size)
    assert bool(torch.isfinite(pictures).all())
    assert (pictures[0] - pictures[1]).abs().max() > 1e-3
    return psnr(model.decode(rebuilt), model.decode(x0))


@pytest.mark.slow
@pytest.mark.parametrize("entry", slow_unless(QUICK, sorted(set(ENTRIES) - set(BY_FAMILY))))
def test_every_entry_is_composed_and_runs_from_disk_to_edited_pictures(composed, published, entry):
    if entry in SHIPPED:  # trained ones rebuild only what they know
        own = settings(composed, entry)
        model = load(own)
        assert model.source == f"shipped:{entry}"
        x0 = diffgeo.ddim_sample(model, diffgeo.initial_noise(model, [0]), steps=20, clip=model.bounded)
        # the flow's U-Net is inverted worst: 16 dB in 20 steps, 32 in 60, 39 in 100
        assert goes_through(model, x0, steps=60 if entry == "factor_faces_flow_unet" else 20, block=own.block) > 20
        return
    name = OWN_FOLDER.get(entry, entry)
    architecture = PUBLISHED[name]
    own = settings(composed, entry, published(name))
    model = load(own)
    untouched = {key: value for key, value in architecture.unet.items() if key not in architecture.narrow}
    assert {key: model.unet.config[key] for key in untouched} == untouched
    if entry in EQUAL:
        other = EQUAL[entry]
        assert architecture == PUBLISHED[other]
        assert replace(own, revision=None) == replace(settings(composed, other, published(name)), revision=None)
        return
    assert goes_through(model, model.encode(picture(model.picture_size, model.picture_size))) > 20


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_the_architectures_have_the_published_numbers_of_parameters(name):
    with torch.device("meta"):
        unet = build_unet(name)
    assert sum(p.numel() for p in unet.parameters()) == PUBLISHED[name].parameters


def test_every_hub_model_is_pinned_to_a_commit_that_is_known(composed):
    hub = [entry for entry in ENTRIES if entry not in SHIPPED and entry not in OWN_FOLDER]
    assert hub == sorted((set(PUBLISHED) | set(BY_FAMILY)) - set(OWN_FOLDER))
    pinned = sorted(set(hub) - set(UNPINNED))
    revisions = {settings(composed, entry).revision for entry in pinned}
    assert len(revisions) == len(pinned)
    assert all(len(revision) == 40 and set(revision) <= set("0123456789abcdef") for revision in revisions)


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["ddpm_celebahq", "sd15", "sd21_base"])
def test_the_architectures_run_at_full_width(composed, tmp_path, name):
    folder = save_published(name, tmp_path / name, full_width=True)
    model = load(settings(composed, name, folder))
    shutil.rmtree(folder)  # gigabytes, which pytest would keep
    assert sum(p.numel() for p in model.unet.parameters()) == PUBLISHED[name].parameters
    assert goes_through(model, model.encode(picture(model.picture_size, model.picture_size)), steps=3, tol=0.1) > 20


# any network of the class, in miniature

LAYOUTS = {
    "plain": {},
    "learned_variance": {"out_channels": 6},
    "resnet_samplers": {"downsample_type": "resnet", "upsample_type": "resnet"},
    "resnet_blocks": {
        "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
    },
    "scale_shift_norms": {"resnet_time_scale_shift": "scale_shift"},
    "improved_ddpm": {
        "out_channels": 6,
        "resnet_time_scale_shift": "scale_shift",
        "downsample_type": "resnet",
        "upsample_type": "resnet",
        "flip_sin_to_cos": False,
        "freq_shift": 1,
    },
    "no_attention": {
        "add_attention": False,
        "down_block_types": ("DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D"),
    },
    "skip_blocks": {
        "sample_size": 8,
        "block_out_channels": (32, 32),
        "down_block_types": ("SkipDownBlock2D", "AttnSkipDownBlock2D"),
        "up_block_types": ("AttnSkipUpBlock2D", "SkipUpBlock2D"),
    },
    "oblong": {"sample_size": (8, 16)},
    "grey": {"in_channels": 1, "out_channels": 1, "sample_size": 24},
}
CASES = [("epsilon", layout) for layout in LAYOUTS]
CASES += [(other, layout) for other in ("v_prediction", "sample") for layout in ("plain", "improved_ddpm")]
QUICK_CASES = [("v_prediction", "improved_ddpm")]


def save_layout(folder, prediction="epsilon", **changes):
    """A tiny pipeline of ``UNet2DModel``; what makes its output is calm, as in ``published``."""
    config = {
        "sample_size": 16,
        "layers_per_block": 1,
        "block_out_channels": (8, 16),
        "norm_num_groups": 4,
        "attention_head_dim": 8,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DModel(**config | changes).requires_grad_(False)
    for layer in (unet.conv_out, *(getattr(block, "skip_conv", None) for block in unet.up_blocks)):
        if layer is not None:
            layer.weight.mul_(CALM)
    variance = "learned_range" if unet.config.out_channels != unet.config.in_channels else "fixed_small"
    scheduler = DDPMScheduler(num_train_timesteps=1000, prediction_type=prediction, variance_type=variance)
    DDPMPipeline(unet, scheduler).save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("prediction", "layout"), slow_unless(QUICK_CASES, CASES))
def test_any_layout_and_parametrisation_goes_through(tmp_path, prediction, layout):
    model = diffgeo.load_model(save_layout(tmp_path / "m", prediction, **LAYOUTS[layout]), dtype=torch.float64)
    assert model.schedule.prediction == prediction
    x = diffgeo.initial_noise(model, [0])
    assert model.predict_noise(x, 500).shape == x.shape
    for block in model.blocks:
        jacobian = JacobianOperator(model.feature_map(500, block), x[0], forward=True)
        v, w = (torch.randn(n, 1, generator=torch.Generator().manual_seed(n)).double() for n in jacobian.shape[::-1])
        torch.testing.assert_close((jacobian.mv(v) * w).sum(), (v * jacobian.rmv(w)).sum(), rtol=1e-9, atol=1e-12)
    f = model.feature_map(500)
    exact = JacobianOperator(f, x[0]).dense()
    basis = diffgeo.local_basis(f, x[0], 3, tol=1e-6)
    assert basis.certificate.solver == ("golub_kahan" if min(exact.shape) > 256 else "dense")
    torch.testing.assert_close(basis.s, torch.linalg.svdvals(exact)[:3], rtol=1e-9, atol=0)
    torch.testing.assert_close(exact @ basis.V, basis.U * basis.s, atol=1e-5 * basis.s[0].item(), rtol=0)
    torch.testing.assert_close(exact.T @ basis.U, basis.V * basis.s, atol=1e-5 * basis.s[0].item(), rtol=0)

    # the last step to the clean picture is x̂0 itself, which a network that predicts x0 at random cannot rebuild
    end = model.schedule.timesteps(20)[-1] if prediction == "sample" else CLEAN
    x0 = model.encode(picture(*model.latent_shape[1:]).double())
    noised = diffgeo.ddim_invert(model, x0, steps=20, start=end)
    assert psnr(diffgeo.ddim_sample(model, noised, steps=20, stop=end), x0) > 25
    moved = diffgeo.single_step(noised[0], basis.V[:, 0], torch.tensor([0.0, 3.0]))
    normalised = diffgeo.normalise_distortion(model.predict_noise, model.schedule, noised, moved, model.schedule.T)
    assert bool(torch.isfinite(normalised).all())
    pictures = model.decode(diffgeo.ddim_sample(model, moved, steps=20, stop=end))
    assert pictures.shape == (2, 3, *model.latent_shape[1:])
    assert (pictures[0] - pictures[1]).abs().max() > 1e-3


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_every_parametrisation_is_the_noise_of_its_definition(tmp_path, prediction):
    model = diffgeo.load_model(save_layout(tmp_path / "m", prediction), dtype=torch.float64)
    x, t = diffgeo.initial_noise(model, [0]), 300
    scheduler = DDPMScheduler.from_pretrained(tmp_path / "m" / "scheduler")
    with torch.no_grad():
        output = model.unet(x, t).sample
    alpha = scheduler.alphas_cumprod[t].double()
    x0 = {
        "epsilon": (x - (1 - alpha).sqrt() * output) / alpha.sqrt(),
        "v_prediction": alpha.sqrt() * x - (1 - alpha).sqrt() * output,
        "sample": output,
    }[prediction]
    expected = (x - alpha.sqrt() * x0) / (1 - alpha).sqrt()
    torch.testing.assert_close(model.predict_noise(x, t), expected, rtol=1e-6, atol=1e-6)
