"""An edit that changes colour, and brightness less or not at all."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from diffgeo.config import EditConfig
from diffgeo.errors import ConfigError
from diffgeo.session.editor import Straight
from diffgeo.session.samples import Sample


class Colour(Straight[EditConfig]):
    """A straight step of the same length without its grey part, which is the mean over channels.

    Args:
        share: of the grey part that is taken out, in [0, 1].

    Raises:
        ConfigError: ``share`` is out of range.
    """

    def __init__(self, model: Any, cfg: EditConfig, latents: Any, bases: Any, share: float = 1.0) -> None:
        if not 0 <= share <= 1:
            raise ConfigError(f"edit.options.share={share} is not possible", "allowed: 0 to 1")
        super().__init__(model, cfg, latents, bases)
        self.share = share

    def displace(self, x: Tensor, offsets: Tensor, t: int, sample: Sample, *, normalise: bool | None = None) -> Tensor:
        """x (C, H, W) moved by each offset (B, C, H, W) after its grey part was taken out."""
        colour = offsets - self.share * offsets.mean(dim=1, keepdim=True)
        lengths, left = (part.flatten(1).norm(dim=1) for part in (offsets, colour))
        scale = lengths / left.clamp_min(1e-12)
        return super().displace(x, colour * scale[:, None, None, None], t, sample, normalise=normalise)
