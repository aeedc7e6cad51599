"""What the study ``frequency`` can be told."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FrequencyConfig"]


@dataclass
class FrequencyConfig:
    """Study ``frequency``: radial power spectra of the directions.

    Attributes:
        directions: leading directions that are averaged; fewer where ``svd.rank`` is lower.
        low: what counts as low frequency, as a fraction of Nyquist.
    """

    directions: int = 50
    low: float = 0.25
