"""The papers' claims that ``tangent_distance`` can answer, and how each is measured."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import spearmanr

from diffgeo.claims import Claim, Tables, Values, pseudo_values
from diffgeo.metrics.statistics import mantel_test, pair_orders

TIMES = 10
"""Timesteps below which Kendall's τ has too few values to say anything."""


def _trend(kind: str) -> Callable[[Tables], Values]:
    """Kendall's τ_b of |t − s| and the distance of tangent spaces, one per sample."""

    def measure(tables: Tables) -> Values:
        table = tables["tangent_distance_times"]
        return np.asarray(table.loc[(table["kind"] == kind) & (table["timesteps"] >= TIMES), "tau"])

    return measure


def _mantel(tables: Tables) -> float:
    """P-value of the trend over all samples, timesteps shuffled: they are the same for every sample."""
    table = tables["tangent_distance"]
    rows = table[table["kind"] == "time"]
    times = np.array(sorted({*rows["t_frac_a"], *rows["t_frac_b"]}))
    matrices = []
    for _, part in rows.groupby("sample_a"):
        far = np.zeros((len(times), len(times)))
        a, b = (np.searchsorted(times, part[column]) for column in ("t_frac_a", "t_frac_b"))
        far[a, b] = far[b, a] = part["distance"]
        matrices.append(far)
    apart = np.abs(times[:, None] - times[None, :]).round(6)
    return mantel_test(apart, matrices, pair_orders)[1]


def _rank_correlation(tables: Tables) -> Values:
    """Spearman's ρ between |t − s| and the distance of tangent spaces, one per sample."""
    table = tables["tangent_distance"]
    parts = [part for _, part in table[table["kind"] == "time"].groupby("sample_a")]
    apart = [(part["t_frac_a"] - part["t_frac_b"]).abs().round(6) for part in parts]
    return np.array(
        [spearmanr(dt, part["distance"]).statistic for dt, part in zip(apart, parts, strict=True) if dt.nunique() > 1]
    )


def _samples_part(tables: Tables) -> Values:
    """Distance between two samples at the lowest timestep minus at T."""
    table = tables["tangent_distance"]
    rows = table[table["kind"] == "sample"]
    wide = rows.pivot_table(index=["sample_a", "sample_b"], columns="t_frac_a", values="distance")
    grown = (wide[wide.columns.min()] - wide[wide.columns.max()]).rename("grown").reset_index()
    return pseudo_values(grown, "sample_a", "sample_b", "grown")


def _largest_possible(tables: Tables) -> str:
    """What τ_b could be at most."""
    table = tables["tangent_distance_times"]
    table = table[table["kind"] == "time"]
    return f"at most {table['tau_max'].max():.3f} is possible, as differences of timesteps are tied"


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "P23b timesteps",
        "p23b/timesteps",
        "rank trend (Kendall's τ_b) of |t − s| and distance",
        _trend("time"),
        asserts="The nearer two timesteps, the nearer their tangent spaces.",
        because="Over all pairs of ten or more timesteps of a sample's own path; with four, ρ takes few values and its "
        "largest says nothing. All samples share the timesteps, so that p is of Mantel's test, which shuffles them.",
        refuted="Nearer timesteps have tangent spaces that are further apart.",
        remark=_largest_possible,
        test=_mantel,
    ),
    Claim(
        "P23b timesteps",
        "p23b/timesteps",
        "Spearman's ρ of |t − s| and distance",
        _rank_correlation,
        role="second",
    ),
    Claim(
        "P23b samples",
        "p23b/samples",
        "distance between samples grows from T to the lowest t by / rad",
        _samples_part,
        asserts="Tangent spaces of different samples agree at T and part towards the picture.",
        because="Grassmann distance of the same pairs of samples at both ends, which the paper plots by t.",
        refuted="Samples lie nearer at the lowest t.",
    ),
    *(
        Claim(
            "P23b control",
            "p23b/controls",
            f"{name} fixed: rank trend (Kendall's τ_b) of |t − s| and distance",
            _trend(kind),
            role="control",
        )
        for name, kind in (("x", "x_fixed"), ("t", "t_fixed"))
    ),
)
