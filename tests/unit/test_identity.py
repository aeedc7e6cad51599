"""The digest of a model: another one for whatever changes its numbers, the same one for the same model elsewhere."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffgeo.diffusion.models import load_model
from diffgeo.diffusion.sampling import ddim_sample, initial_noise
from diffgeo.errors import DiffgeoError
from folders import copied, patch, save_pixels, save_prompted

PROMPT = "a smiling face"


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    return save_pixels(tmp_path_factory.mktemp("identity") / "pixels")


@pytest.fixture(scope="module")
def prompted(tmp_path_factory):
    return save_prompted(tmp_path_factory.mktemp("identity") / "prompted")


def load(folder):
    index = json.loads((folder / "model_index.json").read_text())
    return load_model(folder, **{"prompt": PROMPT} if "vae" in index else {})


def numbers(model):
    """What a model computes, from noise to picture and back."""
    x = initial_noise(model, [0])
    with torch.no_grad():
        x0 = ddim_sample(model, x, steps=4, clip=model.bounded)
        picture = model.decode(x0)
        return [model.predict_noise(x, 300), model.feature_map(700)(x), x0, picture, model.encode(picture)]


def same(one, other):
    return all(a.shape == b.shape and torch.allclose(a, b, equal_nan=True) for a, b in zip(one, other, strict=True))


def others(value):
    """Values that a field could have instead."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, 2 * value, max(value // 2, 1)]
    if isinstance(value, float):
        return [value * 1.5, value + 0.1]
    if isinstance(value, str):
        words = ("silu", "gelu", "relu", "scale_shift", "resnet", "sample", "v_prediction", "scaled_linear", "linear")
        return [word for word in (*words, "squaredcos_cap_v2", "trailing", "fixed_large") if word != value]
    if isinstance(value, list):
        return [[2 * entry for entry in value]] if all(isinstance(entry, int) for entry in value) else [value[::-1]]
    return [1, 4, True, 0.5] if value is None else []


def changed(folder, file, scratch, fields):
    """Fields of a config, one at a time, all if None: (field, the changed model, its numbers), for those that load."""
    path = scratch / file
    text = (folder / file).read_text()
    config = json.loads(text)
    for field, value in config.items():
        if (
            (fields is not None and field not in fields)
            or field.startswith("_")
            or field in ("architectures", "dtype", "transformers_version", "model_type")
        ):
            continue
        for other in others(value):
            path.write_text(json.dumps(config | {field: other}))
            try:
                model = load(scratch)
                found = numbers(model)
            except (DiffgeoError, RuntimeError, ValueError, TypeError, IndexError):
                continue  # refused, or of no use: nothing can be stored
            yield field, model, found
    path.write_text(text)


SHAPING = {
    ("pixels", "unet/config.json"): {"attention_head_dim", "center_input_sample", "flip_sin_to_cos", "norm_eps"},
    ("pixels", "scheduler/scheduler_config.json"): {"beta_start", "beta_end", "clip_sample_range", "prediction_type"},
    ("prompted", "unet/config.json"): {"attention_head_dim", "center_input_sample", "freq_shift", "norm_eps"},
    ("prompted", "vae/config.json"): {"scaling_factor", "shift_factor", "norm_num_groups"},
    ("prompted", "text_encoder/config.json"): {"hidden_act", "num_attention_heads", "layer_norm_eps"},
    ("prompted", "tokenizer/tokenizer_config.json"): set(),
    ("prompted", "scheduler/scheduler_config.json"): {"beta_start", "set_alpha_to_one", "beta_schedule"},
}
"""Some fields of each config that shape the numbers, so that the test sees some."""


def check_fields(folder, kind, file, scratch, fields):
    """Whether every field whose change changes the numbers changes the digest; some are known to."""
    model = load(scratch)
    plain, digest = numbers(model), model.digest
    shaping = set()
    for field, other, found in changed(folder, file, scratch, fields):
        if not same(plain, found):
            shaping.add(field)
            assert other.digest != digest, field
            assert other.fingerprint["digest"] != digest
    assert shaping >= (SHAPING[kind, file] if fields is None else set(fields))
    assert load(scratch).digest == digest


@pytest.mark.parametrize(("kind", "file"), [key for key, fields in SHAPING.items() if fields])
def test_another_digest_for_fields_that_shape_the_numbers(request, tmp_path, kind, file):
    folder = request.getfixturevalue(kind)
    check_fields(folder, kind, file, copied(folder, tmp_path / "scratch"), sorted(SHAPING[kind, file])[:2])


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "file"), list(SHAPING))
def test_another_digest_whatever_field_of_a_config_changes_the_numbers(request, tmp_path, kind, file):
    folder = request.getfixturevalue(kind)
    check_fields(folder, kind, file, copied(folder, tmp_path / "scratch"), None)


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("pixels", "unet/diffusion_pytorch_model.safetensors"),
        ("prompted", "vae/diffusion_pytorch_model.safetensors"),
        ("prompted", "text_encoder/model.safetensors"),
    ],
)
def test_another_digest_for_one_other_weight(request, tmp_path, kind, file):
    folder = copied(request.getfixturevalue(kind), tmp_path / "other")
    tensors = load_file(folder / file)
    name = sorted(tensors)[0]
    tensors[name].view(-1)[0] += 1e-3
    save_file(tensors, folder / file, {"format": "pt"})
    assert load(folder).digest != load(request.getfixturevalue(kind)).digest


def test_another_digest_for_another_merge_of_the_tokenizer(prompted, tmp_path):
    folder = copied(prompted, tmp_path / "other")
    path = folder / "tokenizer" / "tokenizer.json"
    words = json.loads(path.read_text())
    words["model"]["merges"] = words["model"]["merges"][:-5]
    path.write_text(json.dumps(words))
    assert load(folder).digest != load(prompted).digest


@pytest.mark.parametrize("library", ["diffusers", "transformers"])
def test_another_digest_under_another_version_of_the_libraries(pixels, monkeypatch, library):
    import diffgeo.diffusion.models.base as base

    plain, version = load(pixels).digest, base.version
    monkeypatch.setattr(base, "version", lambda name: "0.0.1" if name == library else version(name))
    assert load(pixels).digest != plain


def test_the_same_digest_for_a_copy_and_for_what_changes_nothing(pixels, prompted, tmp_path):
    folder = copied(pixels, tmp_path / "elsewhere")
    patch(folder / "scheduler" / "scheduler_config.json", variance_type="fixed_large", _diffusers_version="0.1")
    patch(folder / "unet" / "config.json", _name_or_path="/a/b", _diffusers_version="0.1")
    assert load(folder).digest == load(pixels).digest
    assert load(copied(prompted, tmp_path / "copy")).digest == load(prompted).digest
    model = load_model(prompted, prompt=PROMPT, guidance=2.0, inversion_guidance=1.5)
    assert {one.digest for one in (model, model.inverter, model.editor)} == {load(prompted).digest}
    assert model.fingerprint["digest"] == model.digest


def test_the_digest_covers_every_part_that_a_pipeline_has(prompted):
    assert set(load(prompted).parts) == {"unet", "vae", "text_encoder", "tokenizer"}
