"""Imported checkpoints against independent implementations of the original networks."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from diffusers import DDPMPipeline, UNet2DModel
from importing_cases import DDPM, DDPM_SETTINGS, OPENAI, P2, P2_SETTINGS, assert_same, network, noise, settings_for
from safetensors.torch import load_file, save_file

from diffgeo.diffusion.editing import single_step
from diffgeo.diffusion.models import load_model
from diffgeo.diffusion.sampling import ddim_invert, ddim_sample, initial_noise
from diffgeo.errors import ConfigError
from diffgeo.svd import local_basis
from importing import PRESETS, ddpm, import_checkpoint, openai
from importing.architecture import unet_config
from importing.settings import head_width


@pytest.mark.parametrize("name", OPENAI)
def test_an_imported_openai_network_gives_the_same_numbers(saved, tmp_path, name):
    options = OPENAI[name]
    original, weights = network("openai", **options)
    done = import_checkpoint(saved(weights), tmp_path / "out", settings_for(options))
    assert done.layout == "openai"
    assert done.parameters == sum(map(torch.numel, weights.values()))
    assert done.architecture.res_blocks == options["n"]
    assert done.architecture.widths == tuple(32 * m for m in options["mult"])
    assert done.architecture.attention == tuple(2**i in options["attention"] for i in range(len(options["mult"])))
    assert done.architecture.scale_shift == options["scale_shift"]
    model = load_model(tmp_path / "out")
    assert model.latent_shape == (options.get("in_channels", 3), 16, 16)
    assert_same(model, original)


@pytest.mark.parametrize("name", DDPM)
def test_an_imported_ddpm_network_gives_the_same_numbers(saved, tmp_path, name):
    original, weights = network("ddpm", **DDPM[name])
    done = import_checkpoint(saved(weights), tmp_path / "out", DDPM_SETTINGS)
    assert done.layout == "ddpm"
    assert done.parameters == sum(map(torch.numel, weights.values()))
    assert_same(load_model(tmp_path / "out"), original)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_bayesian_ddpm_networks_unused_logvar_is_left_out(saved, tmp_path, sdedit, prefix):
    original, weights = sdedit
    bayesian = {f"{prefix}{key}": tensor for key, tensor in (weights | {"logvar": torch.zeros(1000)}).items()}
    done = import_checkpoint(saved([bayesian, {}, 3, 5, bayesian]), tmp_path / "out", DDPM_SETTINGS)
    assert done.parameters == sum(map(torch.numel, weights.values()))
    assert_same(load_model(tmp_path / "out"), original)


def test_the_order_of_q_k_v_matters_so_that_the_comparison_sees_it(saved, tmp_path):
    options = OPENAI["new_order"]
    original, weights = network("openai", **options)
    import_checkpoint(saved(weights), tmp_path / "out", replace(settings_for(options), qkv="legacy"))
    with pytest.raises(AssertionError):
        assert_same(load_model(tmp_path / "out"), original, tolerance=1e-3)


def test_half_precision_weights_become_the_same_numbers_in_float32(saved, tmp_path, p2):
    half = {key: tensor.half() for key, tensor in p2[1].items()}
    import_checkpoint(saved(half), tmp_path / "out", P2_SETTINGS)
    stored = load_file(next((tmp_path / "out" / "unet").glob("*.safetensors")))
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}
    assert torch.equal(stored["conv_in.weight"], half["input_blocks.0.0.weight"].float())


def test_weights_that_share_memory_or_want_gradients_are_taken_apart(saved, tmp_path, sdedit):
    flat = torch.cat([tensor.flatten() for tensor in sdedit[1].values()]).requires_grad_()
    parts = flat.split([tensor.numel() for tensor in sdedit[1].values()])
    views = {key: part.view(w.shape).detach() for part, (key, w) in zip(parts, sdedit[1].items(), strict=True)}
    views["conv_in.weight"] = torch.nn.Parameter(views["conv_in.weight"])
    import_checkpoint(saved(views), tmp_path / "out", DDPM_SETTINGS)
    assert_same(load_model(tmp_path / "out"), sdedit[0])


def test_a_safetensors_checkpoint_is_read_as_well(tmp_path, sdedit):
    save_file(dict(sdedit[1]), tmp_path / "model.safetensors")
    import_checkpoint(tmp_path / "model.safetensors", tmp_path / "out", DDPM_SETTINGS)
    assert_same(load_model(tmp_path / "out"), sdedit[0])


def test_diffusers_own_pipeline_samples_with_the_learned_variance(saved, tmp_path, p2):
    import_checkpoint(saved(p2[1]), tmp_path / "out", P2_SETTINGS)
    pipeline = DDPMPipeline.from_pretrained(tmp_path / "out")
    pipeline.set_progress_bar_config(disable=True)
    picture = pipeline(batch_size=1, num_inference_steps=2, output_type="np").images
    assert picture.shape == (1, 16, 16, 3)
    assert pipeline.scheduler.config.variance_type == "learned_range"


def test_a_basis_an_edit_and_an_inversion_run_on_an_imported_network(saved, tmp_path, p2):
    import_checkpoint(saved(p2[1]), tmp_path / "out", P2_SETTINGS)
    model = load_model(tmp_path / "out")
    x = initial_noise(model, [0])
    basis = local_basis(model.feature_map(999), x[0], rank=3)
    assert basis.V.shape == (3 * 16 * 16, 3)
    assert torch.all(basis.certificate.right < 1e-3)
    edited = single_step(x[0], basis.V[:, 0], torch.tensor([-1.0, 1.0]))
    pictures = model.decode(ddim_sample(model, edited, steps=3, clip=True))
    inverted = ddim_invert(model, pictures, steps=3)
    assert inverted.shape == x.expand(2, -1, -1, -1).shape
    assert inverted.isfinite().all()


# where in a file the network lies


def others(weights):
    return {key: torch.zeros_like(tensor) for key, tensor in weights.items()}


@pytest.mark.parametrize(
    ("wrap", "entry"),
    [
        (lambda w: w, ""),
        (lambda w: {f"module.{k}": v for k, v in w.items()}, "module"),
        (lambda w: {"state_dict": {f"model.{k}": v for k, v in w.items()}, "epoch": 3}, "state_dict.model"),
        (lambda w: {"model": others(w), "ema": w, "step": 1}, "ema"),
        (lambda w: {"model": others(w), "ema": {"shadow": w, "decay": 0.999}}, "ema.shadow"),
        (lambda w: {f"{p}.{k}": v for p, d in (("net", others(w)), ("ema_net", w)) for k, v in d.items()}, "ema_net"),
        (lambda w: others(w) | {f"ema.{k}": v for k, v in w.items()}, "ema"),
        (
            lambda w: [
                {f"module.{k}": v for k, v in others(w).items()},
                {"state": {0: {"step": 1, "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]},
                7,
                1000,
                w,
            ],
            "4",
        ),
        (lambda w: [{f"module.{k}": v for k, v in w.items()}, {"state": {}}, 7], "0.module"),
    ],
    ids=["plain", "module", "lightning", "ema", "shadow", "prefixes", "inner_prefix", "ddim_list", "list_without_ema"],
)
def test_the_moving_average_is_found_in_what_training_code_saves(saved, tmp_path, sdedit, wrap, entry):
    done = import_checkpoint(saved(wrap(dict(sdedit[1]))), tmp_path / "out", DDPM_SETTINGS)
    assert done.entry == entry
    assert_same(load_model(tmp_path / "out"), sdedit[0])


def test_another_network_of_the_file_is_imported_when_asked_for(saved, tmp_path, sdedit):
    file = saved({"ema": others(sdedit[1]), "model": dict(sdedit[1])})
    import_checkpoint(file, tmp_path / "out", DDPM_SETTINGS, entry="model")
    assert_same(load_model(tmp_path / "out"), sdedit[0])
    with pytest.raises(ConfigError, match="no network at entry 'mdoel'; it has 'ema', 'model'"):
        import_checkpoint(file, tmp_path / "no", DDPM_SETTINGS, entry="mdoel")


def test_several_networks_without_a_moving_average_are_not_guessed_among(saved, tmp_path, sdedit):
    file = saved({"a": dict(sdedit[1]), "b": dict(sdedit[1])})
    with pytest.raises(ConfigError, match="several networks, 'a', 'b'; choose one with --entry"):
        import_checkpoint(file, tmp_path / "out", DDPM_SETTINGS)


# the noise process


def imported_scheduler(saved, tmp_path, weights, settings):
    folder = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
    import_checkpoint(saved(weights), folder, settings)
    return DDPMPipeline.from_pretrained(folder).scheduler


def cosine(steps):
    """ᾱ_t of Nichol & Dhariwal 2021, eq. 17, with β clipped at 0.999."""
    f = [math.cos((t / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(steps + 1)]
    betas = torch.tensor([min(1 - b / a, 0.999) for a, b in pairwise(f)], dtype=torch.float64)
    return (1 - betas).cumprod(0)


def linear(steps):
    betas = torch.linspace(0.1 / steps, 20 / steps, steps, dtype=torch.float64)
    return (1 - betas).cumprod(0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, linear(1000)),
        ({"steps": 4000}, linear(4000)),
        ({"noise_schedule": "cosine"}, cosine(1000)),
        ({"noise_schedule": "cosine", "steps": 4000}, cosine(4000)),
        ({"noise_schedule": "cosine", "steps": 4000, "rescale_timesteps": True}, cosine(4000)[::4]),
        ({"steps": 2000, "rescale_timesteps": True}, linear(2000)[::2]),
        ({"rescale_timesteps": True}, linear(1000)),
    ],
)
def test_the_noise_process_is_that_of_training(saved, tmp_path, p2, given, expected):
    scheduler = imported_scheduler(saved, tmp_path, p2[1], replace(P2_SETTINGS, **given))
    torch.testing.assert_close(scheduler.alphas_cumprod.double(), expected, rtol=2e-3, atol=1e-7)
    assert len(load_model(next(tmp_path.glob("out*"))).schedule.alphas_cumprod) == len(expected)


def test_a_fixed_variance_is_the_projects(saved, tmp_path, sdedit):
    large = imported_scheduler(saved, tmp_path, sdedit[1], DDPM_SETTINGS)
    small = imported_scheduler(saved, tmp_path, sdedit[1], replace(DDPM_SETTINGS, variance="fixed_small"))
    assert (large.config.variance_type, small.config.variance_type) == ("fixed_large", "fixed_small")


# published architectures


@pytest.mark.parametrize(
    ("preset", "millions"),
    [
        ("p2_256", 93.56),
        ("guided_256", 552.81),
        ("improved_lsun_256", 113.68),
        ("improved_cifar10_32", 52.55),
        ("sdedit_256", 113.67),
    ],
)
def test_presets_have_the_published_numbers_of_parameters(preset, millions):
    settings = PRESETS[preset]
    layout = {"openai": openai.OPENAI, "ddpm": ddpm.DDPM}[settings.layout]
    width = head_width(settings, layout, settings.architecture)
    with torch.device("meta"):
        unet = UNet2DModel(**unet_config(settings.architecture, layout, settings.image_size, width))
    assert round(unet.num_parameters() / 1e6, 2) == millions


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("preset", "kind", "options", "millions"),
    [
        ("p2_256", "openai", P2 | {"n": 1, "attention": {16}, "head_channels": 64, "out": 6}, 93.56),
        ("sdedit_256", "ddpm", {"n": 2, "attention": {4}}, 113.67),
    ],
)
def test_published_architectures_are_imported_by_their_presets(saved, tmp_path, preset, kind, options, millions):
    original, weights = network(kind, **options | {"width": 128, "mult": (1, 1, 2, 2, 4, 4)})
    done = import_checkpoint(saved(weights), tmp_path / "out", PRESETS[preset])
    assert round(done.parameters / 1e6, 2) == millions
    unet = UNet2DModel.from_pretrained(tmp_path / "out" / "unet").requires_grad_(False)
    assert unet.config.sample_size == 256
    x = noise(1, 3, 64, 64)  # the network is convolutional: a smaller picture tells as much
    for t in (0, 600):
        assert (unet(x, t).sample - original(x, t)).abs().max() < 1e-4
