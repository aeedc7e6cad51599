"""A checkpoint file to the tensors of one network in it. Nothing in the file is executed.

Training code saves more than a network: lists of model, optimizer and moving average, dicts of them, names with the
prefix of a wrapper. Every set of tensors that carries a layout's names is found, and one is chosen by a stated rule.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from diffgeo.errors import ConfigError, ModelError
from importing.architecture import Layout, Shapes

__all__ = ["Weights", "choose", "read", "shortened", "weights_in"]

_DEPTH = 2
"""How deep networks are looked for: an entry of an entry. An optimizer's tensors lie deeper."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The tensors of one network in a file.

    Attributes:
        entry: where they lie, such as ``4``, ``ema`` or ``state_dict.module``; empty for the whole file.
        layout: whose names they carry.
        tensors: by key, without prefix.
        outside: keys beside them that lack the prefix.
    """

    entry: str
    layout: Layout
    tensors: dict[str, Tensor]
    outside: tuple[str, ...] = ()

    @property
    def shapes(self) -> Shapes:
        """Shape of every tensor."""
        return {key: tuple(tensor.shape) for key, tensor in self.tensors.items()}


def read(path: Path) -> object:
    """What a checkpoint holds: safetensors by their suffix, all else by torch's reader of weights.

    Raises:
        ModelError: there is no such file, it is damaged, or it holds more than tensors.
    """
    if path.is_dir():
        raise ModelError(f"{path} is a folder", "give the checkpoint file in it (.pt, .pth, .ckpt or .safetensors)")
    if not path.is_file():
        raise ModelError(f"there is no file {path}", "give the path of a checkpoint")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings(action="ignore"):  # of files that are refused anyway
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers raise many kinds on files that are not theirs
        raise ModelError(*_wording(path, error)) from error


def _wording(path: Path, error: Exception) -> tuple[str, str]:
    """What to say, and to advise, of a reader's error; torch's own advice, to load what it refuses all the same, is not passed on."""
    text = " ".join(str(error).split())
    if found := re.search(r"GLOBAL ([\w.]+)|(TorchScript)", text):
        what = f"it refers to {found[1]}" if found[1] else "it is a TorchScript program"
        return (
            f"{path} holds more than tensors: {what}; nothing in it was executed",
            "ask for its state dict alone, best as safetensors",
        )
    reason = text.rpartition("WeightsUnpickler error:")[2].replace(";", ",").strip()[:120] or "it ends too early"
    kind = type(error).__name__
    return f"{path} cannot be read as a checkpoint ({kind}: {reason})", "the file is truncated or of another kind"


def weights_in(content: object, layouts: Iterable[Layout]) -> list[Weights]:
    """Every network of a known layout, in the order of the file."""
    layouts = tuple(layouts)
    return [weights for entry, tensors in _walk(content, "") for weights in _networks(entry, tensors, layouts)]


def _walk(content: object, entry: str, depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every dict of named tensors, with where it lies."""
    inner: Iterable[tuple[object, object]] = ()
    if isinstance(content, Mapping):
        inner = content.items()
        if tensors := {k: v for k, v in inner if isinstance(k, str) and isinstance(v, Tensor)}:
            yield entry, tensors
    elif isinstance(content, list | tuple):
        inner = enumerate(content)
    if depth < _DEPTH:
        for key, value in inner:
            yield from _walk(value, f"{entry}.{key}".lstrip("."), depth + 1)


def _networks(entry: str, tensors: dict[str, Tensor], layouts: Sequence[Layout]) -> Iterator[Weights]:
    """The networks in one dict, told apart by the prefixes of their names."""
    layout_of = {
        key.removesuffix(root): layout
        for layout in layouts
        for root in layout.roots
        for key in tensors
        if key == root or key.endswith(f".{root}")
    }
    owner = {key: max((p for p in layout_of if key.startswith(p)), key=len, default=None) for key in tensors}
    outside = tuple(sorted(key for key, prefix in owner.items() if prefix is None))
    for prefix, layout in layout_of.items():
        own = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if owner[key] == prefix}
        yield Weights(".".join(filter(None, (entry, prefix.rstrip(".")))), layout, own, outside)


def choose(found: Sequence[Weights], entry: str | None, path: Path) -> Weights:
    """The network to import: the one that is asked for, the only one, or the moving average.

    A moving average is known by its name (``ema``), or as the last of a list, where ermongroup's code puts it.

    Raises:
        ConfigError: the entry is not there, or several are and none is the moving average.
    """
    names = ", ".join(repr(weights.entry) for weights in found)
    if entry is not None:
        matching = [weights for weights in found if weights.entry == entry]
        if not matching:
            raise ConfigError(f"{path} has no network at entry {entry!r}", f"it has {names}")
        return matching[0]
    averages = [weights for weights in found if re.search(r"(^|[._])ema", weights.entry.lower())]
    if len(averages) == 1 or len(found) == 1:
        return (averages or found)[0]
    if all(re.match(r"\d+(\.|$)", weights.entry) for weights in found):
        return found[-1]
    raise ConfigError(f"{path} holds several networks, {names}", "choose one with --entry")


def shortened(names: Iterable[str], most: int = 12) -> str:
    """Names in a row, all of them up to ``most``, then how many more; no name can overrun or command a terminal."""
    every = [name[:100] if name.isprintable() else ascii(name)[:100] for name in names]
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more
