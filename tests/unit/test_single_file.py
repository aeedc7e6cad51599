"""Checkpoints in one file, in the layout of Stable Diffusion's authors, against the pipeline that they are of."""

import shutil

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from diffgeo.diffusion.models import load_model
from diffgeo.diffusion.sampling import ddim_sample, initial_noise
from diffgeo.errors import ModelError
from folders import conditional_unet, patch, save_prompted

PROMPT = "a smiling face"
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
    # of two levels with one layer each, attention at the first
    "down_blocks.0.resnets.0": "input_blocks.1.0",
    "down_blocks.0.attentions.0": "input_blocks.1.1",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op",
    "down_blocks.1.resnets.0": "input_blocks.3.0",
    "up_blocks.0.resnets.0": "output_blocks.0.0",
    "up_blocks.0.resnets.1": "output_blocks.1.0",
    "up_blocks.0.upsamplers.0": "output_blocks.1.1",
    "up_blocks.1.resnets.0": "output_blocks.2.0",
    "up_blocks.1.attentions.0": "output_blocks.2.1",
    "up_blocks.1.resnets.1": "output_blocks.3.0",
    "up_blocks.1.attentions.1": "output_blocks.3.1",
}


def original_unet(state):
    """A U-Net's tensors as the authors' code calls them."""
    found = {}
    for name, tensor in state.items():
        ours = max((key for key in UNET if name.startswith(f"{key}.")), key=len)
        rest = name.removeprefix(f"{ours}.")
        layer, _, kind = rest.rpartition(".")
        if "resnets" in ours:
            rest = f"{RESNET[layer]}.{kind}"
        found[f"model.diffusion_model.{UNET[ours]}.{rest}"] = tensor.contiguous()
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_prompted(tmp_path_factory.mktemp("single") / "pipeline", conditional_unet(layers_per_block=1))


@pytest.fixture(scope="module")
def file(folder, tmp_path_factory):
    """A file with the U-Net and the text encoder, both scaled, so that they are not the folder's."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    tensors = original_unet({name: 1.1 * one for name, one in pipeline.unet.state_dict().items()})
    state = {name: 1.2 * one for name, one in pipeline.text_encoder.state_dict().items()}
    prefix = "cond_stage_model.transformer."
    tensors |= {f"{prefix}{name if 'text_model' in name else f'text_model.{name}'}": one for name, one in state.items()}
    path = tmp_path_factory.mktemp("single") / "mine.safetensors"
    save_file(tensors, path)
    return path


def test_a_file_gives_the_networks_that_it_holds_and_the_folder_the_rest(folder, file, tmp_path):
    model, plain = load_model(file, config=str(folder), prompt=PROMPT), load_model(folder, prompt=PROMPT)
    assert model.source == str(file)
    for name, scale in (("unet", 1.1), ("text_encoder", 1.2), ("vae", 1.0)):
        own, theirs = (one.parts[name].state_dict() for one in (model, plain))
        assert own.keys() == theirs.keys()
        for key, tensor in theirs.items():
            torch.testing.assert_close(own[key], scale * tensor)
    x = initial_noise(model, [0])
    assert (ddim_sample(model, x, steps=2) - ddim_sample(plain, x, steps=2)).norm() > 1e-3
    # the folder's own weights of what the file holds are not needed
    bare = shutil.copytree(folder, tmp_path / "bare")
    for part in ("unet", "text_encoder"):
        next((bare / part).glob("*.safetensors")).unlink()
    assert load_model(file, config=str(bare), prompt=PROMPT).digest == model.digest


def test_a_file_without_a_folder_or_of_unknown_kind_is_refused(folder, file, tmp_path):
    with pytest.raises(ModelError, match=r"mine\.safetensors is a file; .*model\.config=FOLDER"):
        load_model(file, prompt=PROMPT)
    save_file({"a.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match=r"other\.safetensors is of unknown kind: .*a\.weight"):
        load_model(tmp_path / "other.safetensors", config=str(folder), prompt=PROMPT)
    (tmp_path / "torn.safetensors").write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"torn\.safetensors cannot be read"):
        load_model(tmp_path / "torn.safetensors", config=str(folder), prompt=PROMPT)


def test_a_file_of_another_size_than_the_folder_is_refused(folder, file, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    patch(other / "unet" / "config.json", block_out_channels=[16, 32])
    with pytest.raises(ModelError, match=r"cannot load .*mine\.safetensors.*give model\.config the pipeline folder"):
        load_model(file, config=str(other), prompt=PROMPT)
    tensors = load_file(file)
    save_file({name: one for name, one in tensors.items() if ".out.2." not in name}, tmp_path / "part.safetensors")
    with pytest.raises(ModelError, match=r"part\.safetensors"):
        load_model(tmp_path / "part.safetensors", config=str(folder), prompt=PROMPT)
