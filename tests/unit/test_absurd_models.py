"""Configs and weight files that ask for the impossible: refused before anything is built, with the reason."""

import codecs
import json
import struct
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffgeo.diffusion.models import load_model
from diffgeo.errors import ModelError
from folders import copied, patch, save_pixels, save_prompted

PROMPT = "a smiling face"
HUGE = 10**9


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    return save_pixels(tmp_path_factory.mktemp("absurd") / "pixels")


@pytest.fixture(scope="module")
def prompted(tmp_path_factory):
    return save_prompted(tmp_path_factory.mktemp("absurd") / "prompted")


@pytest.fixture
def of(request, tmp_path):
    """A copy of a folder that may be spoilt."""
    return lambda kind: copied(request.getfixturevalue(kind), tmp_path / "m")


def refused(folder, *words, **how):
    with pytest.raises(ModelError) as caught:
        load_model(folder, **({"prompt": PROMPT} if (folder / "vae").is_dir() else {}), **how)
    message = " ".join(str(caught.value).split())
    for word in words:
        assert word in message, message
    assert caught.value.advice


def load(folder, **how):
    return load_model(folder, **({"prompt": PROMPT} if (folder / "vae").is_dir() else {}), **how)


@pytest.fixture
def nothing_is_built(monkeypatch):
    """Weights and schedulers must not be made: that is what would take hours and terabytes."""
    import diffusers

    for kind in (diffusers.UNet2DModel, diffusers.UNet2DConditionModel, diffusers.AutoencoderKL):
        monkeypatch.setattr(kind, "from_pretrained", lambda *_, **__: pytest.fail("built"))
    for kind in (diffusers.DDPMScheduler, diffusers.DDIMScheduler):
        monkeypatch.setattr(kind, "from_pretrained", lambda *_, **__: pytest.fail("built"))


@pytest.mark.parametrize("number", [10**8, 1e8, 0, -1, "x", True, None, [1000]])
@pytest.mark.usefixtures("nothing_is_built")
def test_absurd_numbers_of_timesteps(of, number):
    folder = of("pixels")
    patch(folder / "scheduler" / "scheduler_config.json", num_train_timesteps=number)
    refused(folder, f"num_train_timesteps={number!r}", "T + 1")


@pytest.mark.parametrize(
    ("kind", "part", "changes", "words"),
    [
        ("pixels", "unet", {"block_out_channels": [65536, 65536]}, ("GB",)),
        ("pixels", "unet", {"layers_per_block": 3000}, ("6,000 layers", "layers_per_block=3000")),
        ("pixels", "unet", {"layers_per_block": HUGE}, ("layers",)),
        ("pixels", "unet", {"down_block_types": ["DownBlock2D"] * 5000}, ("5,000 layers",)),
        ("prompted", "unet", {"transformer_layers_per_block": HUGE}, ("layers",)),
        ("prompted", "unet", {"transformer_layers_per_block": [[HUGE], 1]}, ("layers",)),
        ("prompted", "unet", {"cross_attention_dim": HUGE}, ("GB", "unet alone")),
        ("prompted", "vae", {"layers_per_block": 3000}, ("6,000 layers", "of the vae")),
        ("prompted", "vae", {"block_out_channels": [65536, 65536]}, ("GB", "vae alone")),
        ("prompted", "text_encoder", {"num_hidden_layers": HUGE}, ("layers", "of the text_encoder")),
        ("prompted", "text_encoder", {"vocab_size": 10**11}, ("GB", "text_encoder alone")),
        ("prompted", "text_encoder", {"max_position_embeddings": 10**11}, ("GB", "text_encoder alone")),
        ("pixels", "unet", {"sample_size": 10**6}, ("sample_size is 1000000",)),
        ("pixels", "unet", {"sample_size": "x"}, ("sample_size is 'x'",)),
        ("pixels", "unet", {"layers_per_block": "x"}, ("no unet can be made of its config.json",)),
        ("pixels", "unet", {"block_out_channels": []}, ("no unet can be made of its config.json",)),
        ("pixels", "unet", {"block_out_channels": [16, -32]}, ("no unet can be made of its config.json",)),
        ("pixels", "unet", {"norm_num_groups": 7}, ("no unet can be made", "must be divisible by num_groups")),
        ("pixels", "unet", {"down_block_types": ["DownBlock2D", "NoSuch"]}, ("no unet can be made", "NoSuch")),
        ("prompted", "text_encoder", {"num_attention_heads": 7}, ("no text_encoder can be made",)),
    ],
)
@pytest.mark.usefixtures("nothing_is_built")
def test_absurd_configs(of, kind, part, changes, words):
    folder = of(kind)
    patch(folder / part / "config.json", **changes)
    refused(folder, *words)


@pytest.mark.usefixtures("nothing_is_built")
def test_weights_and_latents_that_do_not_fit_into_memory(pixels, monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=300_000))
    refused(pixels, "of memory by its configs (unet alone", "0.0 GB are free")
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=60_000))
    refused(pixels, "sample_size=16 and 16 channels take 0.0 GB for four layers")


@pytest.mark.usefixtures("nothing_is_built")
def test_weights_that_fit_into_the_machine_but_not_into_its_container(pixels, monkeypatch):
    monkeypatch.setattr("diffgeo.jacobian.memory._group_leaves", lambda: 300_000.0)
    refused(pixels, "of memory by its configs (unet alone", "0.0 GB are free")


@pytest.mark.usefixtures("nothing_is_built")
def test_a_config_of_a_larger_network_than_its_weights(of):
    folder = of("pixels")
    patch(folder / "unet" / "config.json", block_out_channels=[64, 128])
    refused(folder, "the config.json of the unet describes a network of", "its weight file holds")


WEIGHTS = ("unet", "diffusion_pytorch_model.safetensors")


def with_header(path, change):
    """The weight file with its header changed by a function."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.dumps(change(json.loads(content[8 : 8 + length]))).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + content[8 + length :])


def grown(header):
    header["conv_in.weight"]["shape"] = [2**20, 2**20, 3, 3]
    return header


def beyond(header):
    entry = header["conv_in.weight"]
    entry["shape"], first = [2**19, 2**19], entry["data_offsets"][0]
    entry["data_offsets"] = [first, first + 2**40]
    return header


def negative(header):
    header["conv_in.weight"]["shape"][0] *= -1
    return header


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (grown, ("tensor conv_in.weight the shape [1048576, 1048576, 3, 3]", "contradict")),
        (negative, ("tensor conv_in.weight the shape [-16", "contradict")),
        (beyond, ("ends before its tensor conv_in.weight", "truncated")),
        (lambda header: list(header), ("no readable header",)),
        (lambda header: header | {"x": {"dtype": "F32"}}, ("no readable header",)),
    ],
)
@pytest.mark.usefixtures("nothing_is_built")
def test_headers_of_weight_files_that_lie(of, change, words):
    folder = of("pixels")
    with_header(folder.joinpath(*WEIGHTS), change)
    refused(folder, "diffusion_pytorch_model.safetensors", *words)


@pytest.mark.parametrize("content", [b"", b"\0\0", struct.pack("<Q", 2**60), struct.pack("<Q", 4) + b"{{{{" * 9])
@pytest.mark.usefixtures("nothing_is_built")
def test_weight_files_without_a_header(of, content):
    folder = of("pixels")
    folder.joinpath(*WEIGHTS).write_bytes(content)
    refused(folder, "diffusion_pytorch_model.safetensors", "header", "copy it again")


@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000, "\udce9"])
@pytest.mark.usefixtures("nothing_is_built")
def test_configs_that_are_no_json(of, content):
    folder = of("pixels")
    (folder / "unet" / "config.json").write_text(content, errors="surrogateescape")
    refused(folder, "unet/config.json", "restore the file")


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("pixels", "unet/diffusion_pytorch_model.safetensors"),
        ("prompted", "vae/diffusion_pytorch_model.safetensors"),
        ("prompted", "text_encoder/model.safetensors"),
    ],
)
def test_surplus_tensors_are_left_out_if_asked_and_named(request, of, caplog, kind, file):
    folder = of(kind)
    tensors = load_file(folder / file)
    save_file(tensors | {f"ema.{i}": torch.ones(3) for i in range(7)}, folder / file, {"format": "pt"})
    refused(folder, "7 tensors (ema.0,", "and 2 more", "model.strict=false")
    assert load(folder, strict=False).digest == load(request.getfixturevalue(kind)).digest
    (said,) = [one.getMessage() for one in caplog.records if "strict" in one.getMessage()]
    assert "no place for 7 tensors (ema.0, ema.1, ema.2, ema.3, ema.4 and 2 more)" in said
    first = sorted(tensors)[0]
    del tensors[first]
    save_file(tensors, folder / file, {"format": "pt"})
    refused(folder, f"lacks 1 tensors ({first.removeprefix('text_model.')}", strict=False)


JSON_FILES = [
    ("pixels", "model_index.json"),
    ("pixels", "unet/config.json"),
    ("pixels", "scheduler/scheduler_config.json"),
    ("prompted", "unet/config.json"),
    ("prompted", "vae/config.json"),
    ("prompted", "text_encoder/config.json"),
    ("prompted", "tokenizer/tokenizer.json"),
    ("prompted", "tokenizer/tokenizer_config.json"),
]


@pytest.mark.parametrize(("kind", "file"), JSON_FILES)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_json_files_with_a_byte_order_mark_are_read(request, of, kind, file, encoding):
    folder = of(kind)
    (folder / file).write_text((folder / file).read_text(), encoding=encoding)
    model = load(folder)
    assert model.digest == load(request.getfixturevalue(kind)).digest
    assert model.source == str(folder)


def test_the_index_of_shards_may_have_a_byte_order_mark(tmp_path):
    folder = save_pixels(tmp_path / "m", max_shard_size="100KB")
    path = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    plain = load(folder).digest
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert load(folder).digest == plain


def test_a_refusal_of_a_folder_with_marks_names_its_own_files(of):
    folder = of("pixels")
    (folder / "unet" / "config.json").write_text("{", encoding="utf-8-sig")
    refused(folder, f"{folder}/unet/config.json cannot be read")
    (folder / "unet" / "config.json").write_bytes(codecs.BOM_UTF16_LE + b"\0\xd8a")
    refused(folder, f"{folder}/unet/config.json cannot be read")
