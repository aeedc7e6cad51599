"""What the study ``spectrum`` can be told."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import II

from diffgeo.config.fields import setting

__all__ = ["SpectrumConfig"]


@dataclass
class SpectrumConfig:
    """Study ``spectrum``: how many directions matter, by timestep.

    Attributes:
        rank: n of the effective dimension, the same at every t; fewer if the bases have fewer.
    """

    rank: int = setting(II("scale.rank"), ge=1)
