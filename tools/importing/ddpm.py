"""The layout of the original DDPM in torch: ermongroup's DDIM and SDEdit.

Levels are numbered from the finest on both ways, with blocks and attention in lists of their own; q, k and v are 1×1
convolutions. Pictures are padded at the right and the bottom before they are halved. With ``type: bayesian`` in its
settings ermongroup's code stores a ``logvar`` of one number per diffusion step, which its network never reads.
"""

from __future__ import annotations

import re

from torch import Tensor

from diffgeo.errors import ModelError
from importing.architecture import Architecture, Layout, Shapes, size

__all__ = ["DDPM"]

_OUTER = {
    "conv_in": "conv_in",
    "time_embedding.linear_1": "temb.dense.0",
    "time_embedding.linear_2": "temb.dense.1",
    "conv_norm_out": "norm_out",
    "conv_out": "conv_out",
}
_INNER = {
    "time_emb_proj": "temb_proj",
    "conv_shortcut": "nin_shortcut",
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}
_LISTS = {"resnets": "block", "attentions": "attn"}


def describe(shapes: Shapes) -> Architecture:
    """See :class:`Layout`."""
    found = [m for key in shapes if (m := re.match(r"(down|up)\.(\d{1,4})\.(block|attn)\.(\d{1,4})\.", key))]
    depth: dict[tuple[str, int], int] = {}
    attention = set()
    for side, level, kind, number in (m.groups() for m in found):
        if kind == "attn":
            attention.add(int(level))
        else:
            depth[side, int(level)] = max(depth.get((side, int(level)), 0), int(number) + 1)
    levels = max((level for _, level in depth), default=-1) + 1
    res_blocks = depth.get(("down", 0), 0)
    regular = {("down", i): res_blocks for i in range(levels)} | {("up", i): res_blocks + 1 for i in range(levels)}
    if not levels or depth != regular:
        raise ModelError(
            f"blocks by side and level are {depth}",
            "the ddpm layout has as many in each level on the way down, and one more on the way up",
        )
    if any(".conv_shortcut." in key for key in shapes):
        raise ModelError("shortcuts are 3×3 convolutions (conv_shortcut)", "diffusers' UNet2DModel has 1×1 ones only")
    if levels > 1 and not any(re.match(r"(down|up)\.\d+\.(down|up)sample\.", key) for key in shapes):
        raise ModelError(
            "levels are joined by pooling (resamp_with_conv: False)",
            "that has no counterpart in diffusers' UNet2DModel",
        )
    leaves = ("conv2.bias", "conv2.weight", "norm2.bias", "norm2.weight", "conv1.bias")
    widths = tuple(size(shapes, 0, *(f"down.{i}.block.0.{leaf}" for leaf in leaves)) for i in range(levels))
    base = size(shapes, 0, "conv_in.bias", "conv_in.weight")
    if widths[0] != base:
        raise ModelError(
            f"the first level is {widths[0]} wide and the first convolution {base}",
            "channel multipliers that do not begin with 1 have no counterpart in diffusers' UNet2DModel",
        )
    return Architecture(
        in_channels=size(shapes, 1, "conv_in.weight"),
        out_channels=size(shapes, 0, "conv_out.bias", "conv_out.weight"),
        widths=widths,
        res_blocks=res_blocks,
        attention=tuple(level in attention for level in range(levels)),
        time_width=size(shapes, 0, "temb.dense.0.bias", "temb.dense.0.weight"),
        scale_shift=False,
        resample="conv",
    )


def source(key: str, architecture: Architecture) -> str:
    """See :class:`Layout`."""
    coarsest = len(architecture.widths) - 1
    match key.split("."):
        case ["down_blocks", level, "downsamplers", "0", *leaf]:
            block = f"down.{level}.downsample"
        case ["down_blocks", level, kind, number, *leaf]:
            block = f"down.{level}.{_LISTS[kind]}.{number}"
        case ["mid_block", kind, number, *leaf]:
            block = f"mid.{_LISTS[kind]}_{int(number) + 1}"
        case ["up_blocks", level, "upsamplers", "0", *leaf]:
            block = f"up.{coarsest - int(level)}.upsample"
        case ["up_blocks", level, kind, number, *leaf]:
            block = f"up.{coarsest - int(level)}.{_LISTS[kind]}.{number}"
        case [*module, leaf_name]:
            return f"{_OUTER['.'.join(module)]}.{leaf_name}"
    *names, parameter = leaf
    inner = ".".join(names)
    return f"{block}.{_INNER.get(inner, inner)}.{parameter}"


def source_shape(key: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """See :class:`Layout`: 1×1 convolutions for linear maps."""
    return (*shape, 1, 1) if ".attentions." in key and len(shape) == 2 else shape


def part(_key: str, tensor: Tensor, _head_width: int | None, _order: str) -> Tensor:
    """See :class:`Layout`: every key has a tensor of its own."""
    return tensor


DDPM = Layout(
    name="ddpm",
    known="the original DDPM in torch, DDIM, SDEdit",
    roots=("temb.dense.0.weight", "temb.dense.0.bias", "temb.dense.1.weight", "temb.dense.1.bias"),
    constants={"norm_eps": 1e-6, "flip_sin_to_cos": False, "freq_shift": 1, "downsample_padding": 0},
    one_head=True,
    describe=describe,
    source=source,
    source_shape=source_shape,
    part=part,
    one_per_step=("logvar",),
)
