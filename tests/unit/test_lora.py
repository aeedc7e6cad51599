"""LoRA files fused into a model, against the products written out, and files that do not fit."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffgeo.composition import check, composed
from diffgeo.diffusion.models import load_model
from diffgeo.errors import ConfigError, ModelError
from family_pipelines import flux
from folders import joint_pipeline, save_pixels, save_prompted

PROMPT = "a smiling face"
LAYERS = {
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q": (8, 8),
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k": (8, 16),
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0": (8, 8),
    "unet.down_blocks.0.resnets.0.conv1": (8, 8, 3, 3),
    "text_encoder.text_model.encoder.layers.0.self_attn.q_proj": (16, 16),
}
RANK, ALPHA = 2, 6.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_prompted(tmp_path_factory.mktemp("lora") / "prompted")


def pair(shape, seed):
    """A (r, in, …) and B (out, r) of a weight's shape."""
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn(RANK, *shape[1:], generator=generator)
    up = torch.randn(shape[0], RANK, *[1] * (len(shape) - 2), generator=generator)
    return down, up


def written(path, layout, layers=LAYERS):
    """A file of a layout, and what it adds to each weight at scale 1."""
    tensors, expected, notes = {}, {}, {}
    for seed, (name, shape) in enumerate(layers.items()):
        down, up = pair(shape, seed)
        product = (up.flatten(1) @ down.flatten(1)).reshape(shape)
        part, _, layer = name.partition(".")
        if layout == "kohya":
            flat = f"lora_{'te' if part == 'text_encoder' else part}_{layer.replace('.', '_')}"
            tensors |= {f"{flat}.lora_down.weight": down, f"{flat}.lora_up.weight": up}
            tensors[f"{flat}.alpha"] = torch.tensor(ALPHA)
        else:
            a, b = ("lora_A", "lora_B") if layout.startswith("peft") else ("lora.down", "lora.up")
            tensors |= {f"{name}.{a}.weight": down, f"{name}.{b}.weight": up}
        factor = 1.0 if layout in ("peft", "diffusers") else ALPHA / RANK
        expected[layer.removeprefix("text_model.")] = factor * product
        if layout == "peft with alpha":
            notes |= {f"{part}.lora_alpha": ALPHA, f"{part}.r": RANK}
    save_file(tensors, path, {"lora_adapter_metadata": json.dumps(notes)} if notes else None)
    return expected


@pytest.mark.parametrize("layout", ["peft", "peft with alpha", "diffusers", "kohya"])
def test_a_file_adds_its_products_to_the_weights(folder, tmp_path, layout):
    path = tmp_path / "style.safetensors"
    expected = written(path, layout)
    plain = load_model(folder, prompt=PROMPT)
    fused = load_model(folder, prompt=PROMPT, lora=[str(path)], lora_scale=[0.5])
    before, after = (model.unet.state_dict() | model.parts["text_encoder"].state_dict() for model in (plain, fused))
    for name, weights in before.items():
        layer = name.removesuffix(".weight").removeprefix("text_model.")
        torch.testing.assert_close(after[name] - weights, 0.5 * expected.pop(layer, torch.zeros_like(weights)))
    assert not expected
    assert fused.source == f"{plain.source} + lora style.safetensors at 0.5"
    assert fused.digest != plain.digest


@pytest.mark.parametrize("between", ["", ".lora", ".lora_A", ".lora_B", ".lora_linear_layer"])
@pytest.mark.parametrize("layout", ["peft", "diffusers"])
def test_alpha_counts_where_it_stands_beside_the_matrices(folder, tmp_path, layout, between):
    path = tmp_path / "style.safetensors"
    expected = written(path, layout)
    tensors = load_file(path) | {f"{layer}{between}.alpha": torch.tensor(ALPHA) for layer in LAYERS}
    save_file(tensors, path)
    plain, fused = (load_model(folder, prompt=PROMPT, lora=lora) for lora in ((), [str(path)]))
    for name in ("down_blocks.0.resnets.0.conv1", "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"):
        change = (fused.unet.get_submodule(name).weight - plain.unet.get_submodule(name).weight).detach()
        torch.testing.assert_close(change, ALPHA / RANK * expected[name])


def test_so_it_does_in_a_pipeline_of_stable_diffusion_3(tmp_path):
    joint_pipeline().save_pretrained(tmp_path / "sd3")
    name = "transformer_blocks.0.attn.to_q"
    size = tuple(load_model(tmp_path / "sd3", prompt=PROMPT).unet.get_submodule(name).weight.shape)
    expected = written(tmp_path / "x.safetensors", "peft", {f"transformer.{name}": size})[name]
    alpha = {f"transformer.{name}.alpha": torch.tensor(ALPHA)}
    save_file(load_file(tmp_path / "x.safetensors") | alpha, tmp_path / "x.safetensors")
    files = ((), [str(tmp_path / "x.safetensors")])
    plain, fused = (load_model(tmp_path / "sd3", prompt=PROMPT, lora=lora) for lora in files)
    change = (fused.unet.get_submodule(name).weight - plain.unet.get_submodule(name).weight).detach()
    torch.testing.assert_close(change, ALPHA / RANK * expected)


def changed(path, change):
    written(path, "peft")
    save_file(change(load_file(path)), path)
    return path


Q = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda all: all | {f"{Q}.lora_A.weight": torch.full((RANK, 8), torch.nan)}, "NaN or infinity in .*to_q"),
        (lambda all: {f"base_model.model.{name}": value for name, value in all.items()}, "as PEFT saves it"),
        (lambda all: all | {f"{Q}.lora_B.bias": torch.zeros(8)}, "1 biases"),
        (lambda all: all | {"unet.elsewhere.alpha": torch.tensor(2.0)}, "no layer to which it belongs"),
    ],
)
def test_what_would_be_fused_wrongly_is_refused_in_its_own_words(folder, tmp_path, change, words):
    path = changed(tmp_path / "x.safetensors", change)
    with pytest.raises(ModelError, match=words):
        load_model(folder, prompt=PROMPT, lora=[str(path)])


def test_several_files_are_fused_at_scale_one_unless_told(folder, tmp_path):
    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    expected = written(files[0], "peft")
    written(files[1], "diffusers")
    plain, fused = (load_model(folder, prompt=PROMPT, lora=list(map(str, lora))) for lora in ([], files))
    layer = "down_blocks.0.resnets.0.conv1"
    change = (fused.unet.get_submodule(layer).weight - plain.unet.get_submodule(layer).weight).detach()
    torch.testing.assert_close(change, 2 * expected[layer])
    with pytest.raises(ConfigError, match=r"model\.lora_scale has 1 numbers, model\.lora has 2 files"):
        load_model(folder, prompt=PROMPT, lora=list(map(str, files)), lora_scale=[1.0])


def test_a_transformer_takes_one_too(tmp_path):
    flux().save_pretrained(tmp_path / "flux")
    name = "transformer_blocks.0.attn.to_q"
    expected = written(tmp_path / "x.safetensors", "peft", {f"transformer.{name}": (16, 16)})[name]
    told = {"prompt": PROMPT, "size": (16, 16)}
    plain, fused = (
        load_model(tmp_path / "flux", **told, lora=lora) for lora in ((), [str(tmp_path / "x.safetensors")])
    )
    change = (fused.unet.get_submodule(name).weight - plain.unet.get_submodule(name).weight).detach()
    torch.testing.assert_close(change, expected)


@pytest.mark.parametrize(
    "layers",
    [
        {"unet.down_blocks.7.attentions.0.transformer_blocks.0.attn1.to_q": (8, 8)},
        {"unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q": (8, 12)},
        {"unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q": (4, 16)},  # as many numbers
        {"unet.down_blocks.0.resnets.0.conv1": (8, 72)},
        LAYERS | {"transformer.transformer_blocks.0.attn.to_q": (8, 8)},
    ],
)
def test_a_file_of_another_architecture_is_refused_and_changes_nothing(folder, tmp_path, layers):
    written(tmp_path / "x.safetensors", "peft", layers)
    with pytest.raises(ModelError, match=r"x\.safetensors is of another architecture: 1 of its tensors have no place"):
        load_model(folder, prompt=PROMPT, lora=[str(tmp_path / "x.safetensors")])


def test_what_is_no_lora_is_refused(folder, tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "plain.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"\x10\0\0")
    for name, reason in (("plain", "another architecture"), ("torn", "cannot be read"), ("none", "cannot be read")):
        with pytest.raises(ModelError, match=rf"{name}\.safetensors.*{reason}"):
            load_model(folder, prompt=PROMPT, lora=[str(tmp_path / f"{name}.safetensors")])
    save_pixels(tmp_path / "pixels")
    written(tmp_path / "x.safetensors", "peft")
    with pytest.raises(ModelError, match="LoRA of a DDPMPipeline is not known"):
        load_model(tmp_path / "pixels", lora=[str(tmp_path / "x.safetensors")])


def test_the_command_line_takes_files_scales_and_sizes():
    words = ["model=local_sd", "model.path=m", "prompt=face", "model.lora=[a.safetensors,b.safetensors]"]
    cfg = composed([*words, "model.lora_scale=[0.5,1]", "model.size=[512,768]"])
    check(cfg)
    assert cfg.model.options["lora"] == ["a.safetensors", "b.safetensors"]
    for wrong in ("model.size=[512]", "model.size=[0,512]", "model.lora_scale=[x]", "model.class_label=-1"):
        with pytest.raises(ConfigError, match=wrong.partition("=")[0].replace(".", r"\.")):
            check(composed([*words, wrong]))
