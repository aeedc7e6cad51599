"""What the shapes of a checkpoint tell of its U-Net, and the same network in the terms of diffusers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from diffgeo.errors import ModelError

__all__ = ["GROUPS", "Architecture", "Layout", "Shapes", "size", "unet_config"]

GROUPS = 32
"""Of every GroupNorm, in both layouts."""

Shapes = Mapping[str, tuple[int, ...]]
"""Shape of every tensor of a state dict, by key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A U-Net as far as the shapes of its tensors tell.

    Attributes:
        in_channels: of the picture.
        out_channels: those of the picture, or twice as many where the variance is learned, too.
        widths: channels of each level, from the finest to the coarsest.
        res_blocks: residual blocks a level on the way down; one more on the way up.
        attention: whether each level has attention after every residual block.
        time_width: width of the time embedding.
        scale_shift: whether time scales and shifts what GroupNorm gives out, or is added before it.
        resample: whether levels are joined by a convolution or by a residual block.
    """

    in_channels: int
    out_channels: int
    widths: tuple[int, ...]
    res_blocks: int
    attention: tuple[bool, ...]
    time_width: int
    scale_shift: bool
    resample: Literal["conv", "resnet"]

    def __post_init__(self) -> None:
        if self.in_channels not in (1, 3):
            raise ModelError(
                f"the network takes {self.in_channels} channels",
                "diffgeo imports models of pictures, of 1 or 3 (upsamplers and latent models take more)",
            )
        if self.out_channels not in (self.in_channels, 2 * self.in_channels):
            raise ModelError(
                f"the network takes {self.in_channels} channels and gives {self.out_channels}",
                "diffgeo imports those that give as many, or twice as many (learned variance)",
            )
        if any(width < 1 or width % GROUPS for width in self.widths):
            raise ModelError(
                f"the levels are {self.widths} wide", f"both layouts need multiples of {GROUPS} (GroupNorm)"
            )

    @property
    def learned_variance(self) -> bool:
        """Whether half of the output is the variance."""
        return self.out_channels == 2 * self.in_channels

    @property
    def attention_widths(self) -> set[int]:
        """Widths at which there is attention; the middle, as wide as the last level, always has it."""
        return {w for w, has in zip(self.widths, self.attention, strict=True) if has} | {self.widths[-1]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One family of checkpoints: how its code names the parts of a U-Net, and what is the same in all of it.

    Attributes:
        name: what ``--layout`` takes.
        known: whose code it is, for messages.
        roots: keys by which the layout is recognised, whatever prefix they carry.
        constants: arguments of ``UNet2DModel`` that its code fixes.
        one_head: whether attention always has one head.
        describe: shapes of a state dict to the architecture; raises ModelError where diffusers lacks it.
        source: key of ``UNet2DModel`` to the key of the checkpoint.
        source_shape: key and shape of ``UNet2DModel`` to the shape in the checkpoint.
        part: key of ``UNet2DModel``, tensor of the checkpoint, width of a head and order of q, k, v (``legacy`` or
            ``new``) to the part that the key takes.
        one_per_step: tensors of one number per diffusion step that its training may store and no output depends on.
    """

    name: str
    known: str
    roots: tuple[str, ...]
    constants: Mapping[str, Any]
    one_head: bool
    describe: Callable[[Shapes], Architecture]
    source: Callable[[str, Architecture], str]
    source_shape: Callable[[str, tuple[int, ...]], tuple[int, ...]]
    part: Callable[[str, Tensor, int | None, str], Tensor]
    one_per_step: tuple[str, ...] = ()


def size(shapes: Shapes, dim: int, *keys: str) -> int:
    """Length of a dimension, from the first of the keys that is there.

    Raises:
        ModelError: none is, so that the architecture cannot be told.
    """
    for key in keys:
        if dim < len(shapes.get(key, ())):
            return shapes[key][dim]
    raise ModelError(f"the architecture cannot be told: {keys[0]} is missing", "the checkpoint is incomplete")


def unet_config(architecture: Architecture, layout: Layout, image_size: int, head_width: int | None) -> dict[str, Any]:
    """Arguments of diffusers' ``UNet2DModel``.

    Args:
        architecture: what the shapes tell.
        layout: whose code the network was trained with.
        image_size: side of a picture in pixels.
        head_width: channels of an attention head; None for a single head.

    Raises:
        ModelError: pictures of that size cannot be halved once a level.
    """
    finest = 2 ** (len(architecture.widths) - 1)
    if image_size % finest:
        raise ModelError(
            f"pictures of {image_size} pixels cannot be halved {len(architecture.widths) - 1} times",
            f"the checkpoint needs an image size that is a multiple of {finest}",
        )
    plain = ("DownBlock2D", "UpBlock2D")
    if architecture.resample == "resnet":
        plain = ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")
    down = tuple("AttnDownBlock2D" if has else plain[0] for has in architecture.attention)
    up = tuple("AttnUpBlock2D" if has else plain[1] for has in reversed(architecture.attention))
    return {
        "sample_size": image_size,
        "in_channels": architecture.in_channels,
        "out_channels": architecture.out_channels,
        "block_out_channels": architecture.widths,
        "layers_per_block": architecture.res_blocks,
        "down_block_types": down,
        "up_block_types": up,
        "downsample_type": architecture.resample,
        "upsample_type": architecture.resample,
        "time_embedding_dim": architecture.time_width,
        "resnet_time_scale_shift": "scale_shift" if architecture.scale_shift else "default",
        "attention_head_dim": head_width,
        "norm_num_groups": GROUPS,
        "attn_norm_num_groups": GROUPS,  # without it diffusers drops the middle's norm where time scales and shifts
        **layout.constants,
    }
