r"""Intervals and tests that turn a claim into a number.

A claim of the kind "a is larger than b" is tested on paired differences, one per sample or pair: its interval is the
percentile bootstrap of their mean, its p-value that of the one-sided sign test. Statistics that are no mean (a score of
codes against factors, say) are resampled whole, sample by sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import binomtest, bootstrap, norm
from torch import Tensor

from diffgeo.errors import ShapeError, ValueRangeError

__all__ = [
    "FEWEST",
    "INTERVAL_FROM",
    "SIGNIFICANT",
    "Estimate",
    "mean_interval",
    "monte_carlo_p",
    "resample",
    "resample_all",
    "sign_test",
]


SIGNIFICANT = 0.05
"""Largest p of the sign test with which a difference counts as shown, beside its interval."""
FEWEST = 5
"""Values with which the sign test can reach that p at all: 0.5⁵ = 0.031."""
INTERVAL_FROM = 4
"""Values from which an interval is given. The 2.5 % quantile of all resamples of n values is their smallest while
n⁻ⁿ > 0.025, which is for n ≤ 3: the "interval" is then the range of the values, whatever they say."""


class Estimate(NamedTuple):
    """A measured number with its bootstrap interval.

    Attributes:
        value: the statistic of all samples.
        low: lower end of the interval; NaN for fewer than :data:`INTERVAL_FROM` samples, or if no two
            resamples give one.
        high: upper end.
        n: samples.
    """

    value: float
    low: float
    high: float
    n: int

    def __float__(self) -> float:
        return self.value


def resample(
    statistic: Callable[..., float],
    *samples: Tensor,
    level: float = 0.95,
    draws: int = 200,
    seed: int = 0,
    halves: bool = False,
) -> Estimate:
    """A statistic of whole samples, with its percentile-bootstrap interval.

    A resample of the bootstrap holds samples twice, which spoils statistics that test on what they did not train on, or
    that count coincidences. ``halves`` takes random halves without replacement instead: their spread is that of the
    statistic (delete-half jackknife, Shao & Wu 1989), and the interval is value ± z · spread, cut to [0, 1] where the
    statistic and all its resamples lie there.

    Args:
        statistic: (tensors like ``samples``) → a number, NaN where it is not defined; it may raise
            :class:`ValueRangeError` on a resample that is degenerate (one sample drawn n times), never on all of them.
        samples: tensors with one sample a row, of one length n; rows are drawn together.
        level: of confidence, in (0, 1).
        draws: resamples.
        seed: of the resampling.
        halves: see above.

    Raises:
        ShapeError: the tensors have unequal lengths, or none is given.
        ValueRangeError: n = 0, or the statistic refuses the samples themselves.
    """
    return resample_all(
        lambda *rows: (statistic(*rows),), *samples, level=level, draws=draws, seed=seed, halves=halves
    )[0]


def resample_all(
    statistic: Callable[..., Sequence[float]],
    *samples: Tensor,
    level: float = 0.95,
    draws: int = 200,
    seed: int = 0,
    halves: bool = False,
) -> list[Estimate]:
    """Several numbers that one costly computation gives together; see :func:`resample`.

    ``scipy.stats.bootstrap`` stops at a resample that the statistic refuses, gives no interval if one is NaN, and knows
    no halves; without those it draws the same rows, and its interval is the same.
    """
    if not samples or any(len(x) != len(samples[0]) for x in samples):
        raise ShapeError(f"samples have lengths {[len(x) for x in samples]}", "expected one length")
    n = len(samples[0])
    if n == 0:
        raise ValueRangeError("a statistic of no sample is not defined", "give at least one sample")
    values = [float(value) for value in statistic(*samples)]
    if n < INTERVAL_FROM or all(math.isnan(value) for value in values):
        return [Estimate(value, math.nan, math.nan, n) for value in values]
    random, found = np.random.default_rng(seed), []
    for _ in range(draws):
        rows = random.permutation(n)[: n // 2] if halves else random.integers(n, size=n)
        try:
            found.append([float(value) for value in statistic(*(x[rows] for x in samples))])
        except ValueRangeError:  # a degenerate resample says nothing
            continue
    columns = np.asarray(found).reshape(len(found), len(values)).T
    return [_estimate(value, column, n, level, halves) for value, column in zip(values, columns, strict=True)]


def _estimate(value: float, drawn: np.ndarray[Any, Any], n: int, level: float, halves: bool) -> Estimate:
    kept = drawn[~np.isnan(drawn)]
    if math.isnan(value) or len(kept) < 2:
        return Estimate(value, math.nan, math.nan, n)
    if halves:
        reach = float(norm.ppf((1 + level) / 2) * kept.std(ddof=1))
        low, high = value - reach, value + reach
        if 0 <= value <= 1 and kept.min() >= 0 and kept.max() <= 1:  # a share, as all scores of codes are
            low, high = max(low, 0.0), min(high, 1.0)
        return Estimate(value, low, high, n)
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high), n)


def mean_interval(
    values: Sequence[float] | np.ndarray[Any, Any], *, level: float = 0.95, draws: int = 4000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean and its percentile-bootstrap interval.

    Args:
        values: independent measurements; NaN are left out.
        level: of confidence, in (0, 1).
        draws: bootstrap resamples.
        seed: of the resampling.

    Returns:
        (mean, low, high); the ends are NaN for fewer than :data:`INTERVAL_FROM` values, and all three without any.
    """
    x = np.asarray(values, dtype=float)
    x = x[~np.isnan(x)]
    if len(x) == 0:
        return float("nan"), float("nan"), float("nan")
    if len(x) < INTERVAL_FROM:
        return float(x.mean()), float("nan"), float("nan")
    if np.ptp(x) == 0:
        return float(x[0]), float(x[0]), float(x[0])
    found = bootstrap((x,), np.mean, confidence_level=level, n_resamples=draws, method="percentile", rng=seed)
    return float(x.mean()), float(found.confidence_interval.low), float(found.confidence_interval.high)


def sign_test(differences: Sequence[float] | np.ndarray[Any, Any]) -> tuple[float, float]:
    """Share of positive differences, and the one-sided p-value of that many under a fair coin; zeros are left out.

    Returns:
        (share in [0, 1], p); both NaN where every difference is 0 or NaN.
    """
    x = np.asarray(differences, dtype=float)
    x = x[(x != 0) & ~np.isnan(x)]
    if len(x) == 0:
        return float("nan"), float("nan")
    positive = int((x > 0).sum())
    return positive / len(x), float(binomtest(positive, len(x), alternative="greater").pvalue)


def monte_carlo_p(observed: float, null: np.ndarray[Any, Any]) -> float:
    """P-value of an observation under draws of the null, (1 + #{null ≥ observed}) / (1 + #draws); NaN of NaN."""
    if np.isnan(observed):
        return float("nan")
    return float((1 + (null >= observed).sum()) / (1 + len(null)))
