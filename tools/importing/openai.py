"""The layout of OpenAI's improved-diffusion and guided-diffusion, which P2 weighting and many others share.

Blocks are numbered through: ``input_blocks.0`` is the first convolution, then come, level by level, n residual blocks
and the step to the next level; ``output_blocks`` mirrors them with n + 1 residual blocks a level, the step being a
further member of the level's last block. q, k and v lie in one tensor.
"""

from __future__ import annotations

import re
from collections import defaultdict

from torch import Tensor

from diffgeo.errors import ModelError
from importing.architecture import Architecture, Layout, Shapes, size

__all__ = ["OPENAI"]

_RESNET = {"in_layers", "emb_layers", "out_layers", "skip_connection"}
_ATTENTION = {"norm", "qkv", "proj_out"}
_OUTER = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_INNER = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
    "group_norm": "norm",
    "to_q": "qkv",
    "to_k": "qkv",
    "to_v": "qkv",
    "to_out.0": "proj_out",
    "conv": "conv",
}


def _words(shapes: Shapes, side: str) -> dict[int, dict[int, set[str]]]:
    """Block → member → first words of the names in it: ``{7: {0: {"in_layers", …}, 1: {"norm", "qkv", …}}}``."""
    found: dict[int, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for key in shapes:
        if parts := re.match(rf"{side}\.(\d{{1,4}})\.(\d{{1,4}})\.(\w+)", key):
            found[int(parts[1])][int(parts[2])].add(parts[3])
    return found


def describe(shapes: Shapes) -> Architecture:
    """See :class:`Layout`. The number of levels comes from the steps up, which differ from other blocks by name."""
    if any(key.startswith("label_emb.") for key in shapes):
        raise ModelError("the network is class-conditional (label_emb)", "diffgeo imports unconditional models only")
    inputs, outputs = _words(shapes, "input_blocks"), _words(shapes, "output_blocks")
    if not outputs:
        raise ModelError(
            "there are no output_blocks", "the checkpoint is of a classifier or an encoder, not of a U-Net"
        )
    for side, blocks in (("input_blocks", inputs), ("output_blocks", outputs)):
        if len(blocks) != max(blocks, default=0) + 1:
            gap = next(i for i in range(len(blocks) + 1) if i not in blocks)
            raise ModelError(
                f"{side}.{gap} has no weights",
                "levels joined by pooling (conv_resample=False) have no counterpart in diffusers' UNet2DModel",
            )
    steps = [i for i, members in sorted(outputs.items()) if _steps_up(members)]
    levels, per_level = len(steps) + 1, len(outputs) // (len(steps) + 1)
    regular = steps == [(level + 1) * per_level - 1 for level in range(levels - 1)]
    if not regular or len(outputs) != levels * per_level or len(inputs) != len(outputs) or per_level < 2:
        raise ModelError(
            f"{len(inputs)} input and {len(outputs)} output blocks with steps up in {steps} do not form levels of "
            "equal depth",
            "diffusers' UNet2DModel needs as many residual blocks in each",
        )

    first = [f"input_blocks.{1 + level * per_level}.0" for level in range(levels)]
    leaves = ("out_layers.3.bias", "out_layers.3.weight", "out_layers.0.bias", "in_layers.2.bias")
    widths = tuple(size(shapes, 0, *(f"{block}.{leaf}" for leaf in leaves)) for block in first)
    base = size(shapes, 1, "time_embed.0.weight")
    if widths[0] != base:
        raise ModelError(
            f"the first level is {widths[0]} wide and the time embedding {base}",
            "channel multipliers that do not begin with 1 have no counterpart in diffusers' UNet2DModel",
        )
    attends = {(i - 1) // per_level for i, members in inputs.items() if i and _attends(members)}
    attends |= {levels - 1 - i // per_level for i, members in outputs.items() if _attends(members)}
    of_time = size(shapes, 0, f"{first[0]}.emb_layers.1.bias", f"{first[0]}.emb_layers.1.weight")
    convolved = any("op" in words for members in inputs.values() for words in members.values())
    return Architecture(
        in_channels=size(shapes, 1, "input_blocks.0.0.weight"),
        out_channels=size(shapes, 0, "out.2.bias", "out.2.weight"),
        widths=widths,
        res_blocks=per_level - 1,
        attention=tuple(level in attends for level in range(levels)),
        time_width=size(shapes, 0, "time_embed.0.bias", "time_embed.0.weight"),
        scale_shift=of_time == 2 * widths[0],
        resample="conv" if convolved or levels == 1 else "resnet",
    )


def _steps_up(members: dict[int, set[str]]) -> bool:
    return any(number and words & (_RESNET | {"conv"}) for number, words in members.items())


def _attends(members: dict[int, set[str]]) -> bool:
    return any(words & _ATTENTION for words in members.values())


def source(key: str, architecture: Architecture) -> str:
    """See :class:`Layout`."""
    per_level = architecture.res_blocks + 1
    match key.split("."):
        case ["down_blocks", level, "downsamplers", "0", *leaf]:
            block = f"input_blocks.{(int(level) + 1) * per_level}.0"
            leaf = ["op" if name == "conv" else name for name in leaf]
        case ["down_blocks", level, kind, number, *leaf]:
            block = f"input_blocks.{1 + int(level) * per_level + int(number)}.{int(kind == 'attentions')}"
        case ["mid_block", kind, number, *leaf]:
            block = f"middle_block.{1 if kind == 'attentions' else 2 * int(number)}"
        case ["up_blocks", level, "upsamplers", "0", *leaf]:
            attention = architecture.attention[len(architecture.widths) - 1 - int(level)]
            block = f"output_blocks.{(int(level) + 1) * per_level - 1}.{1 + attention}"
        case ["up_blocks", level, kind, number, *leaf]:
            block = f"output_blocks.{int(level) * per_level + int(number)}.{int(kind == 'attentions')}"
        case [*module, leaf_name]:
            return f"{_OUTER['.'.join(module)]}.{leaf_name}"
    *names, parameter = leaf
    inner = ".".join(names)
    return f"{block}.{_INNER.get(inner, inner)}.{parameter}"


def source_shape(key: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """See :class:`Layout`: q, k, v in one tensor, and one-dimensional convolutions for linear maps."""
    if ".attentions." not in key or ".group_norm." in key:
        return shape
    tripled = (3 * shape[0], *shape[1:]) if _slot(key) is not None else shape
    return (*tripled, 1) if len(shape) == 2 else tripled


def part(key: str, tensor: Tensor, head_width: int | None, order: str) -> Tensor:
    """See :class:`Layout`: ``legacy`` holds q, k, v head by head, ``new`` all of q, then all of k, then all of v."""
    slot = _slot(key)
    if slot is None:
        return tensor
    width = len(tensor) // 3
    each = head_width or width
    if order == "new":
        return tensor[slot * width : (slot + 1) * width]
    return tensor.reshape(width // each, 3, each, *tensor.shape[1:])[:, slot].flatten(0, 1)


def _slot(key: str) -> int | None:
    found = re.search(r"\.to_([qkv])\.", key)
    return "qkv".index(found[1]) if found else None


OPENAI = Layout(
    name="openai",
    known="improved-diffusion, guided-diffusion, P2 weighting",
    roots=("time_embed.0.weight", "time_embed.0.bias", "time_embed.2.weight", "time_embed.2.bias"),
    constants={"norm_eps": 1e-5, "flip_sin_to_cos": True, "freq_shift": 0, "downsample_padding": 1},
    one_head=False,
    describe=describe,
    source=source,
    source_shape=source_shape,
    part=part,
)
