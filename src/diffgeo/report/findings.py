"""The main findings as sentences, each computed from the run's tables: a number, its 95 % interval, n.

What a sentence claims follows from its numbers: if a claim of the papers is tested, its verdict
(:func:`diffgeo.claims.decide`) chooses the words, and a sample too small for any test is called that.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from diffgeo.metrics.statistics import FEWEST as FEWEST
from diffgeo.metrics.statistics import SIGNIFICANT as SIGNIFICANT
from diffgeo.metrics.statistics import mean_interval
from diffgeo.report.formatting import counted, interval, intervals, name, p_value, timestep
from diffgeo.report.reading import Run
from diffgeo.results import Row

log = logging.getLogger(__name__)


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


def lean(low: float, high: float, n: int, p: float = math.nan) -> str:
    """How far a difference is established, whichever sign it has.

    Returns:
        ``yes`` (interval above 0, and p ≤ 0.05 if there is one) or ``opposite`` (below 0); ``few`` or ``few opposite``
        if there are fewer values than a test needs; ``open``.
    """
    if not (low > 0 or high < 0) or (n >= FEWEST and p > SIGNIFICANT):
        return "open"
    side = "yes" if low > 0 else "opposite"
    return side if n >= FEWEST else {"yes": "few", "opposite": "few opposite"}[side]


def worded(outcome: str, yes: str, opposite: str, whether: str, among: str = "these samples") -> str:
    """The sentence that an outcome of :func:`lean` allows.

    Args:
        outcome: of :func:`lean`.
        yes: words if the difference is above 0; with a proviso if the values are too few for a test.
        opposite: words if it is below 0; likewise.
        whether: what stays open otherwise, as a clause.
        among: the values, where they are too few.
    """
    if outcome == "open":
        return f"Whether {whether} stays open."
    words = opposite if outcome.endswith("opposite") else yes
    return f"{words} in {among}, too few for a test." if outcome.startswith("few") else f"{words}."


def _outcome(row: Row) -> str:
    """As :func:`lean`, by the verdict of a claim's row if it has decided."""
    found = lean(row["low"], row["high"], row["n"], row["p"])
    decided = {"holds": "yes", "contradicted": "opposite"}.get(row["verdict"])
    if decided or row["verdict"] == "":
        return decided or found
    return found if row["n"] < FEWEST else "open"


def claim_of(run: Run, experiment: str, containing: str = "") -> Row | None:
    """The verdict on the first claim of an experiment whose quantity contains these words, None if untested."""
    rows = (r for r in run.verdicts if r["experiment"] == experiment and containing in r["quantity"])
    return next(rows, None)


def tested(row: Row, unit: str = "", *, shown: str | None = None) -> str:  # noqa: PT028 (no test)
    """``0.47 [0.44, 0.50] (n = 4, p = 0.062)``; ``shown`` stands for the numbers in brackets and before them."""
    p = "" if math.isnan(row["p"]) else f", {p_value(row['p'])}"
    return f"{shown or interval(row['ours'], row['low'], row['high'])}{unit} (n = {row['n']}{p})"


def mean_of(values: Any) -> str:
    """A mean over samples with its interval."""
    return means_of([values])[0]


def means_of(groups: Iterable[Any], *others: tuple[float, float, float]) -> list[str]:
    """Means over samples that one sentence tells, and further estimates, all to the same digit."""
    return intervals([*(mean_interval(np.asarray(values, dtype=float)) for values in groups), *others])


def estimate_of(row: Row) -> tuple[float, float, float]:
    """What a claim's row has measured."""
    return row["ours"], row["low"], row["high"]


def headline(row: Row, yes: str, opposite: str, whether: str) -> str:
    """The words that a claim's test allows; arguments as for :func:`worded`."""
    return worded(_outcome(row), yes, opposite, whether, among=f"these {row['n']} samples")


def trend(
    study: str,
    table: pd.DataFrame,
    column: str,
    row: Row | None,
    *,
    level: str,
    yes: str,
    opposite: str,
    whether: str,
    moved: str,
    by: str,
) -> Finding:
    """How a quantity goes from the first timestep to the last, or what it is at the first if no claim tests that.

    Args:
        study: whose table it is.
        table: columns ``sample``, ``t_frac`` and the quantity.
        column: of the quantity.
        row: of the claim, None if it is untested.
        level: what a number is of: ``The share is``.
        yes: as for :func:`headline`, and so are the next two; ``{span}`` stands for the timesteps.
        opposite: likewise.
        whether: likewise.
        moved: what goes from one number to the other: ``Their share goes``.
        by: what the change is called: ``a fall of``.
    """
    first, last = ends(table)
    at = {t: part[column] for t, part in table.groupby("t_frac")}
    if row is None or first == last:
        count = counted(table["sample"].nunique(), "sample")
        return Finding(study, f"{level} {mean_of(at[first])}", f"at {timestep(first)} (mean over {count}).")
    start, end, change = means_of([at[first], at[last]], estimate_of(row))
    span = f"from {timestep(first)} to {timestep(last)}"
    told = headline(row, *(words.format(span=span) for words in (yes, opposite, whether)))
    return Finding(study, told, f"{moved} from {start} to {end}, {by} {tested(row, shown=change)}.")


def ends(table: pd.DataFrame, column: str = "t_frac") -> tuple[float, float]:
    """(first, last): the timestep nearest to noise, and the one nearest to the picture."""
    return float(table[column].max()), float(table[column].min())


def joined(names: list[str]) -> str:
    """Attributes in words, the last after an "and"."""
    words = [name(one) for one in names]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
