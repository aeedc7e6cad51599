"""Settings of the study ``global_consistency``."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import II

from diffgeo.config.fields import setting


@dataclass
class GlobalConsistencyConfig:
    """Study ``global_consistency``: do directions of different samples agree, and do global ones serve every sample?

    Attributes:
        directions: leading directions that are averaged and edited; fewer if ``svd.rank`` is lower.
        methods: of :func:`diffgeo.geometry.global_directions`: any of ``nearest``, ``hungarian``, ``frechet``.
        draws: random subspaces in the null.
        untrained: with how many networks of random weights, of the same architecture, the overlaps at T are compared.
        edit: whether held-out samples are edited by the global directions of the first method.
    """

    directions: int = setting(II("scale.directions"), ge=1)
    methods: list[str] = setting(
        ["nearest", "hungarian", "frechet"], choices=("nearest", "hungarian", "frechet"), items=1, distinct=True
    )
    draws: int = setting(999, ge=99, allowed="99 or more, for p-values down to 0.01")
    untrained: int = setting(0, ge=0)
    edit: bool = setting(True)
