r"""The feature map f: x_t → h, the encoder half of a U-Net.

h is the output of a block (P23a: the mid block, summed over space; P23b: the whole map). The network runs only
as far as that block: a forward hook takes the block's output and leaves the network by an exception, which is
caught before any function transform sees it. So one class serves every U-Net that diffusers can load, and no
layer of theirs is written again here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor, nn

from diffgeo.errors import ConfigError, ShapeError

__all__ = ["FeatureMap", "Pool", "block_names"]

Pool = Literal["sum"] | None
"""How h is reduced: summed over space for ``sum`` (P23a), kept whole for None (P23b)."""


def block_names(unet: nn.Module) -> list[str]:
    """Names that ``FeatureMap`` accepts, in the order of the forward pass: ``down.i``, ``mid``, ``up.i``."""
    down, up = list(getattr(unet, "down_blocks", [])), list(getattr(unet, "up_blocks", []))
    middle = ["mid"] if getattr(unet, "mid_block", None) is not None else []
    return [f"down.{i}" for i in range(len(down))] + middle + [f"up.{i}" for i in range(len(up))]


def find_block(unet: nn.Module, block: str) -> nn.Module:
    """The sub-module called ``block``.

    Raises:
        ConfigError: the U-Net has no such block; the message lists those it has.
    """
    if block not in block_names(unet):
        raise ConfigError(
            f"feature.block is {block!r}, which this U-Net lacks", f"it has {', '.join(block_names(unet))}"
        )
    if block == "mid":
        return unet.get_submodule("mid_block")
    side, index = block.split(".")
    return unet.get_submodule(f"{side}_blocks.{index}")


class _ReachedError(Exception):
    """Carries h out of the network (no error, but Python has no other way out of a call)."""

    def __init__(self, h: Tensor) -> None:
        self.h = h


class FeatureMap:
    """h = f(x) at a fixed timestep and block.

    Args:
        forward: x (B, C, H, W) → anything; runs the whole U-Net, its timestep and conditioning bound.
        unet: the network that ``forward`` runs, with ``down_blocks``, ``mid_block``, ``up_blocks``.
        block: ``mid``, ``down.i`` or ``up.i``.
        pool: ``"sum"`` over space or None.

    Raises:
        ConfigError: the U-Net lacks the block, or pool is neither.
    """

    def __init__(
        self,
        forward: Callable[[Tensor], Any],
        unet: nn.Module,
        block: str = "mid",
        pool: Pool = None,
    ) -> None:
        if pool not in (None, "sum"):
            raise ConfigError(f"feature.pool is {pool!r}", "allowed are null (the whole map) and sum (over space)")
        self.block, self.pool = block, pool
        self._forward, self._module = forward, find_block(unet, block)

    @property
    def measured_as(self) -> nn.Module:
        """The block: at every timestep its map takes the same memory (:mod:`diffgeo.jacobian.operator`)."""
        return self._module

    def __call__(self, x: Tensor) -> Tensor:
        """Apply f.

        Args:
            x: latents (B, C, H, W), or one latent (C, H, W).

        Returns:
            h, shape (B, C', H', W') or, pooled, (B, C'); without B for one latent.

        Raises:
            ShapeError: x has neither 3 nor 4 dimensions.
        """
        if x.ndim == 3:
            return self(x[None])[0]
        if x.ndim != 4:
            raise ShapeError(f"x has shape {tuple(x.shape)}", "expected (B, C, H, W) or (C, H, W)")
        handle = self._module.register_forward_hook(self._leave)
        try:
            self._forward(x)
        except _ReachedError as reached:
            h = reached.h
        else:
            raise ConfigError(f"the forward pass never ran block {self.block!r}", "choose another feature.block")
        finally:
            handle.remove()
        return h.sum(dim=(-2, -1)) if self.pool == "sum" else h

    @staticmethod
    def _leave(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        # down blocks return (h, skip connections)
        raise _ReachedError(output if isinstance(output, Tensor) else output[0])
