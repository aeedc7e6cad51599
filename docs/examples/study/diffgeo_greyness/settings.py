"""Settings of the study ``greyness``."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import II

from diffgeo.config import setting


@dataclass
class GreynessConfig:
    """Study ``greyness``: brightness or colour?

    Attributes:
        directions: leading directions that are measured; fewer if ``svd.rank`` is lower.
    """

    directions: int = setting(II("scale.directions"), ge=1)
