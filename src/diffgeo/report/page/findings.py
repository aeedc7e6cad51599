"""The main findings as sentences, each computed from the run's tables: a number, its 95 % interval, n.

What a sentence claims follows from its numbers: where a claim of the papers is tested, its verdict
(:func:`diffgeo.claims.judge`) chooses the words, and a sample too small for any test is called that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from diffgeo.metrics.statistics import mean_interval
from diffgeo.report.page.formatting import counted, interval, name, number, p_value, timestep
from diffgeo.report.page.reading import Run

__all__ = ["FEWEST", "Finding", "claim_of", "findings", "lean", "reading_of"]

FEWEST = 5
"""Values with which the sign test can reach p ≤ 0.05 at all: 0.5⁵ = 0.031."""
SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence or two.

    Attributes:
        study: whose tables it rests on.
        headline: what was found, in a few words.
        detail: the numbers.
    """

    study: str
    headline: str
    detail: str


def findings(run: Run) -> list[Finding]:
    """All findings of a run, in the order of their importance to a reader; none where nothing was measured."""
    return [found for study in _FINDERS for found in _FINDERS[study](run)]


def lean(low: float, high: float, n: int, p: float = math.nan) -> str:
    """How far a difference is established.

    Returns:
        ``yes`` (interval above 0, and p ≤ 0.05 where there is one), ``opposite`` (interval below 0), ``few`` (interval
        above 0, but fewer than five values), or ``open``.
    """
    if high < 0:
        return "opposite"
    if low > 0 and not p > SIGNIFICANT and n >= FEWEST:
        return "yes"
    return "few" if low > 0 and n < FEWEST else "open"


def reading_of(row: dict[str, Any]) -> str:
    """A claim's verdict with what limits it: ``holds``, ``fails``, ``fails (4 values are too few)``, …."""
    few = row["verdict"] == "fails" and row["n"] < FEWEST and not math.isnan(row["p"])
    return f"fails ({counted(row['n'], 'value')}, too few for the test)" if few else str(row["verdict"])


def claim_of(run: Run, experiment: str, containing: str = "") -> dict[str, Any] | None:
    """The verdict on the first claim of an experiment whose quantity contains these words, None where untested."""
    rows = (r for r in run.verdicts if r["experiment"] == experiment and containing in r["quantity"])
    return next(rows, None)


def _test(row: dict[str, Any]) -> str:
    """``0.47 [0.44, 0.50], n = 4, p = 0.062``."""
    said = f"{interval(row['ours'], row['low'], row['high'])}, n = {row['n']}"
    said += "" if math.isnan(row["p"]) else f", {p_value(row['p'])}"
    return said


def _mean(values: Any) -> str:
    """A mean over samples with its interval."""
    return interval(*mean_interval(np.asarray(values, dtype=float)))


def _words(row: dict[str, Any], yes: str, opposite: str, few: str, unclear: str) -> str:
    chosen = lean(row["low"], row["high"], row["n"], row["p"])
    if chosen == "opposite" and row["n"] < FEWEST:
        opposite = f"{opposite.removesuffix('.')} in these samples."
    return {"yes": yes, "opposite": opposite, "few": few, "open": unclear}[chosen]


def _ends(table: pd.DataFrame, column: str = "t_frac") -> tuple[float, float]:
    """(first, last): the timestep nearest to noise, and the one nearest to the picture."""
    return float(table[column].max()), float(table[column].min())


def _discovery(run: Run) -> Iterator[Finding]:
    table = run.table("discovery")
    if table is None:
        return
    deltas = [c for c in table.columns if c.startswith("delta_")]
    samples = counted(table["sample"].nunique(), "sample")
    if not deltas:
        bases = table.drop_duplicates(["sample", "t"])
        yield Finding(
            "discovery",
            f"{int(bases['converged'].sum())} of {counted(len(bases), 'basis').replace('basiss', 'bases')} converged.",
            f"{counted(int(table['rank'].max()), 'direction')} each, {samples}; the largest residual is "
            f"{number(table[['residual_left', 'residual_right']].to_numpy().max())}.",
        )
        return
    moved = table.dropna(subset=deltas)
    named = moved["label"] != "no attribute"
    first = _ends(moved)[0]
    top = moved[moved["t_frac"] == first]
    per_sample = top[deltas].abs().max(axis=1).groupby(top["sample"]).mean()
    leading = moved[deltas].abs().idxmax(axis=1).nunique()
    count = counted(len(moved), "direction")
    yield Finding(
        "discovery",
        f"{int(named.sum())} of {count} that were followed change an attribute which the predictor can name.",
        f"At {timestep(first)} the attribute that moves most changes by {_mean(per_sample)} from −γ to +γ, where "
        f"scores run from −1 to 1 (mean over {samples}); {leading} of {len(deltas)} attributes come first for some direction.",
    )


def _spectrum(run: Run) -> Iterator[Finding]:
    table, row = run.table("spectrum"), claim_of(run, "p23a/fig3b")
    if table is None:
        return
    first, last = _ends(table)
    at = {t: _mean(part["effective_dimension"]) for t, part in table.groupby("t_frac")}
    rank = counted(int(table["rank"].max()), "direction")
    if row is None or first == last:
        yield Finding(
            "spectrum",
            f"The leading {rank} have an effective dimension of {at[first]}",
            f"at {timestep(first)} (mean over {counted(table['sample'].nunique(), 'sample')}).",
        )
        return
    yield Finding(
        "spectrum",
        _words(
            row,
            f"The spectrum flattens from {timestep(first)} to {timestep(last)}.",
            f"The spectrum does not flatten from {timestep(first)} to {timestep(last)}: it grows steeper.",
            f"The spectrum flattens from {timestep(first)} to {timestep(last)} in these samples, too few for a test.",
            f"Whether the spectrum flattens from {timestep(first)} to {timestep(last)} stays open.",
        ),
        f"The effective dimension of the leading {rank} is {at[first]} at {timestep(first)} and {at[last]} at "
        f"{timestep(last)}, a change of {_test(row)}.",
    )


def _frequency(run: Run) -> Iterator[Finding]:
    table, row = run.table("frequency"), claim_of(run, "p23a/fig5b")
    if table is None:
        return
    once = table[table["radius"] == 0]
    first, last = _ends(once)
    at = {t: _mean(part["low_share"]) for t, part in once.groupby("t_frac")}
    if row is None or first == last:
        yield Finding(
            "frequency",
            f"The low-frequency share of the directions is {at[first]}",
            f"at {timestep(first)} (mean over {counted(once['sample'].nunique(), 'sample')}).",
        )
        return
    yield Finding(
        "frequency",
        _words(
            row,
            f"Directions grow finer from {timestep(first)} to {timestep(last)}.",
            f"Directions do not grow finer from {timestep(first)} to {timestep(last)}: they grow coarser.",
            f"Directions grow finer from {timestep(first)} to {timestep(last)} in these samples, too few for a test.",
            f"Whether directions grow finer from {timestep(first)} to {timestep(last)} stays open.",
        ),
        f"The share of their power at low frequencies falls from {at[first]} to {at[last]}, by {_test(row)}.",
    )


def _global_consistency(run: Run) -> Iterator[Finding]:
    table = run.table("global_consistency")
    if table is None:
        return
    leading = table[(table["method"] == table["method"].iloc[0]) & (table["direction"] == 0)]
    first, last = _ends(leading)
    at = dict(iter(leading.groupby("t_frac")))
    p, limit = at[first]["p_best_match"].iloc[0], at[first]["null_best_match_95"].iloc[0]
    shared = "Samples share directions" if p <= SIGNIFICANT else "No direction is shown to be shared by the samples"
    held_out = counted(leading["held_out"].nunique(), "held-out sample")
    detail = (
        f"The first global direction meets one of a held-out sample's own with |cos| {_mean(at[first]['best_match'])} "
        f"(mean over {held_out}; chance stays below {number(limit, 2)} in 95 % of cases, {p_value(p)})"
    )
    if last < first:
        detail += f"; at {timestep(last)} it is {_mean(at[last]['best_match'])}"
    yield Finding("global_consistency", f"{shared} at {timestep(first)}.", f"{detail}.")


def _disentanglement(run: Run) -> Iterator[Finding]:
    card = run.table("disentanglement_scorecard")
    if card is None:
        return
    gains = card[(card["metric"] == "precision_gain") & card["value"].notna()]
    if gains.empty:
        return
    top = gains[gains["t_frac"] == gains["t_frac"].max()]
    beyond = [r for r in top.to_dict("records") if lean(r["low"], r["high"], r["n"], r["p"]) == "yes"]
    when = timestep(float(top["t_frac"].iloc[0]))
    if beyond:
        headline = (
            f"At {when}, {_joined([r['method'] for r in beyond])} directions edit more precisely than random ones."
        )
    elif int(top["n"].max()) < FEWEST:
        headline = f"Too few samples to tell whether edits at {when} are more precise than along random directions."
    else:
        headline = f"At {when}, no method edits more precisely than random directions do."
    parts = [
        f"{name(r['method'])} {interval(r['value'], r['low'], r['high'])} (n = {r['n']}, {p_value(r['p'])})"
        for r in top.to_dict("records")
    ]
    yield Finding(
        "disentanglement",
        headline,
        f"Edit precision above that of random directions at equal change of the picture: {'; '.join(parts)}.",
    )


def _curvedness(run: Run) -> Iterator[Finding]:
    table = run.table("curvedness")
    if table is None:
        return
    pool = "none" if "none" in set(table["pool"]) else table["pool"].iloc[0]
    rows = table[table["pool"] == pool]
    means = rows.groupby("path", sort=False)["length"].mean().sort_values()
    parts = [f"{name(path)} {_mean(rows.loc[rows['path'] == path, 'length'])}" for path in means.index]
    pairs = counted(rows["pair"].nunique(), "pair")
    limit = " One pair has no interval." if rows["pair"].nunique() == 1 else ""
    yield Finding(
        "curvedness",
        f"The tangent space turns least along {name(means.index[0])} and most along {name(means.index[-1])}.",
        f"Semantic path lengths in rad (mean over {pairs}, {'whole' if pool == 'none' else 'pooled'} h): "
        f"{', '.join(parts)}.{limit}",
    )


def _tangent_distance(run: Run) -> Iterator[Finding]:
    table, row = run.table("tangent_distance"), claim_of(run, "p23b/samples")
    if table is None:
        return
    between = table[table["kind"] == "sample"]
    if between.empty or row is None:
        return
    first, last = _ends(between, "t_frac_a")
    at = between.groupby("t_frac_a")["distance_normalized"].mean()
    yield Finding(
        "tangent_distance",
        _words(
            row,
            f"Samples part on the way from {timestep(first)} to {timestep(last)}.",
            f"Samples do not part from {timestep(first)} to {timestep(last)}: their tangent spaces draw nearer.",
            f"Samples part from {timestep(first)} to {timestep(last)} here; they are too few for a test.",
            f"Whether samples part from {timestep(first)} to {timestep(last)} stays open.",
        ),
        f"Two samples' tangent spaces are {number(at[first], 2)} of the largest possible distance apart at "
        f"{timestep(first)} and {number(at[last], 2)} at {timestep(last)}; the distance grows by {_test(row)} (rad).",
    )


def _ablation(run: Run) -> Iterator[Finding]:
    table, row = run.table("ablation"), claim_of(run, "p23a/fig9", "log precision")
    if table is None or row is None:
        return
    ratio = [math.exp(row[end]) for end in ("ours", "low", "high")]
    samples = counted(row["n"], "sample")
    headline = _words(
        row,
        "Local directions change less beside their target than random ones.",
        "Local directions change more beside their target than random ones.",
        "Local directions change less beside their target than random ones here; the samples are too few for a test.",
        "Whether local directions change less beside their target than random ones stays open.",
    )
    limit = ", without an interval" if row["n"] < 2 else f", {p_value(row['p'])}"
    yield Finding(
        "ablation",
        headline,
        f"At equal change of the picture, their edit precision is {interval(*ratio)} times that of random "
        f"directions ({samples}{limit}).",
    )


def _prompts(run: Run) -> Iterator[Finding]:
    if run.table("prompts") is None:
        return
    near, fades = claim_of(run, "p23b/prompts"), claim_of(run, "p23b/prompts", "falls")
    if near is not None:
        yield Finding(
            "prompts",
            _words(
                near,
                "Similar prompts have near tangent spaces.",
                "Similar prompts have no nearer tangent spaces: they lie further apart.",
                "Similar prompts have near tangent spaces in these samples, too few for a test.",
                "Whether similar prompts have near tangent spaces stays open.",
            ),
            f"Rank correlation of similarity and nearness, mean over timesteps: {_test(near)}.",
        )
    if fades is not None:
        yield Finding(
            "prompts",
            _words(
                fades,
                "The prompt matters less towards t = 0.",
                "The prompt does not matter less towards t = 0: it matters more.",
                "The prompt matters less towards t = 0 in these samples, too few for a test.",
                "Whether the prompt matters less towards t = 0 stays open.",
            ),
            f"The distance between prompts on their own paths falls by {_test(fades)} (rad).",
        )


def _dataset_complexity(run: Run) -> Iterator[Finding]:
    table, row = run.table("dataset_complexity"), claim_of(run, "p23b/datasets")
    if table is None or row is None:
        return
    first, *_, last = [*table["data_model"].unique(), table["data_model"].iloc[-1]]
    yield Finding(
        "dataset_complexity",
        _words(
            row,
            "Simpler data have more consistent tangent spaces.",
            "Simpler data do not have more consistent tangent spaces: theirs lie further apart.",
            "Simpler data have more consistent tangent spaces in these samples, too few for a test.",
            "Whether simpler data have more consistent tangent spaces stays open.",
        ),
        f"The distance between samples of {name(last)} exceeds that of {name(first)} by {_test(row)} (share of the "
        "largest possible).",
    )


def _joined(names: list[str]) -> str:
    words = [name(one) for one in names]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


_FINDERS: dict[str, Callable[[Run], Iterator[Finding]]] = {
    "discovery": _discovery,
    "global_consistency": _global_consistency,
    "disentanglement": _disentanglement,
    "frequency": _frequency,
    "spectrum": _spectrum,
    "tangent_distance": _tangent_distance,
    "curvedness": _curvedness,
    "ablation": _ablation,
    "prompts": _prompts,
    "dataset_complexity": _dataset_complexity,
}
"""Study → its findings."""
