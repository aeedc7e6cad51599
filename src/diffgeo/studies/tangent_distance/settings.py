"""Settings of the study ``tangent_distance``."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import II

from diffgeo.config.fields import setting


@dataclass
class TangentDistanceConfig:
    """Study ``tangent_distance``: between samples, between timesteps, and the controls that tell x from t (P23b).

    Attributes:
        rank: n, directions of a tangent space; fewer if ``svd.rank`` is lower.
        rule: as in ``curvedness``.
        controls: samples for the controls "x fixed, t varies" and "t fixed, x varies"; 0 leaves them out.
    """

    rank: int = setting(II("scale.path_rank"), ge=1)
    rule: str = setting("fixed", choices=("fixed", "share", "gap"))
    controls: int = setting(II("scale.controls"), ge=0)
