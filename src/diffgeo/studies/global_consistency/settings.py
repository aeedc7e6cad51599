"""What the study ``global_consistency`` can be told."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["GlobalConsistencyConfig"]


@dataclass
class GlobalConsistencyConfig:
    """Study ``global_consistency``: do directions of different samples agree, and do global ones serve every sample?

    Attributes:
        directions: leading directions that are averaged and edited; fewer where ``svd.rank`` is lower.
        methods: of :func:`diffgeo.geometry.global_directions`: any of ``nearest``, ``hungarian``, ``frechet``.
        draws: random subspaces in the null.
        edit: whether held-out samples are edited by the global directions of the first method.
    """

    directions: int = 3
    methods: list[str] = field(default_factory=lambda: ["nearest", "hungarian", "frechet"])
    draws: int = 999
    edit: bool = True
