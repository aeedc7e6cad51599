"""Imported checkpoints against independent implementations of the original networks, and files that are refused."""

import hashlib
import json
import math
import os
import pickle
import runpy
import sys
import tarfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import original_networks
import pytest
import torch
from diffusers import DDPMPipeline, UNet2DModel
from safetensors.torch import load_file, save_file

from diffgeo.editing import single_step
from diffgeo.errors import ConfigError, ModelError, OutputError
from diffgeo.models import load_model
from diffgeo.models.importing import PRESETS, RECORD, Settings, ddpm, import_checkpoint, openai
from diffgeo.models.importing.architecture import unet_config
from diffgeo.models.importing.settings import head_width
from diffgeo.sampling import ddim_invert, ddim_sample, initial_noise
from diffgeo.svd import local_basis

SCRIPT = Path(__file__).parents[2] / "scripts" / "import_checkpoint.py"
TIMES = (0, 1, 357, 999)

P2 = {"mult": (1, 2, 2), "n": 1, "attention": {2}, "head_channels": 32, "resnet_steps": True, "scale_shift": True}
OPENAI = {
    "p2": P2 | {"out": 6},
    "guided": P2 | {"out": 6, "mult": (1, 2, 4), "n": 2, "attention": {2, 4}},
    "new_order": P2 | {"out": 6, "mult": (1, 2, 4), "attention": {1, 4}, "new_order": True},
    "resnet_steps_without_scale_shift": P2 | {"out": 3, "scale_shift": False, "attention": {1}},
    "improved": P2 | {"out": 6, "n": 3, "resnet_steps": False, "head_channels": None, "heads": 2, "attention": {2, 4}},
    "improved_lsun": P2
    | {"out": 6, "mult": (1, 1, 2), "n": 2, "resnet_steps": False, "scale_shift": False}
    | {"head_channels": None, "heads": 1, "attention": {1, 2}},
    "new_order_of_two_heads": P2
    | {"out": 3, "resnet_steps": False, "head_channels": None, "heads": 2, "new_order": True},
    "no_attention_but_the_middles": P2 | {"out": 3, "attention": set()},
    "two_levels": P2 | {"out": 6, "mult": (1, 1), "attention": {2}, "scale_shift": False},
    "one_level": P2 | {"out": 3, "mult": (2,), "width": 32, "attention": {1}} | {"mult": (1,)},
    "grey": P2 | {"out": 2, "in_channels": 1},
}
DDPM = {
    "sdedit": {"mult": (1, 1, 2), "n": 2, "attention": {1}},
    "one_block": {"mult": (1, 2), "n": 1, "attention": {0, 1}},
    "no_attention": {"mult": (1, 2, 2), "n": 3, "attention": set()},
}


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def network(kind, **options):
    """x, t → the original network's output, and its weights, which one pass has made."""
    weights, channels = original_networks.Weights(), options.pop("in_channels", 3)
    options = {"width": 32} | options

    def run(x, t):
        with torch.no_grad():
            return getattr(original_networks, kind)(weights, x, t, **options)

    run(torch.zeros(1, channels, 32, 32), 0)
    return run, weights


def settings_for(options, **more):
    heads = {name: options.get(name) for name in ("heads", "head_channels")}
    return Settings(image_size=16, qkv="new" if options.get("new_order") else "legacy", **heads | more)


@pytest.fixture
def saved(tmp_path):
    """Save an object as a checkpoint: ``saved(content, name="model.pt")``."""

    def save(content, name="model.pt"):
        torch.save(dict(content) if isinstance(content, original_networks.Weights) else content, tmp_path / name)
        return tmp_path / name

    return save


@pytest.fixture(scope="module")
def p2():
    return network("openai", **OPENAI["p2"])


@pytest.fixture(scope="module")
def sdedit():
    return network("ddpm", **DDPM["sdedit"])


P2_SETTINGS = settings_for(P2)
DDPM_SETTINGS = Settings(image_size=16)


def assert_same(model, original, tolerance=1e-5):
    x = noise(2, *model.latent_shape)
    for t in TIMES:
        expected = original(x, t)
        assert expected.std() > 0.3  # nothing is compared where there is nothing
        assert (model.unet(x, t).sample - expected).abs().max() < tolerance


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


# what is refused


def refused(file, folder, settings=P2_SETTINGS, error=ModelError, **options):
    """The message with which an import is refused, nothing being left behind."""
    before = set(folder.parent.iterdir())
    with pytest.raises(error) as caught:
        import_checkpoint(file, folder, settings, **options)
    assert set(folder.parent.iterdir()) == before
    return str(caught.value)


class Hostile:
    """Unpickled, it would write a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_would_run_code_is_refused_and_runs_none(tmp_path, p2, zipped):
    marker, file = tmp_path / "marker", tmp_path / "model.pt"
    content = {**p2[1], "extra": Hostile(marker)}
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    message = refused(file, tmp_path / "out")
    assert "mkdir" in message
    assert "nothing in it was executed" in message
    assert "weights_only" not in message
    assert not marker.exists()


def test_a_plain_pickle_is_refused_and_runs_nothing(tmp_path):
    marker, file = tmp_path / "marker", tmp_path / "model.pt"
    file.write_bytes(pickle.dumps(Hostile(marker)))
    refused(file, tmp_path / "out")
    file.rename(tmp_path / "model.safetensors")
    assert "cannot be read as a checkpoint" in refused(tmp_path / "model.safetensors", tmp_path / "out")
    assert not marker.exists()


def test_a_tar_archive_is_refused_and_unpacks_nothing(tmp_path):
    member = tarfile.TarInfo("../../escaped")
    with tarfile.open(tmp_path / "model.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(member)
    assert "cannot be read as a checkpoint" in refused(tmp_path / "model.tar", tmp_path / "out")
    assert not list(tmp_path.parent.parent.glob("escaped"))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*")
def test_a_script_program_is_refused(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "model.pt")
    assert "TorchScript" in refused(tmp_path / "model.pt", tmp_path / "out")


@pytest.mark.parametrize("kept", [0, 3, 100, 5000, -100])
def test_a_truncated_file_is_refused(saved, tmp_path, p2, kept):
    file = saved(p2[1])
    file.write_bytes(file.read_bytes()[:kept])
    assert str(file) in refused(file, tmp_path / "out")


def test_what_is_no_file_is_refused(tmp_path):
    assert "is a folder" in refused(tmp_path, tmp_path / "out")
    assert "there is no file" in refused(tmp_path / "no.pt", tmp_path / "out")


@pytest.mark.parametrize(
    "content", [{}, [], 3, {"a": torch.zeros(2)}, torch.zeros(2), {"state_dict": {"w": torch.ones(1)}}]
)
def test_other_content_is_refused_with_what_is_known(saved, tmp_path, content):
    message = refused(saved(content), tmp_path / "out")
    assert "guided-diffusion" in message
    assert "SDEdit" in message


def test_the_other_layout_is_refused_when_one_is_named(saved, tmp_path, sdedit):
    message = refused(saved(sdedit[1]), tmp_path / "out", replace(P2_SETTINGS, layout="openai"))
    assert "is not of the openai layout" in message


@pytest.mark.parametrize("kind", ["openai", "ddpm"])
def test_every_missing_tensor_is_named(saved, tmp_path, p2, sdedit, kind):
    weights = dict((p2 if kind == "openai" else sdedit)[1])
    for key in list(weights)[::15]:
        rest = {k: v for k, v in weights.items() if k != key}
        assert key in refused(saved(rest), tmp_path / "out", P2_SETTINGS if kind == "openai" else DDPM_SETTINGS)


def test_all_that_is_missing_and_surplus_is_listed_up_to_a_dozen(saved, tmp_path, p2):
    weights = dict(p2[1])
    for key in ("out.0.weight", "middle_block.1.qkv.bias"):
        del weights[key]
    message = refused(saved(weights | {"logvar": torch.zeros(3), "module.x": torch.zeros(1)}), tmp_path / "out")
    assert "missing: middle_block.1.qkv.bias, out.0.weight" in message
    assert "surplus: logvar, module.x" in message
    many = {f"extra.{i:02}": torch.zeros(1) for i in range(15)}
    assert "extra.11 and 3 more" in refused(saved(p2[1] | many), tmp_path / "out")


def test_names_in_a_file_cannot_command_the_terminal(saved, tmp_path, p2):
    message = refused(saved(p2[1] | {"\x1b[2J\n": torch.zeros(1), "x" * 10_000: torch.zeros(1)}), tmp_path / "out")
    assert message.isprintable()
    assert len(message) < 1000


def test_keys_beside_a_wrappers_prefix_are_surplus(saved, tmp_path, p2):
    weights = {f"module.{k}": v for k, v in p2[1].items()} | {"logvar": torch.zeros(3)}
    assert "surplus: logvar" in refused(saved(weights), tmp_path / "out")


def test_a_tensor_of_another_shape_is_named_with_both(saved, tmp_path, p2):
    weights = p2[1] | {"middle_block.1.qkv.weight": torch.zeros(192, 64)}
    message = refused(saved(weights), tmp_path / "out")
    assert "middle_block.1.qkv.weight (192, 64) instead of (192, 64, 1)" in message


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        (lambda w: torch.full_like(w, math.nan), "not finite: conv_out.weight"),
        (lambda w: w.to(torch.int32), "no dense floating-point numbers: conv_out.weight"),
        (lambda w: w.to_sparse(), "no dense floating-point numbers: conv_out.weight"),
        (lambda w: w.to("meta"), "no dense floating-point numbers: conv_out.weight"),
    ],
    ids=["nan", "integers", "sparse", "meta"],
)
def test_tensors_without_usable_numbers_are_refused(saved, tmp_path, sdedit, bad, match):
    weights = sdedit[1] | {"conv_out.weight": bad(sdedit[1]["conv_out.weight"])}
    assert match in refused(saved(weights), tmp_path / "out", DDPM_SETTINGS)


def test_a_small_file_that_claims_large_tensors_is_refused(saved, tmp_path, sdedit):
    claimed = {key: torch.zeros(1).expand(tensor.shape) for key, tensor in sdedit[1].items()}
    assert "claims more numbers than it has bytes for" in refused(saved(claimed), tmp_path / "out", DDPM_SETTINGS)


UNLIKE = {
    "label_emb": (P2, lambda w: w | {"label_emb.weight": torch.zeros(10, 128)}, "class-conditional"),
    "classifier": (P2, lambda w: {k: v for k, v in w.items() if "output" not in k}, "a classifier or an encoder"),
    "upsampler": (P2 | {"in_channels": 6}, lambda w: w, "takes 6 channels"),
    "pooled": (
        P2 | {"resnet_steps": False},
        lambda w: {k: v for k, v in w.items() if ".op." not in k and not k.endswith(("2.conv.weight", "2.conv.bias"))},
        "conv_resample=False",
    ),
    "wide_start": (P2, lambda w: w | {"time_embed.0.weight": torch.zeros(256, 64)}, "do not begin with 1"),
    "uneven": (
        P2,
        lambda w: {k: v for k, v in w.items() if not k.startswith(("input_blocks.5", "output_blocks.5"))},
        "levels of equal depth",
    ),
    "head_channels": (P2 | {"head_channels": 48}, lambda w: w, "does not divide into heads of 48 channels"),
    "odd_width": (
        P2,
        lambda w: {k: v[:20] if k == "input_blocks.1.0.out_layers.3.bias" else v for k, v in w.items()},
        "do not begin with 1",
    ),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_a_network_that_diffusers_or_diffgeo_cannot_express_is_refused_by_name(saved, tmp_path, name):
    options, change, match = UNLIKE[name]
    made = {k: v for k, v in options.items() if k != "head_channels"} | {"out": 6, "head_channels": 32}
    _, weights = network("openai", **made)
    assert match in refused(saved(change(dict(weights))), tmp_path / "out", settings_for(options))


def test_heads_of_different_width_are_refused(saved, tmp_path):
    options = P2 | {"out": 6, "mult": (1, 2, 4), "attention": {2, 4}, "head_channels": None, "heads": 4}
    _, weights = network("openai", **options)
    message = refused(saved(weights), tmp_path / "out", settings_for(options))
    assert "4 heads at widths 64 and 128 are 16 and 32 channels wide" in message


def test_pooled_and_odd_ddpm_networks_are_refused(saved, tmp_path, sdedit):
    pooled = {k: v for k, v in sdedit[1].items() if "sample.conv" not in k}
    assert "resamp_with_conv" in refused(saved(pooled), tmp_path / "out", DDPM_SETTINGS)
    renamed = {k.replace("nin_shortcut", "conv_shortcut"): v for k, v in sdedit[1].items()}
    assert "conv_shortcut" in refused(saved(renamed), tmp_path / "out", DDPM_SETTINGS)
    uneven = {k: v for k, v in sdedit[1].items() if not k.startswith("down.1.block.1.")}
    assert "as many in each level" in refused(saved(uneven), tmp_path / "out", DDPM_SETTINGS)


def test_pictures_that_cannot_be_halved_are_refused(saved, tmp_path, sdedit):
    message = refused(saved(sdedit[1]), tmp_path / "out", Settings(image_size=18))
    assert "multiple of 4" in message


def test_a_preset_refuses_a_checkpoint_of_another_architecture(saved, tmp_path, p2):
    message = refused(saved(p2[1]), tmp_path / "out", PRESETS["p2_256"])
    assert "widths is (32, 64, 64), not (128, 128, 256, 256, 512, 512)" in message


def test_heads_are_not_guessed(saved, tmp_path, p2, sdedit):
    message = refused(saved(p2[1]), tmp_path / "out", Settings(image_size=16), ConfigError)
    assert "--head-channels" in message
    message = refused(saved(sdedit[1]), tmp_path / "out", Settings(image_size=16, heads=2), ConfigError)
    assert "always has one" in message


@pytest.mark.parametrize(
    "wrong",
    [
        {"layout": "ldm"},
        {"qkv": "old"},
        {"noise_schedule": "sigmoid"},
        {"variance": "learned"},
        {"image_size": 0},
        {"heads": 0},
        {"steps": -1},
        {"heads": 2, "head_channels": 32},
        {"steps": 250, "rescale_timesteps": True},
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ConfigError):
        Settings(**{"image_size": 16} | wrong)


# the folder


def test_the_folder_records_where_it_came_from_and_names_no_path(saved, tmp_path, p2):
    file = saved(p2[1])
    done = import_checkpoint(file, tmp_path / "deep" / "out", P2_SETTINGS)
    record = json.loads((done.folder / RECORD).read_text())
    assert record["sha256"] == done.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert record["bytes"] == file.stat().st_size
    assert (record["checkpoint"], record["layout"], record["entry"]) == ("model.pt", "openai", "")
    assert record["settings"]["head_channels"] == 32
    assert record["architecture"]["widths"] == [32, 64, 64]
    assert all(str(tmp_path) not in path.read_text() for path in done.folder.rglob("*.json"))
    assert {path.suffix for path in done.folder.rglob("*") if path.is_file()} == {".json", ".safetensors"}


def test_a_folder_in_use_is_replaced_only_when_asked_and_only_if_a_pipeline(saved, tmp_path, p2, sdedit):
    folder = tmp_path / "out"
    folder.mkdir()
    import_checkpoint(saved(p2[1], "a.pt"), folder, P2_SETTINGS)
    (folder / "old").touch()
    other = saved(sdedit[1], "b.pt")
    assert "--overwrite" in refused(other, folder, DDPM_SETTINGS, OutputError)
    assert load_model(folder).unet.config.out_channels == 6
    import_checkpoint(other, folder, DDPM_SETTINGS, overwrite=True)
    assert_same(load_model(folder), sdedit[0])
    assert not (folder / "old").exists()
    (folder / "model_index.json").unlink()
    assert "no pipeline" in refused(other, folder, DDPM_SETTINGS, OutputError, overwrite=True)
    assert (folder / "unet").is_dir()
    assert "is a file" in refused(other, tmp_path / "a.pt", DDPM_SETTINGS, OutputError, overwrite=True)


def test_a_failed_replacement_leaves_the_earlier_pipeline(saved, tmp_path, sdedit, monkeypatch):
    folder, file = tmp_path / "out", saved(sdedit[1])
    import_checkpoint(file, folder, DDPM_SETTINGS)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(DDPMPipeline, "save_pretrained", full)
    assert "No space left" in refused(file, folder, DDPM_SETTINGS, OutputError, overwrite=True)
    assert_same(load_model(folder), sdedit[0])


def test_a_folder_that_cannot_be_made_is_an_error_of_the_output(saved, tmp_path, sdedit):
    file = saved(sdedit[1])
    with pytest.raises(OutputError, match="cannot write"):
        import_checkpoint(file, file / "below", DDPM_SETTINGS)


# the script


@pytest.fixture
def script(monkeypatch, capsys):
    """Run the script in this process: exit status, standard output, standard error."""

    def run(*args):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, args)])
        status = 0
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run


def test_the_script_imports_and_says_what_it_found(script, saved, tmp_path, sdedit):
    status, out, _ = script(saved(sdedit[1]), tmp_path / "out", "--image-size", 16, "--variance", "fixed_small")
    assert status == 0
    assert "ddpm layout" in out
    assert "widths 32, 32*, 64" in out
    assert_same(load_model(tmp_path / "out"), sdedit[0])


def test_the_scripts_options_replace_a_presets(script, saved, tmp_path, p2, monkeypatch):
    monkeypatch.setitem(PRESETS, "tiny", P2_SETTINGS)
    assert script(saved(p2[1]), tmp_path / "out", "--preset", "tiny", "--image-size", 64, "--heads", 4)[0] == 0
    config = json.loads((tmp_path / "out" / "unet" / "config.json").read_text())
    assert (config["sample_size"], config["attention_head_dim"]) == (64, 16)


@pytest.mark.parametrize(
    ("options", "status", "match"),
    [
        (("--preset", "p2_256"), 3, "is not of the openai layout"),
        ((), 2, "--image-size"),
        (("--image-size", 16, "--heads", 2), 2, "always has one"),
        (("--image-size", 16, "--steps", 0), 2, "steps is 0"),
    ],
)
def test_the_script_prints_errors_in_two_lines(script, saved, tmp_path, sdedit, options, status, match):
    code, _, err = script(saved(sdedit[1]), tmp_path / "out", *options)
    assert code == status
    assert match in err
    assert err.startswith("Error: ")
    what, advice = err.strip().splitlines()
    assert what
    assert advice
    assert not (tmp_path / "out").exists()


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


@pytest.mark.slow
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
