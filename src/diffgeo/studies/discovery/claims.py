"""The papers' claims that ``discovery`` can answer, and how each is measured."""

from __future__ import annotations

from diffgeo.claims import Claim, Tables, Values, first_last
from diffgeo.data.factor_faces import FACTORS

__all__ = ["CLAIMS"]


def _coarse_falls(tables: Tables) -> Values:
    """Share of the attribute change that is coarse, at T minus at the lowest timestep, one a sample."""
    table = tables["discovery"].copy()
    coarse = [f"delta_{f.name}" for f in FACTORS if f.scale == "coarse"]
    fine = [f"delta_{f.name}" for f in FACTORS if f.scale == "fine"]
    # means over the factors of each kind, since there are more coarse ones
    moved = {"coarse": table[coarse].abs().mean(axis=1), "fine": table[fine].abs().mean(axis=1)}
    table["share"] = moved["coarse"] / (moved["coarse"] + moved["fine"])
    return -first_last(table.dropna(subset=["share"]), "sample", "t_frac", "share")


def _low_change_falls(tables: Tables) -> Values:
    return -first_last(tables["discovery"].dropna(subset=["change_low_share"]), "sample", "t_frac", "change_low_share")


CLAIMS: tuple[Claim, ...] = (
    Claim("P23a Fig. 4", "p23a/fig4", "coarse share of attribute changes falls from T by", "claim", _coarse_falls),
    Claim(
        "P23a Fig. 5a",
        "p23a/fig5a",
        "low-frequency share of picture changes falls from T by",
        "claim",
        _low_change_falls,
    ),
)
