"""Two measures of an edit's change, by which ``comparison`` gives all edits the same strength.

:class:`Inside` is the change of the pixels inside a mask, :class:`OfAttribute` that of one attribute. Each can take the
place of the run's :class:`~diffgeo.metrics.perceptual.PerceptualDistance`: (pictures, pictures) → changes, 0 for none.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Inside:
    """How much a picture changes inside a mask.

    Args:
        mask: boolean, shape (H, W).
    """

    name = "rms inside the mask"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """√(mean of (a − b)² over the mask's pixels and the channels), shape (B,), on the CPU."""
        change: Tensor = (a - b)[..., self.mask].square().mean(dim=(1, 2)).sqrt().cpu()
        return change


class OfAttribute:
    """How far one attribute moves the wanted way; 0 for an edit that moves it the other way.

    Args:
        attributes: (edited (B, 3, H, W), original (1, 3, H, W)) → Δa in standard deviations, shape (B, A).
        column: of the attribute among the A.
        side: 1 if it should grow, −1 if it should fall.
    """

    name = "change of the attribute"

    def __init__(self, attributes: Callable[[Tensor, Tensor], Tensor], column: int, side: int) -> None:
        self.attributes, self.column, self.side = attributes, column, side

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Δa of the attribute, times ``side``, at least 0, shape (B,), on the CPU."""
        whole = a.isfinite().flatten(1).all(dim=1).reshape(-1, 1, 1, 1)
        a = torch.where(whole, a, b)  # a broken picture shows no attribute
        change: Tensor = (self.attributes(a, b)[:, self.column] * self.side).clamp_min(0).cpu()
        return change
