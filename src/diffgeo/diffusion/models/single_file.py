"""A checkpoint in one file, as the original projects and their communities publish them: diffusers converts it.

Configs, tokenizers and the scheduler come from a pipeline folder of the same layout, and so do networks that the file
leaves out. Only safetensors are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from diffgeo.diffusion.models.family import Loaded, families
from diffgeo.diffusion.models.inputs import check_finite
from diffgeo.diffusion.models.pipeline_folders import load_network, read_index, variants_of
from diffgeo.diffusion.models.wording import FOLDER_ADVICE, silent_warnings, worded
from diffgeo.errors import ModelError

__all__ = ["load_single_file"]

_IN_FILE = {
    "vae": ("first_stage_model.", "vae."),
    "text_encoder": ("cond_stage_model.", "conditioner.", "text_encoders."),
    "text_encoder_2": ("conditioner.", "text_encoders."),
    "text_encoder_3": ("text_encoders.",),
}
"""How the names of a part's tensors begin, if a file holds it."""
_FIRST_KIND = "v1"
"""What diffusers calls Stable Diffusion 1, and any file that it does not recognise."""
_FIRST_UNET = "model.diffusion_model."


def load_single_file(path: Path, config: str | None) -> Loaded:
    """The parts of a pipeline from one file.

    Args:
        path: of a safetensors file.
        config: a pipeline folder of its layout.

    Raises:
        ModelError: there is no such folder, the file cannot be read or is of unknown kind, or its networks are not
            those of the folder.
    """
    if config is None:
        raise ModelError(
            f"{path} is a file",
            "give model.path a pipeline folder or a hub id (owner/name), or name the pipeline folder whose layout the "
            "file has by model.config=FOLDER",
        )
    folder = Path(config).expanduser()
    index = read_index(folder)
    names = _names(path)
    _check_kind(path, names)

    import diffusers

    family, kind = families()[index["_class_name"]], getattr(diffusers, index["_class_name"])
    if not hasattr(kind, "from_single_file"):
        raise ModelError(f"{path}: diffusers reads no single file of a {kind.__name__}", "give its pipeline folder")
    absent = [part for part, begins in _IN_FILE.items() if not any(name.startswith(begins) for name in names)]
    given = _from_folder(folder, index, [part for part in family.used(index) if part in absent])
    unused = dict.fromkeys(("safety_checker", "feature_extractor", "image_encoder"))
    with worded(str(path), f"give model.config the pipeline folder of its layout, not {folder}"), silent_warnings():
        found: Any = kind.from_single_file(
            str(path), config=str(folder), local_files_only=True, torch_dtype=torch.float32, **given, **unused
        )
    parts = {part: getattr(found, part) for part in family.used(index)}
    networks: dict[str, Any] = {part: one for part, one in parts.items() if isinstance(one, torch.nn.Module)}
    for part, network in networks.items():
        if any(tensor.is_meta for tensor in network.state_dict().values()):
            raise ModelError(f"{path} lacks weights of the {part} of {folder}", "give the folder of its own layout")
        check_finite(part, network, str(path))
    family.check({part: one.config for part, one in networks.items() if index[part][0] == "diffusers"}, str(path))
    return Loaded(parts, index, str(path))


def _names(path: Path) -> list[str]:
    try:
        with safe_open(path, "pt") as opened:
            return list(opened.keys())
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} cannot be read as safetensors ({error})", "give a whole safetensors file") from None


def _check_kind(path: Path, names: Sequence[str]) -> None:
    """Whether diffusers recognises a file by its tensors; it takes any other for Stable Diffusion 1."""
    from diffusers.loaders.single_file_utils import infer_diffusers_model_type, load_single_file_checkpoint

    with worded(str(path), FOLDER_ADVICE), silent_warnings():
        found = infer_diffusers_model_type(load_single_file_checkpoint(str(path), local_files_only=True))
    if found == _FIRST_KIND and not any(name.startswith(_FIRST_UNET) for name in names):
        raise ModelError(
            f"{path} is of unknown kind: diffusers recognises no model by its tensors ({', '.join(names[:3])}, …)",
            "give the whole checkpoint of a model, or a pipeline folder",
        )


def _from_folder(folder: Path, index: dict[str, Any], parts: Sequence[str]) -> dict[str, Any]:
    """Networks of the folder that a file leaves out."""
    import diffusers
    import transformers

    libraries = {"diffusers": diffusers, "transformers": transformers}
    variants = variants_of(folder, index, None) if parts else {}
    return {
        part: load_network(
            part, getattr(libraries[index[part][0]], index[part][1]), folder / part, variants[part], strict=True
        )
        for part in parts
    }
