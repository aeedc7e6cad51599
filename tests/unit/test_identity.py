"""The digest of a model: another one for whatever changes its numbers, the same one for the same model elsewhere."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from diffgeo.diffusion.models import load_model
from diffgeo.diffusion.models.base import network_state
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
        words = (*words, "a</w>", "face</w>")  # tokens of the tokenizer
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
    ("prompted", "tokenizer/tokenizer_config.json"): {"model_max_length", "pad_token"},
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


@pytest.mark.parametrize(("kind", "file"), list(SHAPING))
def test_another_digest_for_fields_that_shape_the_numbers(request, tmp_path, kind, file):
    folder = request.getfixturevalue(kind)
    check_fields(folder, kind, file, copied(folder, tmp_path / "scratch"), sorted(SHAPING[kind, file])[:1])


@pytest.mark.nightly
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


class Adapted(torch.nn.Module):
    """A linear layer with an adapter of rank 2, as PEFT wraps one: with a scale and a switch that are no weights."""

    def __init__(self, base_layer):
        super().__init__()
        self.base_layer = base_layer
        self.lora_A = torch.nn.Linear(base_layer.in_features, 2, bias=False)
        self.lora_B = torch.nn.Linear(2, base_layer.out_features, bias=False)
        self.scaling = {"default": 1.0}
        self._disable_adapters = False

    def forward(self, x, *_, **__):
        found = self.base_layer(x)
        return found if self._disable_adapters else found + self.scaling["default"] * self.lora_B(self.lora_A(x))

    def fuse(self):
        # as PEFT's merge, past the counter of changes that torch keeps
        self.base_layer.weight.data += self.scaling["default"] * self.lora_B.weight.data @ self.lora_A.weight.data
        return self.base_layer


def adapter(network):
    """Where the network's first projection to queries is, and the same with an adapter."""
    name = next(name for name, _ in network.named_modules() if name.endswith(("to_q", "q_proj")))
    owner = network.get_submodule(name.rpartition(".")[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return owner, name.rpartition(".")[2], Adapted(getattr(owner, name.rpartition(".")[2]))


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_the_digest_follows_an_adapter_that_is_loaded_scaled_switched_and_fused(prompted, part):
    model = load(prompted)
    owner, attribute, adapted = adapter(model.parts[part])
    seen = [model.digest]
    setattr(owner, attribute, adapted)
    seen.append(model.digest)
    adapted.scaling["default"] = 0.5
    seen.append(model.digest)
    adapted._disable_adapters = True
    seen.append(model.digest)
    version = adapted.base_layer.weight._version
    setattr(owner, attribute, adapted.fuse())
    assert adapted.base_layer.weight._version == version, "PEFT's fusing is not counted by torch, so we cannot either"
    seen.append(model.digest)
    assert len(set(seen)) == len(seen)
    assert model.digest == seen[-1]


def add(parameter):
    with torch.no_grad():
        parameter.view(-1)[5] += 1e-3


def add_past_the_counter(parameter):
    parameter.data.view(-1)[5] += 1e-3


def give_other_memory(parameter):
    parameter.data = parameter.data * 1.001


def permute(parameter):
    parameter.data = parameter.data.flip(0)


@pytest.mark.parametrize("change", [add, add_past_the_counter, give_other_memory, permute])
def test_the_digest_follows_weights_that_are_changed_in_place_and_back(pixels, change):
    model = load(pixels)
    plain, kept = model.digest, model.unet.conv_in.weight.detach().clone()
    change(model.unet.conv_in.weight)
    assert model.digest != plain
    assert model.fingerprint["digest"] == model.digest
    model.unet.conv_in.weight.data.copy_(kept)
    assert model.digest == plain == load(pixels).digest


def test_the_digest_follows_settings_of_modules_that_are_no_weights(prompted):
    model = load(prompted)
    seen = [model.digest]
    model.unet.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4)
    seen.append(model.digest)
    model.unet.train()
    seen.append(model.digest)
    model.unet.set_attn_processor(type("Own", (type(next(iter(model.unet.attn_processors.values()))),), {})())
    seen.append(model.digest)
    assert len(set(seen)) == len(seen)


def test_what_a_model_computes_leaves_its_digest_alone(pixels, prompted):
    for folder in (pixels, prompted):
        model = load(folder)
        plain = model.digest
        numbers(model)
        assert model.digest == plain


def test_within_a_block_the_digest_is_held_and_after_it_checked_again(pixels):
    model = load(pixels)
    plain = model.digest
    with model.held():
        with model.held():
            add(model.unet.conv_in.weight)
        assert model.digest == plain
    assert model.digest != plain


@settings(max_examples=50)
@given(size=st.integers(1, 9000), data=st.data(), dtype=st.sampled_from([torch.float32, torch.float64, torch.int8]))
def test_the_checksum_of_a_network_tells_one_other_value_and_another_order_apart(size, data, dtype):
    held = torch.nn.Module()
    held.register_buffer("values", torch.arange(size).to(dtype))
    plain = network_state(held)
    i, j = (data.draw(st.integers(0, size - 1)) for _ in range(2))
    held.values[[i, j]] = held.values[[j, i]]
    assert (network_state(held) == plain) == bool(held.values[i] == held.values[j])
    held.values.copy_(torch.arange(size).to(dtype))
    assert network_state(held) == plain
    held.values[i] += 1
    assert network_state(held) != plain


@pytest.mark.parametrize("there", [7 * 1024 - 5, 1024, 1, 5 * 1024 - 7, 3 * 1024 + 1])
@pytest.mark.parametrize("size", [20_000, 200_000])
def test_the_checksum_tells_two_values_that_were_swapped_at_any_distance(size, there):
    held = torch.nn.Module()
    held.register_buffer("values", torch.arange(size))
    plain = network_state(held)
    held.values[[6000, 6000 + there]] = held.values[[6000 + there, 6000]]
    assert network_state(held) != plain
