r"""The feature map f: x_t → h, the encoder half of a U-Net, or a transformer up to a block.

h is the output of a block (P23a: the mid block, summed over space; P23b: the whole map), what the block adds to its
input, or its output after a normalisation. The network runs only as far as that block: a forward hook takes the
block's output and leaves the network by an exception, which is caught before any function transform sees it. So one
class serves every network that diffusers can load, and no layer of theirs is written again here. Of tokens, h is the
image's alone, laid out as a map; :mod:`diffgeo.diffusion.image_tokens` selects them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from diffgeo.diffusion.image_tokens import ImageLayout
from diffgeo.errors import ConfigError, ShapeError

__all__ = ["TAPS", "FeatureMap", "Pool", "Tap", "block_names", "find_block"]

Pool = Literal["sum"] | None
"""How h is reduced: summed over space for ``sum`` (P23a), kept whole for None (P23b)."""

Tap = Literal["output", "update", "normalised"]
"""What of a block is h: its output; what it adds, output − input; or its output normalised over channels."""

TAPS: tuple[Tap, ...] = get_args(Tap)

_LIST = re.compile("(.*_)?blocks")
"""Names of the lists of a transformer's blocks."""

_ADDS = re.compile("Block|Resnet|Transformer")
"""In the names of classes that add what they compute to their input."""

_EPSILON = 1e-6
"""Added to the variance in ``normalised``, as the adaptive norms of diffusion transformers do."""


def block_names(network: nn.Module) -> list[str]:
    """The blocks of a network, in the order of the forward pass.

    ``down.i``, ``mid``, ``up.i`` of a U-Net; ``transformer_blocks.i`` and the like of a transformer: the items of its
    lists whose names end in ``blocks``. ``FeatureMap`` also takes the path of any module within them.
    """
    down, up = list(getattr(network, "down_blocks", [])), list(getattr(network, "up_blocks", []))
    middle = ["mid"] if getattr(network, "mid_block", None) is not None else []
    lists = [
        (name, child)
        for name, child in network.named_children()
        if isinstance(child, nn.ModuleList) and _LIST.fullmatch(name) and name not in ("down_blocks", "up_blocks")
    ]
    others = [f"{name}.{i}" for name, child in lists for i in range(len(child))]
    return [f"down.{i}" for i in range(len(down))] + middle + [f"up.{i}" for i in range(len(up))] + others


def find_block(network: nn.Module, block: str) -> nn.Module:
    """The sub-module called ``block``: one of :func:`block_names`, or the path of any module.

    Raises:
        ConfigError: the network has no such module; the message lists its blocks.
    """
    path = block
    if block in block_names(network):
        side, _, index = block.partition(".")
        path = {"mid": "mid_block", "down": f"down_blocks.{index}", "up": f"up_blocks.{index}"}.get(side, block)
    try:
        found = network.get_submodule(path)
    except AttributeError:
        found = network
    if found is network:
        raise ConfigError(
            f"feature.block is {block!r}, which this network lacks",
            f"it has {', '.join(block_names(network))}, or take the path of a module within one of them",
        )
    return found


class _ReachedError(Exception):
    """Carries h out of the network (no error, but Python has no other way out of a call)."""

    def __init__(self, h: Tensor) -> None:
        self.h = h


class FeatureMap:
    """h = f(x) at a fixed timestep and block.

    Args:
        forward: x (B, C, H, W) → anything; runs the whole network, its timestep and conditioning bound.
        network: that ``forward`` runs.
        block: one of :func:`block_names`, or the path of a module (``transformer_blocks.7.attn``).
        pool: ``"sum"`` over space or None.
        tap: ``output`` of the block; ``update``, what it adds to its input, the first one that it is called with; or
            ``normalised``, the output with mean 0 and variance 1 over the channels of every place. The latter is the
            norm without parameters by which diffusion transformers begin a block. Their scale and shift, which depend
            on time and conditioning alone, are left out, so that it means the same in every network.
        patch: side of x that a transformer's image token covers; None for a U-Net.
        text: tokens of the text that reach the transformer's blocks.

    Raises:
        ConfigError: the network lacks the block, pool or tap is none of those, or ``update`` is asked of a module that
            adds nothing, such as an attention.
    """

    def __init__(
        self,
        forward: Callable[[Tensor], Any],
        network: nn.Module,
        block: str = "mid",
        pool: Pool = None,
        tap: Tap = "output",
        *,
        patch: int | None = None,
        text: int = 0,
    ) -> None:
        if pool not in (None, "sum"):
            raise ConfigError(f"feature.pool is {pool!r}", "allowed are null (the whole map) and sum (over space)")
        if tap not in TAPS:
            raise ConfigError(f"feature.tap is {tap!r}", f"allowed are {', '.join(TAPS)}")
        self.block, self.pool, self.tap = block, pool, tap
        self._forward, self._module = forward, find_block(network, block)
        adds = _ADDS.search(type(self._module).__name__) or getattr(self._module, "residual_connection", False)
        if tap == "update" and block not in block_names(network) and not adds:
            raise ConfigError(
                f"feature.tap=update of {block!r}, a {type(self._module).__name__}, adds nothing to what it is given",
                "take feature.tap=output, which a block adds, or a whole block",
            )
        self._patch, self._text = patch, text
        self._levels = len(list(getattr(network, "down_blocks", [])))

    @property
    def measured_as(self) -> nn.Module:
        """The block: at every timestep its map takes the same memory, h aside (:mod:`diffgeo.jacobian.operator`)."""
        return self._module

    def __call__(self, x: Tensor) -> Tensor:
        """Apply f.

        Args:
            x: latents (B, C, H, W), or one latent (C, H, W).

        Returns:
            h, shape (B, C', H', W') or, pooled, (B, C'); without B for one latent.

        Raises:
            ShapeError: x has neither 3 nor 4 dimensions.
            ConfigError: the block's output holds no image, or none that can be told from the text; the block has no
                update, as its input is of another shape; or the network never runs it.
        """
        if x.ndim == 3:
            return self(x[None])[0]
        if x.ndim != 4:
            raise ShapeError(f"x has shape {tuple(x.shape)}", "expected (B, C, H, W) or (C, H, W)")
        layout = ImageLayout.of((x.shape[-2], x.shape[-1]), self._patch, self._levels, self._text)

        def leave(_module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            raise _ReachedError(self._tapped(layout, inputs, named, output))

        handle = self._module.register_forward_hook(leave, with_kwargs=True)
        try:
            self._forward(x)
        except _ReachedError as reached:
            h = reached.h
        else:
            raise ConfigError(f"the forward pass never ran block {self.block!r}", "choose another feature.block")
        finally:
            handle.remove()
        return h.sum(dim=(-2, -1)) if self.pool == "sum" else h

    def _tapped(self, layout: ImageLayout, inputs: tuple[Any, ...], named: Mapping[str, Any], output: Any) -> Tensor:
        h = layout.image_in(output, f"block {self.block!r} returns")
        if self.tap == "update":
            given = named.get("hidden_states", inputs[0] if inputs else None)
            before = layout.image_in(given, f"feature.tap=update: block {self.block!r} is given")
            if before.shape != h.shape:
                raise ConfigError(
                    f"block {self.block!r} takes {tuple(before.shape[1:])} and returns {tuple(h.shape[1:])}, so it has "
                    "no update",
                    "choose feature.tap=output, or a block that keeps the shape",
                )
            return h - before
        if self.tap == "normalised":
            # written out: PyTorch's layer_norm is wrong under some compositions of derivatives
            centred = h - h.mean(dim=1, keepdim=True)
            return centred * torch.rsqrt(centred.square().mean(dim=1, keepdim=True) + _EPSILON)
        return h
