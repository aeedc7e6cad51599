"""How different the outlines of two pictures are."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from diffgeo.ranges import Rule


class Outlines:
    """Root mean square difference of the grey pictures' slopes, and of their pixels with less weight.

    Args:
        pixels: weight of the pixels; 0 leaves colours and brightness aside.
    """

    name = "outlines"

    def __init__(self, pixels: Annotated[float, Rule(ge=0)] = 0.01) -> None:
        self.pixels = pixels

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Shape (B,), from pictures (B, 3, H, W); either B may be 1."""
        difference = a - b
        grey = difference.mean(dim=1)
        slopes = grey.diff(dim=1)[:, :, 1:].square() + grey.diff(dim=2)[:, 1:].square()
        return (slopes.mean(dim=(1, 2)) + self.pixels * difference.square().mean(dim=(1, 2, 3))).sqrt()
