"""Checkpoints that are refused: hostile, damaged, incomplete, or of networks that cannot be expressed."""

import math
import os
import pickle
import tarfile
from dataclasses import replace

import pytest
import torch
from importing_cases import DDPM_SETTINGS, P2, P2_SETTINGS, network, refused, settings_for

from diffgeo.errors import ConfigError
from importing import PRESETS, Settings


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


@pytest.mark.parametrize("shape", [(999,), (1, 1000), ()])
def test_a_bayesian_logvar_of_another_number_of_steps_is_refused(saved, tmp_path, sdedit, shape):
    message = refused(saved(sdedit[1] | {"logvar": torch.zeros(shape)}), tmp_path / "out", DDPM_SETTINGS)
    assert "one number per diffusion step" in message
    assert "--steps" in message


def test_a_bayesian_logvar_does_not_excuse_other_surplus_or_broken_numbers(saved, tmp_path, sdedit):
    with_more = sdedit[1] | {"logvar": torch.zeros(1000), "logvar2": torch.zeros(1000)}
    assert "surplus: logvar2;" in refused(saved(with_more), tmp_path / "out", DDPM_SETTINGS)
    broken = sdedit[1] | {"logvar": torch.full((1000,), math.nan)}
    assert "not finite: logvar" in refused(saved(broken), tmp_path / "out", DDPM_SETTINGS)


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
