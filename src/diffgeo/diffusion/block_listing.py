"""The blocks of a model's network, with the shape of h and the cost of f at each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from diffgeo.diffusion.feature_map import find_block
from diffgeo.diffusion.image_tokens import ImageLayout
from diffgeo.diffusion.models import DiffusionModel
from diffgeo.errors import ConfigError

__all__ = ["Block", "list_blocks", "modules_within"]


@dataclass(frozen=True, slots=True)
class Block:
    """One block.

    Attributes:
        name: as ``feature.block`` takes it.
        shape: of h, (C, rows, columns); None if it is refused.
        share: of the network's multiply-adds, from its input to the end of the block, in [0, 1].
        reason: why it is refused; empty if it is not.
    """

    name: str
    shape: tuple[int, ...] | None
    share: float
    reason: str = ""


def modules_within(network: nn.Module, block: str) -> list[str]:
    """The paths of the modules within a block, as ``feature.block`` takes them; lists of modules are none."""
    whole = find_block(network, block)
    place = next(path for path, module in network.named_modules() if module is whole)
    inner = [(path, module) for path, module in whole.named_modules(prefix=place) if module is not whole]
    return [path for path, module in inner if not isinstance(module, nn.ModuleList)]


@torch.no_grad()
def list_blocks(model: DiffusionModel, names: Sequence[str] | None = None) -> list[Block]:
    """The blocks of a model in the order of the forward pass, from one evaluation on noise.

    Multiply-adds are counted, of convolutions and matrix products, since they are the same on every machine.

    Args:
        model: with its conditioning bound.
        names: of blocks, or paths of modules within them; all of the model's blocks if None.

    Raises:
        ConfigError: the network has no such block.
    """
    editor, (channels, rows, columns) = model.editor, model.latent_shape
    x = torch.zeros(1, channels, rows, columns, device=editor.device, dtype=editor.dtype)
    levels = len(list(getattr(editor.unet, "down_blocks", [])))
    layout = ImageLayout.of((rows, columns), editor.patch, levels, editor.text_tokens)
    counter = FlopCounterMode(display=False)
    reached: list[tuple[str, Tensor | ConfigError, int]] = []

    def note(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            try:
                h: Tensor | ConfigError = layout.image_in(output, "it returns")
            except ConfigError as error:
                h = error
            reached.append((name, h, counter.get_total_flops()))

        return hook

    handles = [
        find_block(editor.unet, name).register_forward_hook(note(name))
        for name in (editor.blocks if names is None else names)
    ]
    try:
        with sdpa_kernel(SDPBackend.MATH), counter:  # fused attention is not counted on every device
            editor.forward(x, editor.schedule.T)
    finally:
        for handle in handles:
            handle.remove()
    whole = max(1, counter.get_total_flops())
    return [
        Block(name, None, count / whole, h.what)
        if isinstance(h, ConfigError)
        else Block(name, tuple(h.shape[1:]), count / whole)
        for name, h, count in reached
    ]
