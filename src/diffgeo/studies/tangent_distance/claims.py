"""The papers' claims that ``tangent_distance`` can answer, and how each is measured."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import spearmanr

from diffgeo.claims import Claim, Tables, Values, pseudo_values

__all__ = ["CLAIMS"]


def _rank_correlation(kind: str) -> Callable[[Tables], Values]:
    """Spearman's ρ between |t − s| and the distance of tangent spaces, one a sample."""

    def measure(tables: Tables) -> Values:
        table = tables["tangent_distance"]
        rows = table[table["kind"] == kind]
        return np.array(
            [
                spearmanr((part["t_frac_a"] - part["t_frac_b"]).abs().round(6), part["distance"]).statistic
                for _, part in rows.groupby("sample_a")
            ]
        )

    return measure


def _samples_part(tables: Tables) -> Values:
    """Distance between two samples at the lowest timestep minus at T."""
    table = tables["tangent_distance"]
    rows = table[table["kind"] == "sample"]
    wide = rows.pivot_table(index=["sample_a", "sample_b"], columns="t_frac_a", values="distance")
    grown = (wide[wide.columns.min()] - wide[wide.columns.max()]).rename("grown").reset_index()
    return pseudo_values(grown, "sample_a", "sample_b", "grown")


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "P23b timesteps",
        "p23b/timesteps",
        "rank correlation of |t − s| and distance",
        "claim",
        _rank_correlation("time"),
    ),
    Claim(
        "P23b samples",
        "p23b/samples",
        "distance between samples grows from T to the lowest t by / rad",
        "claim",
        _samples_part,
    ),
    Claim(
        "P23b control",
        "p23b/controls",
        "x fixed: rank correlation of |t − s| and distance",
        "claim",
        _rank_correlation("x_fixed"),
    ),
    Claim(
        "P23b control",
        "p23b/controls",
        "t fixed: rank correlation of |t − s| and distance",
        "claim",
        _rank_correlation("t_fixed"),
    ),
)
