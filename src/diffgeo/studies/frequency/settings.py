"""Settings of the study ``frequency``."""

from __future__ import annotations

from dataclasses import dataclass

from diffgeo.config.fields import setting


@dataclass
class FrequencyConfig:
    """Study ``frequency``: radial power spectra of the directions.

    Attributes:
        directions: leading directions that are averaged; fewer if ``svd.rank`` is lower.
        low: what counts as low frequency, as a fraction of Nyquist.
    """

    directions: int = setting(50, ge=1)
    low: float = setting(0.25, gt=0, lt=2**0.5, allowed="a fraction of Nyquist, above 0, below 1.41")
