"""How large the parts of a pipeline are, read from their configs and weight files before anything is built.

A config of a few lines can ask for terabytes, or for so many layers that building them takes hours. Here such a folder
is refused within seconds: a network is first built without memory (torch's ``meta`` device), its numbers are compared
with the headers of its weight files, and with the memory that is left.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from diffgeo.errors import ModelError
from diffgeo.jacobian.memory import cpu_bytes

__all__ = ["check_activations", "check_depth", "check_memory", "check_weight_files", "without_memory"]

_MOST_LAYERS = 4096
"""Layers of a network, counted by :func:`check_depth`; SDXL's U-Net has 60 by that count."""
_DEPTHS = (
    *("layers_per_block", "transformer_layers_per_block", "reverse_transformer_layers_per_block"),
    *("num_hidden_layers", "num_encoder_blocks", "num_decoder_blocks"),
)
"""Fields of configs by which a network is made deeper."""
_BLOCKS = ("block_out_channels", "down_block_types", "up_block_types", "encoder_block_out_channels")
"""Lists with an item per block."""
_BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}
_BYTES |= {"I8": 1, "U8": 1, "BOOL": 1}
_DAMAGED = "the file is truncated or damaged; copy it again"


def check_depth(part: str, config: Mapping[str, Any], where: str) -> None:
    """Whether a config asks for a number of layers that can be built.

    Args:
        part: what it is called in the pipeline.
        config: as its ``config.json`` has it.
        where: how messages name the model.

    Raises:
        ModelError: more than any known network has, times forty.
    """
    deep = {field: max(_numbers(config[field]), default=1) for field in _DEPTHS if config.get(field) is not None}
    blocks = max((len(config[field]) for field in _BLOCKS if isinstance(config.get(field), list)), default=1)
    layers = blocks * math.prod(max(1, number) for number in deep.values())
    if layers > _MOST_LAYERS:
        given = ", ".join(f"{field}={config[field]}"[:60] for field in deep)
        raise ModelError(
            f"{where}: the config.json of the {part} asks for {layers:,} layers ({given}, {blocks} blocks)",
            f"restore the file, as at most {_MOST_LAYERS} are built",
        )


def _numbers(value: object) -> Iterator[float]:
    """The numbers of a value or of its lists."""
    if isinstance(value, list):
        for one in value:
            yield from _numbers(one)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def without_memory(part: str, kind: Any, config: Mapping[str, Any], where: str) -> nn.Module:
    """A network of a config without its numbers: only names and shapes.

    Args:
        part: what it is called in the pipeline.
        kind: its class in diffusers or transformers.
        config: as its ``config.json`` has it.
        where: how messages name the model.

    Raises:
        ModelError: the class takes no such config; the message gives its reason.
    """
    try:
        with torch.device("meta"):
            if hasattr(kind, "config_class"):
                network: nn.Module = kind(kind.config_class.from_dict(dict(config)))
            else:
                network = kind.from_config(dict(config))
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{where}: no {part} can be made of its config.json ({type(error).__name__}: {reason})",
            "restore the file, or update the library that it was saved with",
        ) from error
    return network


def check_weight_files(part: str, network: nn.Module, files: Iterable[Path], where: str) -> None:
    """Whether the headers of weight files are whole, and hold about as many numbers as the config describes.

    Args:
        part: what it is called in the pipeline.
        network: of its config, without memory.
        files: its weight files; those that are no safetensors are left out.
        where: how messages name the model.

    Raises:
        ModelError: a file is truncated, a header contradicts itself, or the config describes more than twice the
            numbers; the message names the tensor or both counts.
    """
    headers = [_counted(path) for path in files if path.suffix == ".safetensors"]
    held, described = sum(headers), sum(tensor.numel() for tensor in network.state_dict().values())
    if headers and described > 2 * held:
        raise ModelError(
            f"{where}: the config.json of the {part} describes a network of {described:,} numbers, its weight file "
            f"holds {held:,}",
            "copy weights and config of one model",
        )


def _counted(path: Path) -> int:
    """How many numbers a safetensors file holds, after its header was checked."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise ModelError(f"{path} ends within its header", _DAMAGED)
        try:
            header = json.loads(file.read(length))
            tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
            shapes = {name: [int(n) for n in entry["shape"]] for name, entry in tensors.items()}
            places = {
                name: (int(entry["data_offsets"][0]), int(entry["data_offsets"][1])) for name, entry in tensors.items()
            }
        except (ValueError, AttributeError, KeyError, TypeError, IndexError, RecursionError) as error:
            raise ModelError(f"{path} has no readable header ({type(error).__name__})", _DAMAGED) from None
    for name, shape in shapes.items():
        first, last = places[name]
        width = _BYTES.get(str(tensors[name].get("dtype")))
        if min(shape, default=0) < 0 or (width is not None and math.prod(shape) * width != last - first):
            raise ModelError(
                f"{path} gives its tensor {name} the shape {shape} and {last - first:,} bytes, which contradict each "
                "other",
                "the file is damaged or was made by hand, take it from its source again",
            )
    if lost := [name for name, (_, last) in places.items() if last > size - 8 - length]:
        raise ModelError(f"{path} is truncated: it ends before its tensor {sorted(lost)[0]}", _DAMAGED)
    return sum(math.prod(shape) for shape in shapes.values())


def check_memory(networks: Mapping[str, nn.Module], where: str, dtype: torch.dtype) -> None:
    """Whether the weights of a pipeline fit into the memory that is left.

    Args:
        networks: of a pipeline by part, without memory.
        where: how messages name the model.
        dtype: that they are computed with; they are loaded in float32.

    Raises:
        ModelError: they do not; the message gives both sizes.
    """
    each = 4 if dtype == torch.float32 else 4 + dtype.itemsize
    needed = {
        part: each * sum(tensor.numel() for tensor in network.state_dict().values())
        for part, network in networks.items()
    }
    free = cpu_bytes()
    if sum(needed.values()) > free:
        largest = max(needed, key=lambda part: needed[part])
        raise ModelError(
            f"{where} takes {_gigabytes(sum(needed.values()))} of memory by its configs ({largest} alone "
            f"{_gigabytes(needed[largest])}), and {_gigabytes(free)} are free",
            "correct the config.json if that is wrong, or use a larger machine",
        )


def check_activations(config: Mapping[str, Any], where: str) -> None:
    """Whether a few layers of the U-Net's full size fit into memory, for one x.

    Args:
        config: of the U-Net, checked by ``check_network``.
        where: how messages name the model.

    Raises:
        ModelError: they do not.
    """
    size = config["sample_size"]
    height, width = (size, size) if isinstance(size, int) else size
    channels = max(_numbers(list(config["block_out_channels"][:1])), default=1)
    needed, free = 4 * 4 * channels * height * width, cpu_bytes()
    if needed > free:
        raise ModelError(
            f"{where}: sample_size={size} and {channels} channels take {_gigabytes(needed)} for four layers, and "
            f"{_gigabytes(free)} are free",
            "correct unet/config.json if that is wrong, or use a larger machine",
        )


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:,.1f} GB"
