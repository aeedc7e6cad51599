"""Which pipelines of diffusers are read, which parts of them, and whether a folder holds those."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from diffgeo.errors import ModelError

__all__ = ["FUSE_ADVICE", "MAY_LACK", "PIPELINES", "Index", "check_parts", "read_index", "used_parts"]

Index = dict[str, Any]
"""A pipeline's ``model_index.json``."""

FUSE_ADVICE = "load the pipeline in diffusers, call fuse_lora() and unload_lora_weights(), and save it again"
"""What to do about an adapter beside weights."""

_PIXELS: dict[str, tuple[str, ...]] = {"unet": ("UNet2DModel",), "scheduler": ()}
_TOKENIZER = ("CLIPTokenizer", "CLIPTokenizerFast")
_JOINT_TEXT = ("CLIPTextModelWithProjection",)

PIPELINES: dict[str, dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(("DDPMPipeline", "DDIMPipeline", "PNDMPipeline"), _PIXELS),
    "StableDiffusionPipeline": {
        "unet": ("UNet2DConditionModel",),
        "vae": ("AutoencoderKL", "AutoencoderTiny"),
        "text_encoder": ("CLIPTextModel",),
        "tokenizer": _TOKENIZER,
        "scheduler": (),
    },
    "StableDiffusion3Pipeline": {
        "transformer": ("SD3Transformer2DModel",),
        "vae": ("AutoencoderKL",),
        "text_encoder": _JOINT_TEXT,
        "text_encoder_2": _JOINT_TEXT,
        "text_encoder_3": ("T5EncoderModel",),
        "tokenizer": _TOKENIZER,
        "tokenizer_2": _TOKENIZER,
        "tokenizer_3": ("T5Tokenizer", "T5TokenizerFast"),
        "scheduler": (),
    },
}
"""By pipeline, its parts that are read, with the classes that they may have (any scheduler); others are never read.

``docs/compatibility.md`` prints it.
"""

MAY_LACK = ("text_encoder_3", "tokenizer_3")
"""Parts that a pipeline may be without."""


def read_index(folder: Path) -> Index:
    """A folder's ``model_index.json``, checked with the files that it and the parts name.

    Raises:
        ModelError: it is no pipeline, one that diffgeo does not know, or not whole.
    """
    path = folder / "model_index.json"
    try:
        index = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ModelError(
            f"{folder} is no diffusers pipeline: model_index.json is missing",
            "save one with DDPMPipeline(unet, scheduler).save_pretrained(folder)",
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error})", "restore the file") from None
    if not isinstance(index, dict) or "_class_name" not in index:
        raise ModelError(f"{path} names no pipeline class (_class_name)", "restore the file")
    check_parts(index, str(folder))
    _check_adapters(index, folder)
    _check_shards(folder)
    if "vae" in used_parts(index):  # transformers makes an empty tokenizer of a folder that is not there
        missing = [part for part in used_parts(index) if not (folder / part).is_dir()]
        if missing:
            raise ModelError(f"{folder} lacks {', '.join(missing)}", "copy the whole pipeline folder")
    return index


def used_parts(index: Index) -> dict[str, tuple[str, ...]]:
    """The parts of a pipeline that are read, with the classes that they may have.

    Args:
        index: of a pipeline in :data:`PIPELINES`.
    """
    parts = PIPELINES[index["_class_name"]]
    lacks = {part for part in MAY_LACK if index.get(part) in (None, [None, None])}
    return {part: kinds for part, kinds in parts.items() if part not in lacks}


def check_parts(index: Index, where: str) -> None:
    """Whether pipeline and parts are classes that diffgeo knows: a folder may name code of its own.

    Args:
        index: of any pipeline.
        where: how messages name it.

    Raises:
        ModelError: one is not; the message names it.
    """
    name = str(index.get("_class_name"))
    if name not in PIPELINES:
        raise ModelError(f"{where} holds a {name}", f"diffgeo loads {', '.join(sorted(PIPELINES))}")
    for part, value in index.items():
        if isinstance(value, list) and value[:1] not in ([None], ["diffusers"], ["transformers"], ["stable_diffusion"]):
            raise ModelError(
                f"{where} takes its {part} from {value[0]!r}", "diffgeo runs no code that comes with a model"
            )
    for part, classes in used_parts(index).items():
        value = index.get(part)
        if not isinstance(value, list) or len(value) != 2 or not isinstance(value[1], str):
            raise ModelError(f"{where}: model_index.json names no {part}", "restore the file")
        if classes and value[1] not in classes:
            raise ModelError(
                f"{where}: the {part} is a {value[1]}, that of a {name} is a {' or '.join(classes)}",
                "correct model_index.json, or choose another model",
            )


def _check_adapters(index: Index, folder: Path) -> None:
    """Whether parts are whole: of an encoder with an adapter, transformers saves the adapter alone."""
    for part in used_parts(index):
        if (folder / part / "adapter_config.json").is_file():
            raise ModelError(f"{folder / part} holds an adapter (LoRA) that is not fused", FUSE_ADVICE)


def _check_shards(folder: Path) -> None:
    """Whether lists of weight files name files that lie beside them."""
    for path in (*folder.glob("*.index*.json"), *folder.glob("*/*.index*.json")):
        try:
            files = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise ModelError(f"{path} cannot be read ({error})", "restore the file") from None
        outside = sorted(str(f) for f in files if not isinstance(f, str) or Path(f).name != f)
        if outside:
            raise ModelError(f"{path} points outside its folder: {outside[0]}", "diffgeo reads weights beside it only")
