"""The main findings as sentences, each computed from the run's tables: a number, its 95 % interval, n.

What a sentence claims follows from its numbers: where a claim of the papers is tested, its verdict
(:func:`diffgeo.claims.judge`) chooses the words, and a sample too small for any test is called that.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from diffgeo.metrics.statistics import mean_interval
from diffgeo.report.formatting import counted, interval, name, number, p_value, timestep
from diffgeo.report.page.reading import Run

__all__ = ["FEWEST", "Finding", "claim_of", "findings", "lean", "reading_of"]

log = logging.getLogger(__name__)

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
    found: list[Finding] = []
    for study, finder in _FINDERS.items():
        try:
            found += finder(run)
        except Exception:  # one study's tables must not cost the others their findings
            log.warning("%s: the findings of %s could not be told", run.folder, study, exc_info=True)
    return found


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
    """A claim's verdict with what limits it: ``holds``, ``fails``, ``fails (too few: 4)``, ``not comparable``."""
    few = row["verdict"] == "fails" and row["n"] < FEWEST and not math.isnan(row["p"])
    return f"fails (too few: {row['n']})" if few else str(row["verdict"])


def claim_of(run: Run, experiment: str, containing: str = "") -> dict[str, Any] | None:
    """The verdict on the first claim of an experiment whose quantity contains these words, None where untested."""
    rows = (r for r in run.verdicts if r["experiment"] == experiment and containing in r["quantity"])
    return next(rows, None)


def _test(row: dict[str, Any], unit: str = "") -> str:
    """``0.47 [0.44, 0.50] (n = 4, p = 0.062)``."""
    p = "" if math.isnan(row["p"]) else f", {p_value(row['p'])}"
    return f"{interval(row['ours'], row['low'], row['high'])}{unit} (n = {row['n']}{p})"


def _mean(values: Any) -> str:
    """A mean over samples with its interval."""
    return interval(*mean_interval(np.asarray(values, dtype=float)))


def _headline(row: dict[str, Any], yes: str, opposite: str, whether: str) -> str:
    """The words that a test's outcome allows.

    Args:
        row: of the claim.
        yes: said where it holds; with a proviso where it points that way but the values are too few for a test.
        opposite: said where the interval lies below 0.
        whether: what stays open elsewhere, as a clause.
    """
    outcome, few = lean(row["low"], row["high"], row["n"], row["p"]), row["n"] < FEWEST
    if outcome == "open":
        return f"Whether {whether} stays open."
    said = opposite if outcome == "opposite" else yes
    return f"{said} in these {row['n']} samples, too few for a test." if few else f"{said}."


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
            f"{int(bases['converged'].sum())} of {len(bases)} bases converged.",
            f"{counted(int(table['rank'].max()), 'direction')} each, {samples}; the largest residual is "
            f"{number(table[['residual_left', 'residual_right']].to_numpy().max())}.",
        )
        return
    moved = table.dropna(subset=deltas)
    named = int((moved["label"] != "no attribute").sum())
    first = _ends(moved)[0]
    top = moved[moved["t_frac"] == first]
    per_sample = top[deltas].abs().max(axis=1).groupby(top["sample"]).mean()
    yield Finding(
        "discovery",
        f"{named} of {counted(len(moved), 'unlabelled direction')} change a predicted attribute by 0.15 or more.",
        f"At {timestep(first)} the one that moves most changes by {_mean(per_sample)} from −γ to +γ; unedited pictures "
        f"score about −1 to 1 (n = {len(per_sample)}).",
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
    span = f"from {timestep(first)} to {timestep(last)}"
    yield Finding(
        "spectrum",
        _headline(
            row,
            f"The spectrum flattens {span}",
            f"The spectrum does not flatten {span}: it grows steeper",
            f"the spectrum flattens {span}",
        ),
        f"The effective dimension of the leading {rank} goes from {at[first]} to {at[last]}, a change of {_test(row)}.",
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
    span = f"from {timestep(first)} to {timestep(last)}"
    yield Finding(
        "frequency",
        _headline(
            row,
            f"Directions grow finer {span}",
            f"Directions do not grow finer {span}: they grow coarser",
            f"directions grow finer {span}",
        ),
        f"Their share of low frequencies goes from {at[first]} to {at[last]}, a fall of {_test(row)}.",
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
    detail = (
        f"The first global direction meets a held-out sample's own with |cos| {_mean(at[first]['best_match'])} "
        f"(n = {len(at[first])}, {p_value(p)} among random subspaces; 95 % of chance: {number(limit, 2)})"
    )
    if last < first:
        detail += f", at {timestep(last)} with {_mean(at[last]['best_match'])}"
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
        headline = f"Too few samples to tell whether edits at {when} are more precise than random ones."
    else:
        headline = f"At {when}, no method edits more precisely than random directions do."
    parts = [
        f"{name(r['method'])} {interval(r['value'], r['low'], r['high'])} (n = {r['n']}, {p_value(r['p'])})"
        for r in top.to_dict("records")
    ]
    yield Finding(
        "disentanglement",
        headline,
        f"Edit precision above random directions at equal change: {'; '.join(parts)}.",
    )


def _curvedness(run: Run) -> Iterator[Finding]:
    table = run.table("curvedness")
    if table is None:
        return
    pool = "none" if "none" in set(table["pool"]) else table["pool"].iloc[0]
    rows = table[table["pool"] == pool]
    means = rows.groupby("path", sort=False)["length"].mean().sort_values()
    named = {path: name(path).replace("shooting x", "shooting at equal steps in X") for path in means.index}
    parts = [f"{named[path]} {_mean(rows.loc[rows['path'] == path, 'length'])}" for path in means.index]
    pairs = rows["pair"].nunique()
    where = f"{'whole' if pool == 'none' else 'pooled'} h, {counted(pairs, 'pair')}{', no interval' * (pairs == 1)}"
    few = f"On {counted(pairs, 'pair')}, too few to rank paths, the tangent space"
    start = few if pairs < FEWEST else "The tangent space"
    yield Finding(
        "curvedness",
        f"{start} turns least along {named[means.index[0]]}, most along {named[means.index[-1]]}.",
        f"Semantic length in rad: {', '.join(parts)} ({where}).",
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
    span = f"from {timestep(first)} to {timestep(last)}"
    yield Finding(
        "tangent_distance",
        _headline(
            row,
            f"Samples part {span}",
            f"Samples do not part {span}: their tangent spaces draw nearer",
            f"samples part {span}",
        ),
        f"Their tangent spaces' distance goes from {number(at[first], 2)} to {number(at[last], 2)} of the largest "
        f"possible, by {_test(row, ' rad')}.",
    )


def _ablation(run: Run) -> Iterator[Finding]:
    table, row = run.table("ablation"), claim_of(run, "p23a/fig9", "log precision")
    if table is None or row is None:
        return
    ratio = [math.exp(row[end]) for end in ("ours", "low", "high")]
    limit = ", no interval" if row["n"] < 2 else f", {p_value(row['p'])}"
    yield Finding(
        "ablation",
        _headline(
            row,
            "Local directions change less beside their target than random ones",
            "Local directions change more beside their target than random ones",
            "local directions change less beside their target than random ones",
        ),
        f"At equal change, their edit precision is {interval(*ratio)} times that of random directions "
        f"(n = {row['n']}{limit}).",
    )


def _prompts(run: Run) -> Iterator[Finding]:
    if run.table("prompts") is None:
        return
    near, fades = claim_of(run, "p23b/prompts"), claim_of(run, "p23b/prompts", "falls")
    if near is not None:
        yield Finding(
            "prompts",
            _headline(
                near,
                "Similar prompts have near tangent spaces",
                "Similar prompts have no nearer tangent spaces: they lie further apart",
                "similar prompts have near tangent spaces",
            ),
            f"The rank correlation of similarity and nearness is {_test(near)}.",
        )
    if fades is not None:
        yield Finding(
            "prompts",
            _headline(
                fades,
                "The prompt matters less towards t = 0",
                "The prompt does not matter less towards t = 0: it matters more",
                "the prompt matters less towards t = 0",
            ),
            f"The distance between prompts on their own paths falls by {_test(fades, ' rad')}.",
        )


def _dataset_complexity(run: Run) -> Iterator[Finding]:
    table, row = run.table("dataset_complexity"), claim_of(run, "p23b/datasets")
    if table is None or row is None:
        return
    models = list(table["data_model"].unique())
    yield Finding(
        "dataset_complexity",
        _headline(
            row,
            "Simpler data have more consistent tangent spaces",
            "Simpler data do not have more consistent tangent spaces: theirs lie further apart",
            "simpler data have more consistent tangent spaces",
        ),
        f"Samples of {models[-1]} lie further apart than those of {models[0]} by {_test(row)}, as a share "
        "of the largest possible distance.",
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
