"""The papers' claims that ``discovery`` can answer, and how each is measured."""

from __future__ import annotations

from diffgeo.claims import Claim, Tables, Values, first_last
from diffgeo.data.factor_faces import FACTORS


def _coarse_falls(tables: Tables) -> Values:
    """Share of the attribute change that is coarse, at T minus at the lowest timestep, one per sample."""
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
    Claim(
        "P23a Fig. 4",
        "p23a/fig4",
        "coarse share of attribute changes falls from T by",
        _coarse_falls,
        asserts="Edits at T change coarse attributes, edits at 0.5T and below fine ones.",
        because="The figure shows edited pictures. On portraits the predictor reads how far each factor moved, and "
        "which factors are coarse is declared with the renderer; means over the factors of each kind, as there are "
        "more coarse ones.",
        refuted="The coarse share of the change grows from T to the lowest t.",
    ),
    Claim(
        "P23a Fig. 5a",
        "p23a/fig5a",
        "low-frequency share of picture changes falls from T by",
        _low_change_falls,
        asserts="The same of the pictures themselves: edits at T change low spatial frequencies, later ones higher "
        "ones.",
        because="The share of the change of the picture below a quarter of Nyquist needs no predictor.",
        refuted="The share grows from T to the lowest t.",
    ),
)
