r"""The feature map f: x_t → h, the encoder half of a U-Net, or a transformer up to a block.

h is the output of a block (P23a: the mid block, summed over space; P23b: the whole map). The network runs only
as far as that block: a forward hook takes the block's output and leaves the network by an exception, which is
caught before any function transform sees it. So one class serves every network that diffusers can load, and no
layer of theirs is written again here. Of a transformer's block, h is the image's tokens alone, laid out as a map.
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
    """Names that ``FeatureMap`` accepts, in the order of the forward pass.

    ``down.i``, ``mid``, ``up.i`` of a U-Net, ``transformer_blocks.i`` of a transformer.
    """
    down, up = list(getattr(unet, "down_blocks", [])), list(getattr(unet, "up_blocks", []))
    middle = ["mid"] if getattr(unet, "mid_block", None) is not None else []
    joint = [f"transformer_blocks.{i}" for i in range(len(list(getattr(unet, "transformer_blocks", []))))]
    return [f"down.{i}" for i in range(len(down))] + middle + [f"up.{i}" for i in range(len(up))] + joint


def find_block(unet: nn.Module, block: str) -> nn.Module:
    """The sub-module called ``block``.

    Raises:
        ConfigError: the network has no such block; the message lists those it has.
    """
    if block not in block_names(unet):
        raise ConfigError(
            f"feature.block is {block!r}, which this network lacks", f"it has {', '.join(block_names(unet))}"
        )
    if block == "mid":
        return unet.get_submodule("mid_block")
    side, index = block.split(".")
    return unet.get_submodule(block if side == "transformer_blocks" else f"{side}_blocks.{index}")


def image_tokens(output: object, grid: tuple[int, int]) -> Tensor:
    """The image tokens in what a transformer block returns, as a map.

    Joint blocks return the tokens of text and of image; the image's are selected by their number.

    Args:
        output: a tensor (B, N, C), or a tuple in which such tensors and None occur.
        grid: rows and columns of the image's tokens.

    Returns:
        shape (B, C, rows, columns).

    Raises:
        ConfigError: none of the tensors, or more than one, has as many tokens as the grid.
    """
    streams = [one for one in (output if isinstance(output, tuple) else (output,)) if isinstance(one, Tensor)]
    found = [one for one in streams if one.ndim == 3 and one.shape[1] == grid[0] * grid[1]]
    if len(found) != 1:
        raise ConfigError(
            f"the block returns {[one.shape[1] for one in streams if one.ndim == 3]} tokens, and the image has "
            f"{grid[0]}·{grid[1]}: its own cannot be told from those of the text",
            "choose another feature.block, or another length of the text",
        )
    tokens: Tensor = found[0].transpose(1, 2).unflatten(2, grid)
    return tokens


class _ReachedError(Exception):
    """Carries h out of the network (no error, but Python has no other way out of a call)."""

    def __init__(self, h: Tensor) -> None:
        self.h = h


class FeatureMap:
    """h = f(x) at a fixed timestep and block.

    Args:
        forward: x (B, C, H, W) → anything; runs the whole U-Net, its timestep and conditioning bound.
        unet: the network that ``forward`` runs, with ``down_blocks``, ``mid_block``, ``up_blocks``, or
            ``transformer_blocks`` and a ``patch_size`` in its config.
        block: one of :func:`block_names`.
        pool: ``"sum"`` over space or None.

    Raises:
        ConfigError: the network lacks the block, or pool is neither.
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
        config: Any = getattr(unet, "config", None)
        self._patch: int | None = config.patch_size if block.startswith("transformer_blocks.") else None

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
            ConfigError: the block's image tokens cannot be told from those of the text.
        """
        if x.ndim == 3:
            return self(x[None])[0]
        if x.ndim != 4:
            raise ShapeError(f"x has shape {tuple(x.shape)}", "expected (B, C, H, W) or (C, H, W)")
        rows, columns = x.shape[-2:]

        def leave(_module: nn.Module, _inputs: object, output: Any) -> None:
            if self._patch is not None:
                raise _ReachedError(image_tokens(output, (rows // self._patch, columns // self._patch)))
            # down blocks return (h, skip connections)
            raise _ReachedError(output if isinstance(output, Tensor) else output[0])

        handle = self._module.register_forward_hook(leave)
        try:
            self._forward(x)
        except _ReachedError as reached:
            h = reached.h
        else:
            raise ConfigError(f"the forward pass never ran block {self.block!r}", "choose another feature.block")
        finally:
            handle.remove()
        return h.sum(dim=(-2, -1)) if self.pool == "sum" else h
