"""What the study ``global_consistency`` can be told."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import II

from diffgeo.config.fields import setting

__all__ = ["GlobalConsistencyConfig"]


@dataclass
class GlobalConsistencyConfig:
    """Study ``global_consistency``: do directions of different samples agree, and do global ones serve every sample?

    Attributes:
        directions: leading directions that are averaged and edited; fewer if ``svd.rank`` is lower.
        methods: of :func:`diffgeo.geometry.global_directions`: any of ``nearest``, ``hungarian``, ``frechet``.
        draws: random subspaces in the null.
        untrained: whether the overlaps at T are compared with those of the same network with random weights.
        edit: whether held-out samples are edited by the global directions of the first method.
    """

    directions: int = setting(II("scale.directions"), ge=1)
    methods: list[str] = setting(
        ["nearest", "hungarian", "frechet"], choices=("nearest", "hungarian", "frechet"), items=1, distinct=True
    )
    draws: int = setting(999, ge=99, allowed="99 or more, for p-values down to 0.01")
    untrained: bool = setting(False)
    edit: bool = setting(True)
