"""Settings of the study ``curvedness``."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import II

from diffgeo.config.fields import setting

PATHS = {
    "lerp": "lerp",
    "slerp": "slerp",
    "shooting": "shooting",
    "pursuit": "shooting, re-aimed",
    "shooting_x": "shooting, equal steps in X",
    "geodesic": "boundary-value geodesic",
}
"""Path → its name in words; the module ``measure`` says what each is."""
METRICS = {"h": "whole h", "pooled_h": "pooled h", "x0": "x̂0", "score": "score"}
"""Map whose pullback metric a path's flatness ratio is of → its name in words."""


@dataclass
class CurvednessConfig:
    """Study ``curvedness``: tangent spaces along paths between samples (P23a, Table 1, Fig. 7).

    Attributes:
        pairs: of samples (0, 1), (2, 3), …
        segments: of every path.
        rank: n, directions of a tangent space.
        rule: how n is chosen: ``fixed``, ``share`` (half of the energy of rank directions) or ``gap`` (the largest gap
            within ± 30 % of rank), the last two by the spectra at the ends of the paths; one n serves all paths of a
            pooling.
        t_frac: where, as a fraction of T.
        pools: poolings of h: ``sum``, ``none`` or both.
        paths: any of ``lerp``, ``slerp``, ``shooting``, ``pursuit``, ``shooting_x``, ``geodesic``.
        perceptual: whether the points are decoded for the perceptual path length.
        tol: of the bases along paths.
    """

    pairs: int = setting(II("scale.pairs"), ge=1)
    segments: int = setting(II("scale.segments"), ge=2)
    rank: int = setting(II("scale.path_rank"), ge=2)
    rule: str = setting("fixed", choices=("fixed", "share", "gap"))
    t_frac: float = setting(1.0, gt=0, le=1, scheduled=True, allowed="a fraction of T in (0, 1]")
    pools: list[str] = setting(["none", "sum"], choices=("none", "sum"), items=1, distinct=True)
    paths: list[str] = setting(
        [path for path in PATHS if path != "pursuit"], choices=tuple(PATHS), items=1, distinct=True
    )
    perceptual: bool = setting(True)
    tol: float = setting(1e-3, gt=0)
