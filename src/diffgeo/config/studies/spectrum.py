"""What the study ``spectrum`` can be told."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SpectrumConfig"]


@dataclass
class SpectrumConfig:
    """Study ``spectrum``: effective dimension and flatness by timestep; nothing to set."""
