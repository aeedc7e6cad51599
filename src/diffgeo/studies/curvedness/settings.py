"""What the study ``curvedness`` can be told."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["CurvednessConfig", "PATHS"]

PATHS = {
    "lerp": "lerp",
    "slerp": "slerp",
    "shooting": "shooting",
    "pursuit": "shooting, re-aimed",
    "shooting_x": "shooting, equal steps in X",
    "geodesic": "boundary-value geodesic",
}
"""Paths of the study ``curvedness``; its module says what each is."""


@dataclass
class CurvednessConfig:
    """Study ``curvedness``: tangent spaces along paths between samples (P23a, Table 1, Fig. 7).

    Attributes:
        pairs: of samples (0, 1), (2, 3), …
        segments: of every path.
        rank: n, directions of a tangent space.
        rule: how n is chosen: ``fixed``, ``share`` (half of the energy of rank directions) or ``gap`` (the largest gap
            within ± 30 % of rank); one n serves all paths of a run.
        t_frac: where, as a fraction of T.
        pools: poolings of h: ``sum``, ``none`` or both.
        paths: any of ``lerp``, ``slerp``, ``shooting``, ``pursuit``, ``shooting_x``, ``geodesic``.
        perceptual: whether the points are decoded for the perceptual path length.
        tol: of the bases along paths.
    """

    pairs: int = 2
    segments: int = 5
    rank: int = 10
    rule: str = "fixed"
    t_frac: float = 1.0
    pools: list[str] = field(default_factory=lambda: ["none", "sum"])
    paths: list[str] = field(default_factory=lambda: list(PATHS))
    perceptual: bool = True
    tol: float = 1e-3
