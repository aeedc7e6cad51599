"""Running a network without one of its blocks.

A block of residual layers adds to what passes through it, y = x + r(x). Without the block the network goes on with x:
the last layer of every residual branch in the block returns 0. What changes shape or resolution (shortcuts, samplers)
stays, so this is possible in the encoder of a U-Net, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from diffgeo.diffusion.feature_map import find_block
from diffgeo.errors import ConfigError

__all__ = ["without_block"]

_LAST_OF_A_BRANCH = ("conv2", "to_out.0", "to_add_out", "net.2", "conv_point", "proj_out")
"""How diffusers calls the last layer of a residual branch: of a ResNet block, of attention, of a feed-forward network
(linear and convolutional), and of a transformer within a U-Net or one whose branches share their last layer."""


@contextmanager
def without_block(network: nn.Module, block: str) -> Iterator[None]:
    """Within the context the network passes a block's input on, past its residual branches.

    Args:
        network: of diffusers.
        block: one of ``DiffusionModel.blocks``, or the path of a module within one.

    Raises:
        ConfigError: there is no such block, or it has no residual branch.
    """
    module = find_block(network, block)
    names = tuple(f".{name}" for name in _LAST_OF_A_BRANCH)
    last = [one for path, one in module.named_modules() if f".{path}".endswith(names)]
    if not last:
        raise ConfigError(f"block {block!r} has no residual branch that could be left out", "choose another block")
    handles = [one.register_forward_hook(_nothing) for one in last]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _nothing(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
    return output * 0
