r"""The papers' claims as tests on tables.

Each :class:`Claim` names its source, the experiment (a file of ``conf/experiment/``) that answers it and a function
from that run's tables to measurements, one value per sample or pair of samples on a path. Quantities of two samples
(distances, overlaps) enter as the samples' jackknife pseudo-values n U − (n − 1) U₋ᵢ, since two pairs with a common
sample are not independent. The values turn into a verdict without anything to tune:

    a claim      holds where the 95 % bootstrap interval of the mean lies above 0 and the sign test has p ≤ 0.05
                 (so never for fewer than five values), else it fails;
    a published  value holds where our interval overlaps the published one (its ± taken as a standard deviation over
                 50 pairs); it is not comparable on another model, or from too few values for an interval.

A claim that fails for lack of samples fails too: the interval and n say which it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from diffgeo.data.factor_faces import FACTORS
from diffgeo.metrics.statistics import mean_interval, sign_test

__all__ = ["CLAIMS", "Claim", "Verdict", "judge"]

Values = np.ndarray[Any, Any]
Tables = Mapping[str, pd.DataFrame]
Verdict = Literal["holds", "fails", "not comparable"]
SIGNIFICANT = 0.05
"""Largest p of the sign test with which a claim holds."""
CELEBAHQ = "celebahq"
"""What the source of a model must contain for numbers published on CelebA-HQ to compare with."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One line of the papers.

    Attributes:
        source: paper with table or figure.
        experiment: file under ``conf/experiment/``, without suffix.
        quantity: what is measured, in words, with its unit.
        published: the value, or ``claim``.
        measure: tables → one value a sample or pair; empty or NaN where the tables cannot tell.
        interval: the published 95 % interval of the mean, where there is one; None for a claim about the sign.
    """

    source: str
    experiment: str
    quantity: str
    published: str
    measure: Callable[[Tables], Values]
    interval: tuple[float, float] | None = None


def judge(claim: Claim, tables: Tables, model: str) -> dict[str, Any]:
    """One row of the papers' table.

    Args:
        claim: what is claimed.
        tables: of the run, by file stem.
        model: where the run's model came from.

    Returns:
        source, quantity, published, ours, low, high (95 %), n, p (sign test; NaN for published values), verdict.
    """
    try:
        values = claim.measure(tables)
    except KeyError:  # the run has no such table or column: no predictor, say
        values = np.array([])
    ours, low, high = mean_interval(values)
    p = float("nan") if claim.interval else sign_test(values)[1]
    row = {
        "source": claim.source,
        "quantity": claim.quantity,
        "published": claim.published,
        "ours": ours,
        "low": low,
        "high": high,
        "n": int(np.isfinite(values).sum()),
        "p": p,
    }
    verdict: Verdict
    if math.isnan(ours) or (claim.interval is not None and (CELEBAHQ not in model.lower() or math.isnan(low))):
        verdict = "not comparable"
    elif claim.interval is not None:
        verdict = "holds" if low <= claim.interval[1] and high >= claim.interval[0] else "fails"
    else:
        verdict = "holds" if low > 0 and p <= SIGNIFICANT else "fails"
    return row | {"verdict": verdict}


def _first_last(table: pd.DataFrame, index: str | list[str], time: str, value: str) -> Values:
    """Value at the lowest timestep minus value at the highest, one a unit."""
    wide = table.pivot_table(index=index, columns=time, values=value)
    return np.asarray(wide[wide.columns.min()] - wide[wide.columns.max()])


def _length(path: str, over: str | None = None) -> Callable[[Tables], Values]:
    def measure(tables: Tables) -> Values:
        table = tables["curvedness"]
        wide = table[table["pool"] == "sum"].pivot_table(index="pair", columns="path", values="length")
        return np.asarray(wide[path] / wide[over] if over else wide[path])

    return measure


def _longer(path: str, other: str) -> Callable[[Tables], Values]:
    return lambda tables: _length(path)(tables) - _length(other)(tables)


def _lerp_ends(tables: Tables) -> Values:
    """Mean of the first and last segment minus mean of the middle third, one a pair."""
    table = tables["curvedness_segments"]
    rows = table[(table["path"] == "lerp") & (table["pool"] == "sum")]
    ends = rows[rows["segment"].isin([0, rows["segment"].max()])].groupby("pair")["curvedness"].mean()
    middle = rows[rows["position"].between(1 / 3, 2 / 3)].groupby("pair")["curvedness"].mean()
    return np.asarray(ends - middle)


def _pseudo_values(pairs: pd.DataFrame, a: str, b: str, value: str) -> Values:
    """Jackknife pseudo-values of the mean over pairs, one a sample; their mean is that mean. Needs three samples."""
    values = pairs.dropna(subset=[value])
    samples = sorted({*values[a], *values[b]})
    n, mean = len(samples), values[value].mean()
    if n < 3:
        return np.array([])
    without = [values.loc[(values[a] != s) & (values[b] != s), value].mean() for s in samples]
    return np.asarray(n * mean - (n - 1) * np.array(without))


def _overlap_above_chance(tables: Tables) -> Values:
    """Mean best match of the first three directions at T minus what chance exceeds in 5 % of cases."""
    table = tables["global_consistency_overlaps"]
    top = table[(table["t_frac"] == table["t_frac"].max()) & (table["direction"] < 3)]
    pairs = top.groupby(["sample", "other"], as_index=False)["best_match"].mean()
    limit = tables["global_consistency"]["null_best_match_95"].iloc[0]
    return _pseudo_values(pairs.assign(above=pairs["best_match"] - limit), "sample", "other", "above")


def _overlap_leads(tables: Tables) -> Values:
    """Mean best match at T of the first three directions minus that of the last third."""
    table = tables["global_consistency_overlaps"]
    top = table[table["t_frac"] == table["t_frac"].max()]
    keys = ["sample", "other"]
    leading = top[top["direction"] < 3].groupby(keys)["best_match"].mean()
    trailing = top[top["direction"] >= 2 * top["rank"] / 3].groupby(keys)["best_match"].mean()
    return _pseudo_values((leading - trailing).rename("ahead").reset_index(), "sample", "other", "ahead")


def _coarse_falls(tables: Tables) -> Values:
    """Share of the attribute change that is coarse, at T minus at the lowest timestep, one a sample."""
    table = tables["discovery"].copy()
    coarse = [f"delta_{f.name}" for f in FACTORS if f.scale == "coarse"]
    fine = [f"delta_{f.name}" for f in FACTORS if f.scale == "fine"]
    # means over the factors of each kind, since there are more coarse ones
    moved = {"coarse": table[coarse].abs().mean(axis=1), "fine": table[fine].abs().mean(axis=1)}
    table["share"] = moved["coarse"] / (moved["coarse"] + moved["fine"])
    return -_first_last(table.dropna(subset=["share"]), "sample", "t_frac", "share")


def _low_change_falls(tables: Tables) -> Values:
    return -_first_last(tables["discovery"].dropna(subset=["change_low_share"]), "sample", "t_frac", "change_low_share")


def _low_share_falls(tables: Tables) -> Values:
    table = tables["frequency"]
    return -_first_last(table[table["radius"] == 0], "sample", "t_frac", "low_share")


def _same_direction_agrees(tables: Tables) -> Values:
    """Cosine of two held-out samples' changes by one global direction, less |cos| by different ones, at T."""
    table = tables["global_consistency_agreement"]
    top = table[table["t_frac"] == table["t_frac"].max()]
    same = top["direction"] == top["other_direction"]
    keys = ["sample", "other"]
    alike = top[same].groupby(keys)["cosine"].mean()
    unlike = top[~same].assign(cosine=top["cosine"].abs()).groupby(keys)["cosine"].mean()
    return _pseudo_values((alike - unlike).rename("ahead").reset_index(), "sample", "other", "ahead")


def _against_local(variant: str, column: str, sign: int) -> Callable[[Tables], Values]:
    """± (variant − local) of a column at equal perceptual change, one a sample, where both were matched.

    Ratios (``precision``) are compared by their logarithm.
    """

    def measure(tables: Tables) -> Values:
        table = tables["ablation"]
        wide = table[table["matched"]].pivot_table(index=["sample", "direction"], columns="variant", values=column)
        wide = wide.apply(np.log) if column == "precision" else wide
        return np.asarray(sign * (wide[variant] - wide["local"]).groupby("sample").mean())

    return measure


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
    return _pseudo_values(grown, "sample_a", "sample_b", "grown")


def _simpler_agrees(tables: Tables) -> Values:
    """Distance between two samples (seeds), most complex data minus simplest, mean over timesteps."""
    table = tables["dataset_complexity"]
    wide = table.pivot_table(index=["sample_a", "sample_b"], columns="data_model", values="distance_normalized")
    order = table["data_model"].unique()
    further = (wide[order[-1]] - wide[order[0]]).rename("further").reset_index()
    return _pseudo_values(further, "sample_a", "sample_b", "further")


def _alike_near(tables: Tables) -> Values:
    """− Spearman's ρ of the prompts' similarity and the distance along their own paths, mean over t, one a sample."""
    table = tables["prompts"]
    rows = table[(table["kind"] == "path") & (table["guidance"] == table["guidance"].max())]
    rho = [
        (sample, -spearmanr(part["similarity"], part["distance"]).statistic)
        for (sample, _), part in rows.groupby(["sample", "t_frac"])
    ]
    return np.asarray(pd.DataFrame(rho, columns=["sample", "rho"]).groupby("sample")["rho"].mean())


def _prompt_fades(kind: str) -> Callable[[Tables], Values]:
    """Distance between prompts at T minus at the lowest timestep, mean over pairs, one a sample."""

    def measure(tables: Tables) -> Values:
        table = tables["prompts"]
        rows = table[(table["kind"] == kind) & (table["guidance"] == table["guidance"].max())]
        mean = rows.groupby(["sample", "t_frac"], as_index=False)["distance"].mean()
        return -_first_last(mean, "sample", "t_frac", "distance")

    return measure


def _interval(mean: float, sd: float, pairs: int = 50) -> tuple[float, float]:
    half = 1.96 * sd / math.sqrt(pairs)
    return mean - half, mean + half


def _ratio(path: str) -> tuple[float, float]:
    """Of a published ratio to shooting, from the two published means and spreads (first order, independent)."""
    means, sds = {"lerp": 10.29, "slerp": 7.69, "shooting": 5.98}, {"lerp": 0.87, "slerp": 0.76, "shooting": 0.76}
    ratio = means[path] / means["shooting"]
    return _interval(ratio, ratio * math.hypot(sds[path] / means[path], sds["shooting"] / means["shooting"]))


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "P23a Table 1",
        "p23a/table1",
        "path length of lerp / rad",
        "10.29 ± 0.87",
        _length("lerp"),
        _interval(10.29, 0.87),
    ),
    Claim(
        "P23a Table 1",
        "p23a/table1",
        "path length of slerp / rad",
        "7.69 ± 0.76",
        _length("slerp"),
        _interval(7.69, 0.76),
    ),
    Claim(
        "P23a Table 1",
        "p23a/table1",
        "path length of shooting / rad",
        "5.98 ± 0.76",
        _length("shooting"),
        _interval(5.98, 0.76),
    ),
    Claim("P23a Table 1", "p23a/table1", "lerp over shooting", "1.72", _length("lerp", "shooting"), _ratio("lerp")),
    Claim("P23a Table 1", "p23a/table1", "slerp over shooting", "1.29", _length("slerp", "shooting"), _ratio("slerp")),
    Claim("P23a Table 1", "p23a/table1", "lerp longer than slerp by / rad", "claim", _longer("lerp", "slerp")),
    Claim(
        "P23a Table 1",
        "p23a/table1",
        "slerp longer than shooting, which ends near its start, by / rad",
        "claim",
        _longer("slerp", "shooting"),
    ),
    Claim(
        "P23a Fig. 3a",
        "p23a/fig3a",
        "overlap of leading directions at T above chance by",
        "claim",
        _overlap_above_chance,
    ),
    Claim(
        "P23a Fig. 3a", "p23a/fig3a", "overlap of leading above trailing directions at T by", "claim", _overlap_leads
    ),
    Claim(
        "P23a Fig. 3b",
        "p23a/fig3b",
        "effective dimension rises from T to the lowest t by",
        "claim",
        lambda tables: _first_last(tables["spectrum"], "sample", "t_frac", "effective_dimension"),
    ),
    Claim("P23a Fig. 4", "p23a/fig4", "coarse share of attribute changes falls from T by", "claim", _coarse_falls),
    Claim(
        "P23a Fig. 5a",
        "p23a/fig5a",
        "low-frequency share of picture changes falls from T by",
        "claim",
        _low_change_falls,
    ),
    Claim("P23a Fig. 5b", "p23a/fig5b", "low-frequency share of directions falls from T by", "claim", _low_share_falls),
    Claim(
        "P23a Fig. 6",
        "p23a/fig6",
        "agreement of a global direction's changes at T above that of different directions by",
        "claim",
        _same_direction_agrees,
    ),
    Claim("P23a Fig. 7c", "p23a/fig7", "lerp's end segments more curved than its middle by / rad", "claim", _lerp_ends),
    Claim(
        "P23a Fig. 7",
        "p23a/fig7",
        "slerp longer than shooting of equal length in X by / rad",
        "control",
        _longer("slerp", "shooting_x"),
    ),
    Claim(
        "P23a Fig. 9",
        "p23a/fig9",
        "log precision of local above random directions by",
        "claim",
        _against_local("random", "precision", -1),
    ),
    Claim(
        "P23a Fig. 9",
        "p23a/fig9",
        "colours at the limit, random above local directions by",
        "claim",
        _against_local("random", "clipped_change", 1),
    ),
    Claim(
        "P23a Fig. 10",
        "p23a/fig10",
        "chroma without above with the normalisation by",
        "claim",
        _against_local("no_normalisation", "chroma_change", 1),
    ),
    Claim(
        "P23a Fig. 10",
        "p23a/fig10",
        "colours at the limit without above with the normalisation by",
        "claim",
        _against_local("no_normalisation", "clipped_change", 1),
    ),
    Claim(
        "P23a Fig. 11",
        "p23a/fig11",
        "log precision of local directions above PCA of h by",
        "claim",
        _against_local("pca_h", "precision", -1),
    ),
    Claim(
        "P23a Fig. 12",
        "p23a/fig12",
        "log precision of ∂h/∂x above ∂x̂0/∂x by",
        "claim",
        _against_local("x0", "precision", -1),
    ),
    Claim(
        "P23a Fig. 12",
        "p23a/fig12",
        "log precision of ∂h/∂x above ∂ε/∂x by",
        "claim",
        _against_local("eps", "precision", -1),
    ),
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
    Claim(
        "P23b data sets",
        "p23b/datasets",
        "distance between samples, 14 above 4 varying factors, mean over t, by",
        "claim",
        _simpler_agrees,
    ),
    Claim(
        "P23b prompts",
        "p23b/prompts",
        "rank correlation of the prompts' similarity and nearness of tangent spaces, mean over t",
        "claim",
        _alike_near,
    ),
    Claim(
        "P23b prompts",
        "p23b/prompts",
        "distance between prompts on their own paths falls from T to the lowest t by / rad",
        "claim",
        _prompt_fades("path"),
    ),
    Claim(
        "P23b prompts",
        "p23b/prompts",
        "the same at one x_t / rad",
        "control",
        _prompt_fades("fixed"),
    ),
)
"""In the order of the papers."""
