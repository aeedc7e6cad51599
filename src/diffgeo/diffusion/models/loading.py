"""From a name, a folder or a hub id to a model: one code path, shipped weights included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch

from diffgeo.diffusion.models.base import DiffusionModel
from diffgeo.diffusion.models.family import Request, families
from diffgeo.diffusion.models.json_files import without_marks
from diffgeo.diffusion.models.locating import SHIPPED, located
from diffgeo.diffusion.models.lora import fuse_lora
from diffgeo.diffusion.models.pipeline_folders import load_parts, read_index
from diffgeo.diffusion.models.single_file import load_single_file
from diffgeo.diffusion.scheduler_fields import check_changes
from diffgeo.errors import DeviceError
from diffgeo.ranges import Rule

__all__ = ["load_model", "resolve_device"]

_SIZES = "null, or [height,width] in pixels"


def _is_size(size: Sequence[int]) -> bool:
    return len(size) == 2 and all(side > 0 for side in size)


def _changes(fields: Mapping[str, Any]) -> bool:
    """Whether fields of a scheduler can be set; which cannot, and why, is the error's to say."""
    check_changes(fields)
    return True


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
    class_label: Annotated[int | None, Rule(ge=0)] = None,
    guidance: float = 1.0,
    inversion_guidance: float = 1.0,
    embedded_guidance: Annotated[float, Rule(ge=0)] = 3.5,
    config: str | None = None,
    lora: Sequence[str] = (),
    lora_scale: Sequence[float] = (),
    size: Annotated[Sequence[int] | None, Rule(fits=_is_size, allowed=_SIZES)] = None,
    spacing: str | None = "trailing",
    scheduler: Annotated[Mapping[str, Any] | None, Rule(fits=_changes, allowed="fields of its scheduler")] = None,
    own_steps: Annotated[int | None, Rule(ge=1)] = None,
) -> DiffusionModel:
    """Load a pretrained diffusion model, with its prompt or class label bound.

    Args:
        name_or_path: a shipped name (:data:`SHIPPED`), a diffusers pipeline folder, a hub id (``owner/name``), or a
            checkpoint in one safetensors file.
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
        class_label: of a class-conditional model, which needs one, from 0.
        guidance: scale of classifier-free guidance in sampling, 1 for none.
        inversion_guidance: the same in DDIM inversion.
        embedded_guidance: scale that a distilled network (Flux dev) is given as an input, everywhere.
        config: pipeline folder whose layout a single file has; its configs, tokenizers and scheduler are taken, and
            networks that the file leaves out.
        lora: safetensors files that are fused into the weights, in their order; the model's ``source`` names them.
        lora_scale: of each file; all 1 if there is none.
        size: height and width of the pictures in pixels; null is what the model's config says.
        spacing: of DDIM timesteps: ``trailing``, which begin at T, or ``leading``; as its scheduler says if None.
        scheduler: fields of its scheduler's config to give another value, such as ``{shift: 3.0}`` or
            ``{timestep_spacing: leading, steps_offset: 1}``: those that docs/compatibility.md calls honoured, and these
            two. A ``timestep_spacing`` among them takes the place of ``spacing``.
        own_steps: of a rectified flow, the timesteps are those that its scheduler itself visits in so many steps, as in
            the pipelines of SD3 and Sana, and ``shift_terminal`` is honoured; null is those that it was trained on.

    Returns:
        The model, in eval mode, without gradients.

    Raises:
        ConfigError: a prompt or a label is missing, not possible, or given to a model that takes none; its pictures
            cannot have the size, or its scheduler no such field.
        ModelError: no such model or folder, no pipeline in it, weights missing, surplus, truncated, tampered with or
            not finite, a pipeline, network or scheduler that diffgeo does not know or that takes other inputs than
            diffgeo passes, or the hub out of reach.
        DeviceError: the device is not there.
    """
    target = resolve_device(str(device))
    name = str(name_or_path)
    if name not in SHIPPED and (file := Path(name).expanduser()).is_file():
        loaded, origin = load_single_file(file, config), str(file)
    else:
        folder, origin = located(name, revision, cache_dir, variant, local_files_only=local_files_only)
        with without_marks(folder) as plain:
            loaded = load_parts(plain, read_index(plain), variant, strict=strict, dtype=dtype)
    origin += fuse_lora(loaded, lora, lora_scale)
    request = Request(
        name,
        origin,
        target,
        dtype,
        spacing=spacing,
        scheduler=scheduler or {},
        own_steps=own_steps,
        size=None if size is None else (size[0], size[1]),
        prompt=prompt,
        negative_prompt=negative_prompt,
        edit_prompt=edit_prompt,
        class_label=class_label,
        guidance=guidance,
        inversion_guidance=inversion_guidance,
        embedded_guidance=embedded_guidance,
    )
    return families()[loaded.index["_class_name"]].build(loaded, request)
