"""Settings of the study ``discovery``."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import II

from diffgeo.config.fields import setting


@dataclass
class DiscoveryConfig:
    """Study ``discovery``: local bases, spectra and traversals.

    Attributes:
        directions: leading directions that are traversed; fewer if ``svd.rank`` is lower.
    """

    directions: int = setting(II("scale.directions"), ge=1)
