"""From a name, a folder or a hub id to a model: one code path, shipped weights included.

A folder is a diffusers pipeline: ``model_index.json`` and a sub-folder (or file) per part. Weights are read from
safetensors, or, where a pipeline has none, by torch's weights-only reader: nothing in a checkpoint is ever executed. A
shipped model's files are checked against the digests that ship beside it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from diffgeo.diffusion.models.base import DiffusionModel
from diffgeo.diffusion.models.latent import LatentDiffusion
from diffgeo.diffusion.models.pixel import PixelDiffusion
from diffgeo.diffusion.models.text import PromptEncoder
from diffgeo.diffusion.noise_schedule import NoiseSchedule
from diffgeo.errors import ConfigError, DeviceError, ModelError

__all__ = ["DIGESTS", "SHIPPED", "load_model", "resolve_device", "shipped_folder", "verify_digests"]

log = logging.getLogger(__name__)

SHIPPED = ("factor_faces", "factor_faces_4", "fashion_mnist", "factor_faces_t2i")
"""Models that come with the package."""

DIGESTS = "SHA256SUMS"
"""File beside shipped weights, in the format of ``sha256sum``."""

_PIXEL_PIPELINES = {"DDPMPipeline", "DDIMPipeline", "PNDMPipeline"}
_TEXT_PIPELINES = {"StableDiffusionPipeline"}
_TEXT_PARTS = ("scheduler", "text_encoder", "tokenizer", "unet", "vae")

_FOLDER_ADVICE = "the folder is incomplete or a weight file is truncated; copy it again"
_HUB_ADVICE = "check the id, model.revision and the network, or download it elsewhere and pass model.path=FOLDER"


def shipped_folder(name: str) -> Path:
    """Where the shipped asset ``name`` lies, inside the installed package."""
    return Path(__file__).resolve().parents[2] / "assets" / name


def resolve_device(device: str) -> torch.device:
    """``auto``, ``cpu``, ``cuda``, ``cuda:1`` to a device that exists.

    Raises:
        DeviceError: it is not there, or is no device; the message says what is there.
    """
    here = ["cpu"]
    if torch.cuda.is_available():
        here += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if device == "auto":
        return torch.device(here[1] if len(here) > 1 else "cpu")
    try:
        wanted = torch.device(device)
    except RuntimeError:
        raise DeviceError(f"device={device} is no device", f"this machine has {', '.join(here)}") from None
    full = f"cuda:{wanted.index or 0}" if wanted.type == "cuda" else str(wanted)
    if full not in here:
        raise DeviceError(f"device={device} was asked for, but this machine has {', '.join(here)}", "use device=auto")
    return wanted


def verify_digests(folder: Path, *, required: bool = False) -> None:
    """Check the files that ``SHA256SUMS`` lists.

    Args:
        folder: where it lies.
        required: whether a folder without one is refused, as shipped ones are.

    Raises:
        ModelError: a file is missing or differs; the message names it.
    """
    listing = folder / DIGESTS
    if not listing.is_file():
        if required:
            raise ModelError(f"{listing} is missing", "reinstall diffgeo or restore the file")
        return
    for line in filter(str.strip, listing.read_text(encoding="utf-8").splitlines()):
        digest, name = line.split(maxsplit=1)
        path = folder / name.lstrip("*")
        if not path.is_file():
            raise ModelError(f"{path} is missing", "reinstall diffgeo or restore the file")
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise ModelError(
                f"{path} is damaged: its SHA-256 differs from {DIGESTS}", "reinstall diffgeo or restore it"
            )


def load_model(
    name_or_path: str | Path = "factor_faces",
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    variant: str | None = None,
    prompt: str | None = None,
    negative_prompt: str = "",
    edit_prompt: str | None = None,
    guidance: float = 1.0,
    inversion_guidance: float = 1.0,
) -> DiffusionModel:
    """Load a pretrained diffusion model, with its prompt bound.

    Args:
        name_or_path: a shipped name (:data:`SHIPPED`), a diffusers pipeline folder, or a hub id (``owner/name``).
        device: where to put it; ``auto`` picks a GPU when there is one.
        dtype: of the weights and of x, float32 or float64 (half precision breaks Jacobians).
        revision: commit, tag or branch of a hub id, ``main`` when None; the model's ``source`` names its commit.
        cache_dir: where hub downloads are kept; diffusers' own default when None.
        local_files_only: never ask the hub, take what its cache holds.
        variant: of the weight files, such as ``fp16``.
        prompt: of a text-to-image model, which needs one; empty is the unconditional model.
        negative_prompt: what guidance leads away from.
        edit_prompt: under which directions are looked for, where it is not the prompt.
        guidance: scale of classifier-free guidance in sampling, 1 for none.
        inversion_guidance: the same in DDIM inversion.

    Returns:
        The model, in eval mode, without gradients.

    Raises:
        ConfigError: a text-to-image model without a prompt, or a prompt for another one.
        ModelError: no such model or folder, no pipeline in it, weights missing, truncated or tampered with, a pipeline
            class that diffgeo does not know, or the hub out of reach.
        DeviceError: the device is not there.
    """
    target = resolve_device(str(device))
    name = str(name_or_path)
    folder = shipped_folder(name) if name in SHIPPED else Path(name).expanduser()
    hub: dict[str, Any] = {}
    if folder.is_dir():
        verify_digests(folder, required=name in SHIPPED)
        source, origin = str(folder), f"shipped:{name}" if name in SHIPPED else str(folder)
        index = _read_index(folder)
    elif folder.exists():
        raise ModelError(f"{folder} is a file", "model.path takes a diffusers pipeline folder or a hub id (owner/name)")
    elif not _looks_like_hub_id(name):
        raise ModelError(
            f"no model called {name!r}: not a folder, not a hub id (owner/name)", f"shipped are {', '.join(SHIPPED)}"
        )
    else:
        if local_files_only:
            snapshot = _cached_snapshot(name, revision, cache_dir)
            source, index, commit = str(snapshot), _read_index(snapshot), snapshot.name
        else:
            source, (index, commit) = name, _ask_hub(name, revision, cache_dir)
            hub = {"revision": commit, "cache_dir": cache_dir}
        origin = f"{name}@{commit}"
    pipeline = _load_pipeline(source, index, variant=variant, **hub)
    schedule = NoiseSchedule.of(pipeline.scheduler)
    # diffusers' own .to() warns of dtypes even where there is nothing to keep in float32
    unet = torch.nn.Module.to(pipeline.unet, device=target, dtype=dtype)
    if not hasattr(pipeline, "tokenizer"):
        if prompt is not None:
            raise ConfigError(f"prompt={prompt!r} was given, but {name} takes no prompt", "leave it out")
        return PixelDiffusion(unet, schedule, name=name, source=origin)
    if prompt is None:
        raise ConfigError(f"{name} is a text-to-image model", "say what it shall show: prompt='…'")
    if not prompt.strip():
        log.warning("the prompt is empty: this is the model without a prompt, and guidance does nothing")
    return LatentDiffusion(
        unet,
        schedule,
        torch.nn.Module.to(pipeline.vae, device=target, dtype=dtype),
        PromptEncoder(pipeline, target, dtype),
        prompt,
        negative_prompt=negative_prompt,
        edit_prompt=edit_prompt,
        guidance=guidance,
        inversion_guidance=inversion_guidance,
        name=name,
        source=origin,
    )


def _looks_like_hub_id(name: str) -> bool:
    parts = name.split("/")
    return len(parts) == 2 and all(parts) and not name.startswith((".", "~", "/")) and ".." not in parts


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / "model_index.json"
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{folder} is no diffusers pipeline: model_index.json is missing",
            "save one with DDPMPipeline(unet, scheduler).save_pretrained(folder)",
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error})", "restore the file") from None
    if not isinstance(index, dict) or "_class_name" not in index:
        raise ModelError(f"{path} names no pipeline class (_class_name)", "restore the file")
    _check_parts(index, str(folder))
    _check_shards(folder)
    if index["_class_name"] in _TEXT_PIPELINES:  # transformers makes an empty tokenizer of a folder that is not there
        missing = [part for part in _TEXT_PARTS if not (folder / part).is_dir()]
        if missing:
            raise ModelError(f"{folder} lacks {', '.join(missing)}", "cannot load it, copy the whole pipeline folder")
    return index


def _check_parts(index: dict[str, Any], where: str) -> None:
    """Whether pipeline and parts are classes of diffusers and transformers: a folder may name code of its own."""
    known = _PIXEL_PIPELINES | _TEXT_PIPELINES
    name = str(index.get("_class_name"))
    if name not in known:
        raise ModelError(f"{where} holds a {name}", f"diffgeo loads {', '.join(sorted(known))}")
    for part, value in index.items():
        if isinstance(value, list) and value[:1] not in ([None], ["diffusers"], ["transformers"], ["stable_diffusion"]):
            raise ModelError(
                f"{where} takes its {part} from {value[0]!r}", "diffgeo runs no code that comes with a model"
            )


def _check_shards(folder: Path) -> None:
    """Whether lists of weight files name files that lie beside them."""
    for path in folder.glob("*/*.index.json"):
        try:
            files = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise ModelError(f"{path} cannot be read ({error})", "restore the file") from None
        outside = sorted(str(f) for f in files if not isinstance(f, str) or Path(f).name != f)
        if outside:
            raise ModelError(f"{path} points outside its folder: {outside[0]}", "diffgeo reads weights beside it only")


def _ask_hub(name: str, revision: str | None, cache_dir: str | Path | None) -> tuple[dict[str, Any], str]:
    """The pipeline's index, a few bytes that tell what the hub holds before gigabytes are fetched, and its commit.

    All else is then read at that commit, so that a model is of one state of the repository and can say which.
    """
    from diffusers import DDPMPipeline

    with _worded(name, _HUB_ADVICE):
        index = dict(DDPMPipeline.load_config(name, revision=revision, cache_dir=cache_dir))
    _check_parts(index, name)
    return index, _cached_snapshot(name, revision, cache_dir).name


def _cached_snapshot(name: str, revision: str | None, cache_dir: str | Path | None) -> Path:
    """Folder of a hub id's files in the cache, which is called by their commit; found without asking the hub."""
    from huggingface_hub import try_to_load_from_cache

    file = try_to_load_from_cache(name, "model_index.json", cache_dir=cache_dir, revision=revision)
    if not isinstance(file, str):
        raise ModelError(f"cannot load {name}: {revision or 'main'} of it is not in the hub's cache", _HUB_ADVICE)
    return Path(file).parent


def _load_pipeline(source: str, index: dict[str, Any], *, variant: str | None, **hub: Any) -> Any:
    from diffusers import DDPMPipeline, StableDiffusionPipeline
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    with _worded(source, _HUB_ADVICE if hub else _FOLDER_ADVICE):
        if index["_class_name"] in _TEXT_PIPELINES:
            return StableDiffusionPipeline.from_pretrained(
                source, safety_checker=None, requires_safety_checker=False, dtype=torch.float32, variant=variant, **hub
            )
        # the pipeline around an unconditional U-Net does not matter here, only its parts
        return DDPMPipeline.from_pretrained(source, variant=variant, **hub)


@contextmanager
def _worded(source: str, advice: str) -> Iterator[None]:
    """Word what diffusers and the hub client raise: many kinds, none of which tells what to do."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"cannot load {source}: {type(error).__name__}: {reason}", advice) from error
