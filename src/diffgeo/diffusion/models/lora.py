"""LoRA files, fused into the weights that they adapt: W + s · (α/r) · B A, with A (r, in) and B (out, r).

diffusers reads the layouts that are around (its own, PEFT's, Kohya's). The products are made here, so that PEFT is not
needed and a file of another model is refused tensor by tensor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from diffgeo.diffusion.models.family import Loaded
from diffgeo.diffusion.models.wording import silent_warnings, worded
from diffgeo.errors import ConfigError, ModelError

__all__ = ["fuse_lora"]

_PAIRS = {
    ".lora_A.weight": ".lora_B.weight",
    ".lora.down.weight": ".lora.up.weight",
    ".lora_linear_layer.down.weight": ".lora_linear_layer.up.weight",
    "_lora.down.weight": "_lora.up.weight",
}
"""Ends of the names of A and of B, by layout."""
_ALPHA = ".alpha"
_BASES = ("", ".lora", ".lora_A", ".lora_B", ".lora_linear_layer", "_lora")
"""What may stand between the name of a layer and that of its α."""
_OWN = "base_model.model."
"""What begins the names of PEFT's own files, whose α lies in another file."""
_METADATA = "lora_adapter_metadata"
_ADVICE = "choose a LoRA that was trained on this model"


def fuse_lora(loaded: Loaded, files: Sequence[str], scales: Sequence[float]) -> str:
    """Fuse LoRA files into the networks of a pipeline, in place.

    Args:
        loaded: the parts, in float32.
        files: safetensors.
        scales: s of each; none is 1 for all.

    Returns:
        What is added to the model's source, such as `` + lora style.safetensors at 0.8``; empty without files.

    Raises:
        ConfigError: there are not as many scales as files.
        ModelError: the pipeline takes no LoRA; a file is missing, damaged, no LoRA, or of another model.
    """
    if scales and len(scales) != len(files):
        raise ConfigError(
            f"model.lora_scale has {len(scales)} numbers, model.lora has {len(files)} files", "give one each"
        )
    said = ""
    for name, scale in zip(files, scales or [1.0] * len(files), strict=True):
        path = Path(name).expanduser()
        tensors, alphas = _read(path, loaded)
        with torch.no_grad():
            for weights, change in _changes(path, tensors, alphas, loaded.parts):
                weights += scale * change
        said += f" + lora {path.name} at {scale:g}"
    return said


def _read(path: Path, loaded: Loaded) -> tuple[Mapping[str, Tensor], Mapping[str, float]]:
    """Tensors and α by name, each name beginning with that of a part."""
    import diffusers

    kind = getattr(diffusers, loaded.index["_class_name"])
    if not hasattr(kind, "lora_state_dict"):
        raise ModelError(f"{loaded.where}: LoRA of a {kind.__name__} is not known to diffusers", "leave model.lora out")
    try:
        with safe_open(path, "pt") as opened:
            found = {name: opened.get_tensor(name).float() for name in list(opened.keys())}
            notes = json.loads((opened.metadata() or {}).get(_METADATA, "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"the LoRA {path} cannot be read ({error})", "give a whole safetensors file") from None
    if own := [name for name in found if name.startswith(_OWN)]:
        raise ModelError(
            f"the LoRA {path} is an adapter as PEFT saves it ({own[0]}), whose α stands in adapter_config.json",
            "load it in diffusers, and save it with the pipeline's save_lora_weights",
        )
    if biases := [name for name in found if name.endswith(".bias")]:
        raise ModelError(
            f"the LoRA {path} has {len(biases)} biases ({biases[0]}), which diffgeo does not read",
            "fuse it in diffusers",
        )
    more = {"return_alphas": True} if "Flux" in kind.__name__ else {}
    more |= {"unet_config": loaded.parts["unet"].config} if "unet" in loaded.parts else {}
    with worded(f"the LoRA {path}", _ADVICE), silent_warnings():
        read: Any = kind.lora_state_dict(dict(found), **more)
    tensors, alphas = read if isinstance(read, tuple) else (read, None)
    named = {str(name): float(value) for name, value in (alphas or {}).items()}
    return tensors, _noted(path, notes, tensors) | named | _held(path, tensors)


def _held(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """α of the layers that have it beside their matrices, where diffusers left it there."""
    layers = {name[: -len(end)] for name in tensors for end in _PAIRS if name.endswith(end)}
    found = {}
    for name, value in tensors.items():
        if not name.endswith(_ALPHA):
            continue
        stem = name.removesuffix(_ALPHA)
        bases = [base for end in _BASES if stem.endswith(end) and (base := stem.removesuffix(end)) in layers]
        if not bases or value.numel() != 1:
            raise ModelError(f"the LoRA {path} has {name}, and no layer to which it belongs", "fuse it in diffusers")
        found[f"{bases[0]}{_ALPHA}"] = float(value)
    return found


def _noted(path: Path, notes: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """α of every layer as a file's metadata have it, one for all layers of a part."""
    patterns = [name for name, value in notes.items() if name.endswith(("_pattern", "use_dora")) and value]
    if patterns:
        raise ModelError(f"the LoRA {path} has {patterns[0]}, which diffgeo does not read", "fuse it in diffusers")
    parts = {name.partition(".")[0] for name in notes if name.endswith(".lora_alpha")}
    return {
        f"{base}.alpha": float(notes[f"{base.partition('.')[0]}.lora_alpha"])
        for base in {name[: -len(end)] for name in tensors for end in _PAIRS if name.endswith(end)}
        if base.partition(".")[0] in parts
    }


def _changes(
    path: Path, tensors: Mapping[str, Tensor], alphas: Mapping[str, float], parts: Mapping[str, Any]
) -> list[tuple[Tensor, Tensor]]:
    """Every weight that the file adapts, with α/r · B A; all are found before any is changed."""
    found, lost, used = [], [], set()
    for name, down in tensors.items():
        end = next((end for end in _PAIRS if name.endswith(end)), None)
        up = None if end is None else tensors.get(name[: -len(end)] + _PAIRS[end])
        if end is None or up is None:
            continue
        used |= {name, name[: -len(end)] + _PAIRS[end]}
        base = name[: -len(end)]
        weights = _weights(parts, base)
        product = up.flatten(1) @ down.flatten(1) if up.shape[1] == len(down) else None
        # a layer of 1 × 1 pixels may be a linear one in the file
        sizes = (up.shape[0], *down.shape[1:]), () if weights is None else tuple(weights.shape)
        fits = _without_ones(sizes[0]) == _without_ones(sizes[1])
        if weights is None or product is None or not fits:
            lost.append(base)
        elif not bool(torch.isfinite(product).all()):
            raise ModelError(f"the LoRA {path} has NaN or infinity in {base}", "give a whole file")
        else:
            alpha = next((alphas[key] for key in (f"{base}.alpha", f"{name}.alpha") if key in alphas), float(len(down)))
            factor = alpha / len(down)
            found.append((weights, factor * product.reshape(weights.shape)))
    lost += [name for name in tensors if name not in used and not name.endswith(_ALPHA)]
    if lost or not found:
        named = (
            f"{len(lost)} of its tensors have no place here ({', '.join(sorted(lost)[:3])})" if lost else "it is none"
        )
        raise ModelError(f"the LoRA {path} is of another architecture: {named}", _ADVICE)
    return found


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A weight's shape without the 1 × 1 pixels at its end."""
    return shape[:-2] if len(shape) == 4 and shape[2:] == (1, 1) else shape


def _weights(parts: Mapping[str, Any], base: str) -> Tensor | None:
    """The weight that a layer of a file adapts."""
    part, _, layer = base.partition(".")
    network = parts.get(part)
    if not isinstance(network, nn.Module):
        return None
    layer = layer.replace(".processor.", ".")
    if part.startswith("text_encoder"):  # diffusers calls its layers as those of a U-Net are called
        for own, theirs in {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}.items():
            layer = layer.replace(f".{theirs}", f".{own}")
    for name in (f"{layer}.0", layer, layer.removeprefix("text_model.")):
        try:
            found = getattr(network.get_submodule(name), "weight", None)
        except AttributeError:
            continue
        if isinstance(found, Tensor):
            return found
    return None
