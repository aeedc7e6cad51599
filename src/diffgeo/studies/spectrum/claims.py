"""The papers' claims that ``spectrum`` can answer, and how each is measured."""

from __future__ import annotations

from diffgeo.claims import Claim, first_last

__all__ = ["CLAIMS"]


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "P23a Fig. 3b",
        "p23a/fig3b",
        "effective dimension rises from T to the lowest t by",
        "claim",
        lambda tables: first_last(tables["spectrum"], "sample", "t_frac", "effective_dimension"),
    ),
)
