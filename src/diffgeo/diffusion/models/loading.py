"""From a name, a folder or a hub id to a model: one code path, shipped weights included.

A folder is a diffusers pipeline: ``model_index.json`` and a sub-folder (or file) per part. Weights are read from
safetensors, or, where a pipeline has none, by torch's weights-only reader: nothing in a checkpoint is ever executed. A
shipped model's files are checked against the digests that ship beside it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from diffgeo.diffusion.models.base import DiffusionModel
from diffgeo.diffusion.models.inputs import check_autoencoder, check_finite, check_network, check_size
from diffgeo.diffusion.models.json_files import without_marks
from diffgeo.diffusion.models.latent import LatentDiffusion
from diffgeo.diffusion.models.pipelines import FUSE_ADVICE, MAY_LACK, Index, check_parts, read_index, used_parts
from diffgeo.diffusion.models.pixel import PixelDiffusion
from diffgeo.diffusion.models.sd3 import T5_TOKENS, StableDiffusion3, StableDiffusion3Prompts, ZeroTokens
from diffgeo.diffusion.models.sizes import (
    check_activations,
    check_depth,
    check_memory,
    check_weight_files,
    without_memory,
)
from diffgeo.diffusion.models.text import PromptEncoder
from diffgeo.diffusion.rectified_flow import noise_process
from diffgeo.diffusion.scheduler_fields import check_length
from diffgeo.errors import ConfigError, DeviceError, ModelError

__all__ = ["DIGESTS", "SHIPPED", "load_model", "resolve_device", "shipped_folder", "verify_digests"]

log = logging.getLogger(__name__)

SHIPPED = ("factor_faces", "factor_faces_4", "fashion_mnist", "factor_faces_t2i")
"""Models that come with the package."""

DIGESTS = "SHA256SUMS"
"""File beside shipped weights, in the format of ``sha256sum``."""

_WEIGHTS = re.compile(r"(diffusion_pytorch_model|pytorch_model|model)(\.(?P<variant>.+))?\.(safetensors|bin)")
"""Names of weight files, without the number of a shard."""

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
    strict: bool = True,
    prompt: str | None = None,
    negative_prompt: str = "",
    edit_prompt: str | None = None,
    guidance: float = 1.0,
    inversion_guidance: float = 1.0,
    spacing: str | None = "trailing",
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
        strict: refuse weight files with tensors that the network of their config has not; otherwise the log names them.
        prompt: of a text-to-image model, which needs one; empty is the unconditional model.
        negative_prompt: what guidance leads away from.
        edit_prompt: under which directions are looked for, if it is not the prompt.
        guidance: scale of classifier-free guidance in sampling, 1 for none.
        inversion_guidance: the same in DDIM inversion.
        spacing: of DDIM timesteps: ``trailing``, which begin at T, or ``leading``; as its scheduler says if None.

    Returns:
        The model, in eval mode, without gradients.

    Raises:
        ConfigError: a text-to-image model without a prompt, or a prompt for another one.
        ModelError: no such model or folder, no pipeline in it, weights missing, surplus, truncated, tampered with or
            not finite, a pipeline, network or scheduler that diffgeo does not know or that takes other inputs than
            diffgeo passes, or the hub out of reach.
        DeviceError: the device is not there.
    """
    target = resolve_device(str(device))
    name = str(name_or_path)
    folder, origin = _located(name, revision, cache_dir, variant, local_files_only=local_files_only)
    with without_marks(folder) as plain:
        pipeline = _load_pipeline(plain, read_index(plain), variant, strict=strict, dtype=dtype)
    schedule = noise_process(pipeline.scheduler, spacing=spacing, tokens=_image_tokens(pipeline))
    joint = hasattr(pipeline, "transformer")
    # diffusers' own .to() warns of dtypes even if there is nothing to keep in float32
    unet = torch.nn.Module.to(pipeline.transformer if joint else pipeline.unet, device=target, dtype=dtype)
    if not hasattr(pipeline, "tokenizer"):
        if prompt is not None:
            raise ConfigError(f"prompt={prompt!r} was given, but {name} takes no prompt", "leave it out")
        return PixelDiffusion(unet, schedule, name=name, source=origin)
    if prompt is None:
        raise ConfigError(f"{name} is a text-to-image model", "say what it shall show: prompt='…'")
    if not prompt.strip():
        log.warning("the prompt is empty: this is the model without a prompt, and guidance does nothing")
    if joint and pipeline.text_encoder_3 is None:
        ZeroTokens.put_into(unet, T5_TOKENS)
    return (StableDiffusion3 if joint else LatentDiffusion)(
        unet,
        schedule,
        torch.nn.Module.to(pipeline.vae, device=target, dtype=dtype),
        (StableDiffusion3Prompts if joint else PromptEncoder)(pipeline, target, dtype),
        prompt,
        negative_prompt=negative_prompt,
        edit_prompt=edit_prompt,
        guidance=guidance,
        inversion_guidance=inversion_guidance,
        name=name,
        source=origin,
    )


def _image_tokens(pipeline: Any) -> int | None:
    """Tokens that a transformer makes of a latent of its size, on which a scheduler's shift may depend."""
    config = getattr(getattr(pipeline, "transformer", None), "config", None)
    return None if config is None else (config.sample_size // config.patch_size) ** 2


def _located(
    name: str, revision: str | None, cache_dir: str | Path | None, variant: str | None, *, local_files_only: bool
) -> tuple[Path, str]:
    """(a pipeline's folder, what it is called in results); arguments and errors as :func:`load_model`."""
    folder = shipped_folder(name) if name in SHIPPED else Path(name).expanduser()
    if folder.is_dir():
        verify_digests(folder, required=name in SHIPPED)
        return folder, f"shipped:{name}" if name in SHIPPED else str(folder)
    if folder.exists():
        raise ModelError(f"{folder} is a file", "model.path takes a diffusers pipeline folder or a hub id (owner/name)")
    if not _looks_like_hub_id(name):
        raise ModelError(
            f"no model called {name!r}: not a folder, not a hub id (owner/name)", f"shipped are {', '.join(SHIPPED)}"
        )
    if local_files_only:
        folder = _cached_snapshot(name, revision, cache_dir)
    else:
        folder = _fetch(name, _ask_hub(name, revision, cache_dir), cache_dir, variant)
    return folder, f"{name}@{folder.name}"


def _looks_like_hub_id(name: str) -> bool:
    parts = name.split("/")
    return len(parts) == 2 and all(parts) and not name.startswith((".", "~", "/")) and ".." not in parts


def _ask_hub(name: str, revision: str | None, cache_dir: str | Path | None) -> str:
    """The commit of a hub id, from its index alone: a few bytes tell what it holds before gigabytes are fetched.

    All else is then read at that commit, so that a model is of one state of the repository and can say which.
    """
    from diffusers import DDPMPipeline

    with _worded(name, _HUB_ADVICE):
        index = dict(DDPMPipeline.load_config(name, revision=revision, cache_dir=cache_dir))
    check_parts(index, name)
    return _cached_snapshot(name, revision, cache_dir).name


def _fetch(name: str, commit: str, cache_dir: str | Path | None, variant: str | None) -> Path:
    """Folder of a hub id's files at a commit, those that are never used left out."""
    from diffusers import DiffusionPipeline

    unused = {"safety_checker": None, "feature_extractor": None, "image_encoder": None}
    with _worded(name, _HUB_ADVICE):
        return Path(DiffusionPipeline.download(name, revision=commit, cache_dir=cache_dir, variant=variant, **unused))


def _cached_snapshot(name: str, revision: str | None, cache_dir: str | Path | None) -> Path:
    """Folder of a hub id's files in the cache, which is called by their commit; found without asking the hub."""
    from huggingface_hub import try_to_load_from_cache

    file = try_to_load_from_cache(name, "model_index.json", cache_dir=cache_dir, revision=revision)
    if not isinstance(file, str):
        raise ModelError(f"cannot load {name}: {revision or 'main'} of it is not in the hub's cache", _HUB_ADVICE)
    return Path(file).parent


def _load_pipeline(folder: Path, index: Index, variant: str | None, *, strict: bool, dtype: torch.dtype) -> Any:
    """The parts of a pipeline that are used, each of its own class: attributes as those of diffusers' pipeline."""
    import diffusers
    import transformers
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    text = "vae" in used_parts(index)
    variants = _variants(folder, index, variant)
    places = {part: folder / part if (folder / part).is_dir() else folder for part in sorted(used_parts(index))}
    kinds: dict[str, Any] = {}
    for part in places:
        library, name = index[part]
        kinds[part] = getattr({"diffusers": diffusers, "transformers": transformers}.get(library), name, None)
        if kinds[part] is None:
            raise ModelError(f"{folder}: {library} has no {name}, which is its {part}", f"update {library}")
    check_length(_config_of(places["scheduler"] / "scheduler_config.json"))
    empty: dict[str, torch.nn.Module] = {}
    with _silent_warnings():
        for part in variants:
            config = _config_of(places[part] / "config.json")
            if part == "unet":
                check_size(config, str(folder))
            check_depth(part, config, str(folder))
            empty[part] = without_memory(part, kinds[part], config, str(folder))
    described: Any = empty["transformer" if "transformer" in empty else "unet"].config
    check_network(described, str(folder), text=text)
    if "unet" in empty:
        check_activations(described, str(folder))
    check_memory(empty, str(folder), dtype)
    for part, network in empty.items():
        check_weight_files(part, network, _files_of(places[part], variants[part]), str(folder))
    parts: dict[str, Any] = {}
    for part, where in places.items():
        if part in variants:
            parts[part] = _load_network(part, kinds[part], where, variants[part], strict=strict)
        else:
            with _worded(str(folder), _FOLDER_ADVICE), _silent_warnings():
                parts[part] = kinds[part].from_pretrained(where, local_files_only=True)
    if not text:
        # these pipelines put the scheduler's config into a class of their own
        own = {"DDIMPipeline": diffusers.DDIMScheduler, "PNDMPipeline": diffusers.PNDMScheduler}
        kind = own.get(index["_class_name"])
        if kind is not None and hasattr(parts["scheduler"], "alphas_cumprod"):
            with _silent_warnings():
                parts["scheduler"] = kind.from_config(parts["scheduler"].config)
        return SimpleNamespace(**parts)
    check_autoencoder(parts["vae"].config, described.in_channels, str(folder))
    if index["_class_name"] == "StableDiffusion3Pipeline":
        with _worded(str(folder), _FOLDER_ADVICE), _silent_warnings():
            return diffusers.StableDiffusion3Pipeline(**dict.fromkeys(MAY_LACK) | parts)
    unused = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    with _worded(str(folder), _FOLDER_ADVICE), _silent_warnings():
        return diffusers.StableDiffusionPipeline(**parts, **unused)


def _variants(folder: Path, index: Index, wanted: str | None) -> dict[str, str | None]:
    """The variant of weight files to read for every network: the wanted one, or that without a name if it lacks it.

    Raises:
        ModelError: no network has the wanted variant, or one has only variants and none is wanted; those are listed.
    """
    networks = [part for part in used_parts(index) if not part.startswith(("scheduler", "tokenizer"))]
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
        raise ModelError(f"{path} is missing", _FOLDER_ADVICE) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read ({error})", "restore the file") from None
    if not isinstance(config, dict):
        raise ModelError(f"{path} holds no settings by name", "restore the file")
    return config


def _load_network(part: str, kind: Any, folder: Path, variant: str | None, *, strict: bool) -> Any:
    """A network with every tensor of its file in its place.

    Raises:
        ModelError: tensors are missing, surplus (if ``strict``), of other shapes, or not finite; the message names
            them.
    """
    with _worded(str(folder), _FOLDER_ADVICE), _silent_warnings():
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


@contextmanager
def _silent_warnings() -> Iterator[None]:
    """Leave out what diffusers and transformers warn of while loading: it is said in our own words."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    both = (diffusers_logging, transformers_logging)
    levels = [one.get_verbosity() for one in both]
    for one in both:
        one.set_verbosity_error()
    try:
        yield
    finally:
        for one, level in zip(both, levels, strict=True):
            one.set_verbosity(level)


@contextmanager
def _worded(source: str, advice: str) -> Iterator[None]:
    """Word what diffusers and the hub client raise: many kinds, none of which tells what to do."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"cannot load {source}: {type(error).__name__}: {reason}", advice) from error
