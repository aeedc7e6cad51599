"""Attributes without a network: how red, green and blue a picture's middle is."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from diffgeo.metrics.attributes import AttributePredictor
from diffgeo.ranges import Rule


class Colours(AttributePredictor):
    """The mean of each colour over a square in the middle of the picture.

    Args:
        part: side of the square, as a share of the picture's.
    """

    names = ("red", "green", "blue")

    def __init__(self, part: Annotated[float, Rule(gt=0, le=1)] = 0.5) -> None:
        self.part = part

    def scores(self, images: Tensor) -> Tensor:
        """Means (B, 3) of pictures (B, 3, H, W) in [−1, 1]."""
        top, left = (round((1 - self.part) / 2 * side) for side in images.shape[-2:])
        return images[..., top : images.shape[-2] - top, left : images.shape[-1] - left].mean(dim=(2, 3))
