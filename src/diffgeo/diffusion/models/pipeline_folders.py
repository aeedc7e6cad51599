"""The folder of a pipeline: its index, its parts and their weights, checked before anything large is built.

A folder is a diffusers pipeline: ``model_index.json`` and a sub-folder (or file) per part. Weights are read from
safetensors, or, where a pipeline has none, by torch's weights-only reader: nothing in a checkpoint is ever executed.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from diffgeo.diffusion.models.family import Loaded, families
from diffgeo.diffusion.models.inputs import check_finite, check_size
from diffgeo.diffusion.models.sizes import (
    check_activations,
    check_depth,
    check_memory,
    check_weight_files,
    without_memory,
)
from diffgeo.diffusion.models.wording import FOLDER_ADVICE, silent_warnings, worded
from diffgeo.diffusion.scheduler_fields import check_length
from diffgeo.errors import ModelError

__all__ = ["checked_parts", "load_network", "load_parts", "read_index", "variants_of"]

Index = dict[str, Any]
"""A pipeline's ``model_index.json``."""

log = logging.getLogger(__name__)

_WEIGHTS = re.compile(r"(diffusion_pytorch_model|pytorch_model|model)(\.(?P<variant>.+))?\.(safetensors|bin)")
"""Names of weight files, without the number of a shard."""

FUSE_ADVICE = "load the pipeline in diffusers, call fuse_lora() and unload_lora_weights(), and save it again"
"""What to do about an adapter beside weights."""

_ALONE = 2
"""Parts of a pipeline, a network and its scheduler, that may lie in the folder itself."""


def read_index(folder: Path) -> Index:
    """A pipeline's ``model_index.json``, checked.

    Raises:
        ModelError: it is missing, cannot be read, or names what diffgeo does not know.
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
    index = checked_parts(index, str(folder))
    _check_shards(folder)
    used = families()[index["_class_name"]].used(index)
    for part in used:  # of an encoder with an adapter, transformers saves the adapter alone
        if (folder / part / "adapter_config.json").is_file():
            raise ModelError(f"{folder / part} holds an adapter (LoRA) that is not fused", FUSE_ADVICE)
    if len(used) > _ALONE:  # transformers makes an empty tokenizer of a folder that is not there
        missing = [part for part in used if not (folder / part).is_dir()]
        if missing:
            raise ModelError(f"{folder} lacks {', '.join(missing)}", "copy the whole pipeline folder")
    return index


def checked_parts(index: Index, where: str) -> Index:
    """The index, if pipeline and parts are classes that diffgeo knows: a folder may name code of its own.

    Args:
        index: ``model_index.json``.
        where: how messages name the model.

    Returns:
        The same, with today's names of classes that were renamed since the pipeline was published.

    Raises:
        ModelError: they are not; the message says which are.
    """
    known = families()
    name = str(index.get("_class_name"))
    if name not in known:
        raise ModelError(f"{where} holds a {name}", f"diffgeo loads {', '.join(sorted(known))}")
    for part, value in index.items():
        if isinstance(value, list) and value[:1] not in ([None], ["diffusers"], ["transformers"], ["stable_diffusion"]):
            raise ModelError(
                f"{where} takes its {part} from {value[0]!r}", "diffgeo runs no code that comes with a model"
            )
    family, today = known[name], dict(index)
    for part, classes in family.used(index).items():
        value = index.get(part)
        if not isinstance(value, list) or len(value) != 2 or not isinstance(value[1], str):
            raise ModelError(f"{where}: model_index.json names no {part}", "restore the file")
        kind = family.former.get(value[1], value[1])
        if classes and kind not in classes:
            raise ModelError(
                f"{where}: the {part} is a {value[1]}, that of a {name} is a {' or '.join(classes)}",
                "correct model_index.json, or choose another model",
            )
        today[part] = [value[0], kind]
    return today


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


def load_parts(folder: Path, index: Index, variant: str | None, *, strict: bool, dtype: torch.dtype) -> Loaded:
    """The parts of a pipeline that are used, each of its own class.

    Args:
        folder: of the pipeline.
        index: of :func:`read_index`.
        variant: of the weight files.
        strict: refuse weight files with surplus tensors.
        dtype: that networks are computed with; they are loaded in float32.

    Raises:
        ModelError: a part is missing, too large, or not what its config says.
    """
    import diffusers
    import transformers
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    family = families()[index["_class_name"]]
    variants = variants_of(folder, index, variant)
    places = {part: folder / part if (folder / part).is_dir() else folder for part in sorted(family.used(index))}
    kinds: dict[str, Any] = {}
    for part in places:
        library, name = index[part]
        kinds[part] = getattr({"diffusers": diffusers, "transformers": transformers}.get(library), name, None)
        if kinds[part] is None:
            raise ModelError(f"{folder}: {library} has no {name}, which is its {part}", f"update {library}")
    check_length(_config_of(places["scheduler"] / "scheduler_config.json"))
    empty: dict[str, torch.nn.Module] = {}
    with silent_warnings():
        for part in variants:
            config = _config_of(places[part] / "config.json")
            if part == "unet":
                check_size(config, str(folder))
            check_depth(part, config, str(folder))
            empty[part] = without_memory(part, kinds[part], config, str(folder))
    configs: dict[str, Any] = {part: network.config for part, network in empty.items() if index[part][0] == "diffusers"}
    family.check(configs, str(folder))
    if "unet" in empty:
        check_activations(configs["unet"], str(folder))
    check_memory(empty, str(folder), dtype)
    for part, network in empty.items():
        check_weight_files(part, network, _files_of(places[part], variants[part]), str(folder))
    parts: dict[str, Any] = {}
    for part, where in places.items():
        if part in variants:
            parts[part] = load_network(part, kinds[part], where, variants[part], strict=strict)
        else:
            with worded(str(folder), FOLDER_ADVICE), silent_warnings():
                parts[part] = kinds[part].from_pretrained(where, local_files_only=True)
    return Loaded(parts, index, str(folder))


def variants_of(folder: Path, index: Index, wanted: str | None) -> dict[str, str | None]:
    """The variant of weight files to read for every network: the wanted one, or that without a name if it lacks it.

    Raises:
        ModelError: no network has the wanted variant, or one has only variants and none is wanted; those are listed.
    """
    networks = [
        part for part in families()[index["_class_name"]].used(index) if not part.startswith(("scheduler", "tokenizer"))
    ]
    there = {part: _variants_in(folder / part if (folder / part).is_dir() else folder) for part in networks}
    named = sorted({one for found in there.values() for one in found if one is not None})
    if wanted is not None and wanted not in named:
        raise ModelError(
            f"{folder} has no weights of the variant {wanted!r}",
            f"there are {', '.join(named)}" if named else "leave model.variant out, there are none",
        )
    for part, found in there.items():
        if found and wanted not in found and None not in found:
            advice = " or ".join(f"model.variant={one}" for one in sorted(filter(None, found)))
            raise ModelError(f"{folder} has the weights of its {part} as a variant only", f"say {advice}")
    return {part: wanted if wanted in found else None for part, found in there.items()}


def _variants_in(folder: Path) -> set[str | None]:
    """Variants of a folder's weight files, which come after the first dot of their names; None is that without one."""
    found = set()
    for path in folder.iterdir():
        match = _WEIGHTS.fullmatch(re.sub(r"-\d+-of-\d+", "", path.name))
        if match:
            found.add(match["variant"])
    return found


def _files_of(folder: Path, variant: str | None) -> list[Path]:
    """A network's weight files of a variant, shards apart; safetensors alone if there are such."""
    found = []
    for path in sorted(folder.iterdir()):
        match = _WEIGHTS.fullmatch(re.sub(r"-\d+-of-\d+", "", path.name))
        if match and match["variant"] == variant:
            found.append(path)
    return found


def _config_of(path: Path) -> Mapping[str, Any]:
    """A part's config as it stands in its file, before a library reads it."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path} is missing", FOLDER_ADVICE) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read ({error})", "restore the file") from None
    if not isinstance(config, dict):
        raise ModelError(f"{path} holds no settings by name", "restore the file")
    return config


def load_network(part: str, kind: Any, folder: Path, variant: str | None, *, strict: bool) -> Any:
    """A network with every tensor of its file in its place.

    Raises:
        ModelError: tensors are missing, surplus (if ``strict``), of other shapes, or not finite; the message names
            them.
    """
    with worded(str(folder), FOLDER_ADVICE), silent_warnings():
        # diffusers names tensors of another shape in its error, transformers only in its log
        shapes = {"ignore_mismatched_sizes": True} if kind.__module__.startswith("transformers.") else {}
        network, info = kind.from_pretrained(
            folder,
            variant=variant,
            torch_dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
            **shapes,
        )
    surplus = sorted(info["unexpected_keys"])
    if added := [name for name in surplus if "lora" in name and (strict or info["missing_keys"])]:
        raise ModelError(
            f"{folder}: the weights of the {part} hold an adapter (LoRA) that is not fused: {_listed(added)}",
            FUSE_ADVICE,
        )
    faults = (
        (info["missing_keys"], "lacks", ""),
        (surplus if strict else [], "holds beside its own", ", or leave them out by model.strict=false"),
        ([key for key, *_ in info["mismatched_keys"]], "has in another shape", ""),
    )
    for names, fault, otherwise in faults:
        if names:
            raise ModelError(
                f"{folder}: the weights of the {part} are not those of its config.json: the file {fault} "
                f"{_listed(sorted(names))}",
                f"copy weights and config of one model{otherwise}",
            )
    if surplus:
        log.warning(
            "%s: the %s has no place for %s, which are left out (model.strict=false)", folder, part, _listed(surplus)
        )
    check_finite(part, network, str(folder))
    return network


def _listed(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} tensors ({', '.join(names[:most])}{more})"
