r"""The papers' claims as tests on tables.

Each :class:`Claim` names its source, what the paper asserts there, the experiment (a file of ``conf/experiment/``) that
answers it, the number that stands for the assertion, and what would refute it. A function takes that run's tables to
measurements, one value per independent unit: a sample, a pair of samples on a path, or a trained network. Quantities of
two samples (distances, overlaps) enter as the samples' jackknife pseudo-values n U − (n − 1) U₋ᵢ, since two pairs
with a common sample are not independent, and so do differences of two groups of trainings. Positive values agree with
the paper.

:func:`judge` gives the mean with Student's 95 % interval and the p-value of the sign-flip test, one test per claim;
of a claim about timesteps or prompts, which all samples share, that of Mantel's test.
:func:`decide` turns the rows of one table into verdicts, with nothing to tune. With q the false discovery rate of a row
among the claims of its table (Benjamini–Hochberg):

    holds           q ≤ 0.05, and the mean is positive;
    contradicted    q ≤ 0.05, and the mean is negative;
    not found       otherwise, if the interval excludes what is claimed: an effect of 0.8 standard deviations or more
                    (:data:`~diffgeo.metrics.statistics.DETECTABLE`);
    too few to tell  neither shown nor excluded, as always with fewer than six values;
    not comparable  a number published for another model, or the run has nothing to measure it by.

A published value is contradicted if our interval does not overlap the published one (its ± taken as a standard
deviation over 50 pairs), and holds if it does and is no more than twice as wide; a wider one is too few to tell. Beside
q stands Holm's adjusted p, for readers who want no false call at all. Controls, and second measures of a claim, are
shown without a verdict.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from diffgeo.metrics.statistics import (
    FEWEST,
    SIGNIFICANT,
    excludes,
    false_discovery_rates,
    holm,
    mean_interval,
    sign_flip_test,
    win_interval,
)
from diffgeo.results import Row

Values = np.ndarray[Any, Any]
Tables = Mapping[str, pd.DataFrame]
Verdict = Literal["holds", "contradicted", "not found", "too few to tell", "not comparable", ""]
Role = Literal["claim", "value", "control", "second"]
CELEBAHQ = "celebahq"
"""What the source of a model must contain for numbers published on CelebA-HQ to compare with."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One line of the papers.

    Attributes:
        source: paper with table or figure.
        experiment: file under ``conf/experiment/``, without suffix; of another package's study, any name.
        quantity: what is measured, in words, with its unit.
        measure: tables → one value per unit, positive if the paper is right; empty or NaN if the tables cannot tell.
        asserts: what the paper says, in our words.
        because: why this measurement stands for it.
        refuted: what would contradict it.
        unit: what one value is of.
        role: ``claim``; ``value``, a published number; ``control``, a comparison of ours; ``second``, another measure
            of a claim. The last two have no verdict.
        published: the value, for the role ``value``.
        interval: its 95 % interval.
        remark: tables → what a reader of the number has to know, or nothing.
        test: tables → its two-sided p-value, if values do not stand for independent units; else sign flips of them.
        duel: whether values are duels won (1), tied (0) and lost (−1).
    """

    source: str
    experiment: str
    quantity: str
    measure: Callable[[Tables], Values]
    asserts: str = ""
    because: str = ""
    refuted: str = ""
    unit: str = "sample"
    role: Role = "claim"
    published: str = ""
    interval: tuple[float, float] | None = None
    remark: Callable[[Tables], str] = lambda _: ""
    test: Callable[[Tables], float] | None = None
    duel: bool = False


def judge(claim: Claim, tables: Tables, model: str) -> Row:
    """One row of the papers' table, before :func:`decide`.

    Args:
        claim: what is claimed.
        tables: of the run, by file stem.
        model: where the run's model came from.

    Returns:
        source, experiment, quantity, role, unit, published, ours, low, high (95 %), n, p (NaN for published values),
        values (the measurements), comparable, expected (the published interval), remark.
    """
    try:
        values, remark = np.asarray(claim.measure(tables), dtype=float), claim.remark(tables)
        own = claim.test(tables) if claim.test is not None else None
    except KeyError:  # the run has no such table or column: no predictor, say
        values, remark, own = np.array([]), "", None
    values = values[np.isfinite(values)]
    ours, low, high = win_interval(values) if claim.duel else mean_interval(values)
    comparable = claim.interval is None or (CELEBAHQ in model.lower() and not math.isnan(low))
    p = math.nan if claim.interval else sign_flip_test(values) if own is None else own
    return described(claim) | {
        "ours": ours,
        "low": low,
        "high": high,
        "n": len(values),
        "p": p,
        "values": values.tolist(),
        "comparable": comparable and len(values) > 0,
        "expected": claim.interval,
        "remark": remark,
    }


def described(claim: Claim) -> Row:
    """What a row says of its claim, measured or not: source, experiment, quantity, role, unit, published."""
    return {
        "source": claim.source,
        "experiment": claim.experiment,
        "quantity": claim.quantity,
        "role": claim.role,
        "unit": claim.unit,
        "published": claim.published or "–",
    }


def decide(rows: Sequence[Row]) -> list[Row]:
    """Rows of :func:`judge` that are shown together, each with ``q``, ``holm`` and ``verdict``."""
    tested = [row["p"] if row["role"] == "claim" and row["n"] >= FEWEST else math.nan for row in rows]
    rates = zip(rows, false_discovery_rates(tested), holm(tested), strict=True)
    return [row | {"q": q, "holm": all_right, "verdict": _verdict(row, q)} for row, q, all_right in rates]


def _verdict(row: Row, q: float) -> Verdict:
    if row["role"] in ("control", "second"):
        return ""
    if not row["comparable"]:
        return "not comparable"
    if row["expected"] is not None:
        low, high = row["expected"]
        if row["low"] > high or row["high"] < low:
            return "contradicted"
        return "holds" if row["high"] - row["low"] <= 2 * (high - low) else "too few to tell"
    if q <= SIGNIFICANT:
        return "holds" if row["ours"] > 0 else "contradicted"
    return "not found" if excludes(row["low"], row["high"], row["n"]) else "too few to tell"


def reading_of(row: Row) -> str:
    """A verdict; of a row without one its role."""
    return str(row["verdict"] or {"control": "control", "second": "second measure"}[row["role"]])


def first_last(table: pd.DataFrame, index: str | list[str], time: str, value: str) -> Values:
    """Value at the lowest timestep minus value at the highest, one per unit."""
    wide = table.pivot_table(index=index, columns=time, values=value)
    if wide.shape[1] < 2:
        return np.array([])
    return np.asarray(wide[wide.columns.min()] - wide[wide.columns.max()])


def at_time(table: pd.DataFrame, t_frac: float) -> pd.DataFrame:
    """The rows at the timestep nearest to this fraction of T; none if it is further off than 0.02."""
    off = (table["t_frac"] - t_frac).abs()
    rows: pd.DataFrame = table[(off == off.min()) & (off <= 0.02)]
    return rows


def pseudo_values(pairs: pd.DataFrame, a: str, b: str, value: str) -> Values:
    """Jackknife pseudo-values of the mean over pairs, one per sample; their mean is that mean. Needs three samples."""
    values = pairs.dropna(subset=[value])
    samples = sorted({*values[a], *values[b]})
    n, mean = len(samples), values[value].mean()
    if n < 3:
        return np.array([])
    without = [values.loc[(values[a] != s) & (values[b] != s), value].mean() for s in samples]
    return np.asarray(n * mean - (n - 1) * np.array(without))


def pseudo_values_of_difference(a: Values, b: Values) -> Values:
    """Jackknife pseudo-values of mean(b) − mean(a) of two independent groups, one per member of either.

    Their mean is the difference, and Student's interval of them close to Welch's of the groups: of two groups of three
    or four it covers in 93 to 96 %, and :func:`judge`'s test finds a difference where there is none in 3 to 4 %.
    A group of one has no spread, so that the difference alone is left.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    difference = b.mean() - a.mean()
    if min(len(a), len(b)) < 2:
        return np.array([difference])
    others = len(a) + len(b) - 1
    spread = [side * others / (len(group) - 1) * (group - group.mean()) for side, group in ((-1, a), (1, b))]
    return np.asarray(difference + np.concatenate(spread))


def no_test(_: Tables) -> float:
    """The ``test`` of a measure that cannot be negative, or has no null: none."""
    return math.nan


def interval_of(mean: float, sd: float, pairs: int = 50) -> tuple[float, float]:
    """The 95 % interval of a published mean, its ± taken as a standard deviation over so many pairs."""
    half = 1.96 * sd / math.sqrt(pairs)
    return mean - half, mean + half
