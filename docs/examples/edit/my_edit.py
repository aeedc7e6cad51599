"""An edit that changes colour, and brightness less or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from diffgeo.ranges import Rule
from diffgeo.session.editor import Edit
from diffgeo.session.samples import Sample


@dataclass(frozen=True, eq=False)
class Colour(Edit):
    """A straight step of the same length without its grey part, which is the mean over channels.

    Attributes:
        share: of the grey part that is taken out.
    """

    share: Annotated[float, Rule(ge=0, le=1)] = 1.0

    def displace(self, x: Tensor, offsets: Tensor, t: int, sample: Sample, *, normalise: bool | None = None) -> Tensor:
        """x (C, H, W) moved by each offset (B, C, H, W) after its grey part was taken out."""
        colour = offsets - self.share * offsets.mean(dim=1, keepdim=True)
        lengths, left = (part.flatten(1).norm(dim=1) for part in (offsets, colour))
        scale = lengths / left.clamp_min(1e-12)
        return super().displace(x, colour * scale[:, None, None, None], t, sample, normalise=normalise)
