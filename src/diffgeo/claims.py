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

from diffgeo.metrics.statistics import SIGNIFICANT, mean_interval, sign_test

__all__ = ["Claim", "Verdict", "judge"]

Values = np.ndarray[Any, Any]
Tables = Mapping[str, pd.DataFrame]
Verdict = Literal["holds", "fails", "not comparable"]
CELEBAHQ = "celebahq"
"""What the source of a model must contain for numbers published on CelebA-HQ to compare with."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One line of the papers.

    Attributes:
        source: paper with table or figure.
        experiment: file under ``conf/experiment/``, without suffix; of another package's study, any name.
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


def first_last(table: pd.DataFrame, index: str | list[str], time: str, value: str) -> Values:
    """Value at the lowest timestep minus value at the highest, one a unit."""
    wide = table.pivot_table(index=index, columns=time, values=value)
    return np.asarray(wide[wide.columns.min()] - wide[wide.columns.max()])


def pseudo_values(pairs: pd.DataFrame, a: str, b: str, value: str) -> Values:
    """Jackknife pseudo-values of the mean over pairs, one a sample; their mean is that mean. Needs three samples."""
    values = pairs.dropna(subset=[value])
    samples = sorted({*values[a], *values[b]})
    n, mean = len(samples), values[value].mean()
    if n < 3:
        return np.array([])
    without = [values.loc[(values[a] != s) & (values[b] != s), value].mean() for s in samples]
    return np.asarray(n * mean - (n - 1) * np.array(without))


def interval_of(mean: float, sd: float, pairs: int = 50) -> tuple[float, float]:
    half = 1.96 * sd / math.sqrt(pairs)
    return mean - half, mean + half


def place(claim: Claim) -> tuple[str, bool, int, str]:
    """Orders claims as the papers do: by paper, tables before figures, both by number."""
    paper, _, item = claim.experiment.partition("/")
    digits = "".join(character for character in item if character.isdigit())
    return paper, not item.startswith("table"), int(digits or 0), item
