r"""Intervals and tests that turn a claim into a number.

A claim of the kind "a is larger than b" is about the mean of paired differences d_1 … d_n, one per sample or pair. Its
interval is Student's, d̄ ± t_{n−1} s/√n. Its p-value is that of the sign-flip test (Fisher's randomisation test): if
the differences are symmetric about 0, every pattern of signs is equally likely, so that p is the share of the 2ⁿ
patterns whose mean is at least as far from 0. Several claims at once go by Benjamini and Hochberg's step-up, which
bounds the expected share of false verdicts. The percentile bootstrap, its BCa form and the sign test were compared with
them by simulation (``benchmarks/intervals.py``, table in docs/papers.md).

Statistics that are no mean (a score of codes against factors, say) are resampled whole, sample by sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import beta, false_discovery_control, norm, rankdata, t
from torch import Tensor

from diffgeo.errors import ShapeError, ValueRangeError

__all__ = [
    "DETECTABLE",
    "FEWEST",
    "INTERVAL_FROM",
    "SIGNIFICANT",
    "Estimate",
    "centred_ranks",
    "excludes",
    "false_discovery_rates",
    "holm",
    "mantel_test",
    "mean_interval",
    "monte_carlo_p",
    "pair_orders",
    "resample",
    "resample_all",
    "shuffled_correlations",
    "sign_flip_test",
    "win_interval",
]

Array = np.ndarray[Any, Any]
Features = Callable[[Array], Array]
"""What a rank correlation is the cosine of."""

SIGNIFICANT = 0.05
"""Largest p (of several claims: false discovery rate) with which a difference counts as shown."""
FEWEST = 6
"""Values with which the two-sided sign-flip test can reach that p at all: 2 · 0.5⁶ = 0.031."""
DETECTABLE = 0.8
"""Standardised effect, mean over standard deviation, that 15 values find with a power of 0.8: what samples are chosen
for, and what a claim that is not found has to exclude."""
INTERVAL_FROM = 4
"""Values from which an interval is given. Of three, Student's is 2.5 s wide to each side and rests on the normal law
alone; the percentile bootstrap, which statistics other than means have, is the range of three values or fewer."""
_LEVEL = 0.95
"""Confidence of bootstrap intervals."""
PATTERNS = 2**16
"""Patterns of signs: all of them up to 16 values, as many random ones beyond."""


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
    draws: int = 200,
    seed: int = 0,
    halves: bool = False,
) -> Estimate:
    """A statistic of whole samples, with its percentile-bootstrap interval of 95 %.

    A resample of the bootstrap holds samples twice, which spoils statistics that test on what they did not train on, or
    that count coincidences. ``halves`` takes random halves without replacement instead: their spread is that of the
    statistic (delete-half jackknife, Shao & Wu 1989), and the interval is value ± z · spread, cut to [0, 1] where the
    statistic and all its resamples lie there.

    Args:
        statistic: (tensors like ``samples``) → a number, NaN where it is not defined; it may raise
            :class:`ValueRangeError` on a resample that is degenerate (one sample drawn n times), never on all of them.
        samples: tensors with one sample a row, of one length n; rows are drawn together.
        draws: resamples.
        seed: of the resampling.
        halves: see above.

    Raises:
        ShapeError: the tensors have unequal lengths, or none is given.
        ValueRangeError: n = 0, or the statistic refuses the samples themselves.
    """
    return resample_all(lambda *rows: (statistic(*rows),), *samples, draws=draws, seed=seed, halves=halves)[0]


def resample_all(
    statistic: Callable[..., Sequence[float]],
    *samples: Tensor,
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
    return [_estimate(value, column, n, halves) for value, column in zip(values, columns, strict=True)]


def _estimate(value: float, drawn: np.ndarray[Any, Any], n: int, halves: bool) -> Estimate:
    kept = drawn[~np.isnan(drawn)]
    if math.isnan(value) or len(kept) < 2:
        return Estimate(value, math.nan, math.nan, n)
    if halves:
        reach = float(norm.ppf((1 + _LEVEL) / 2) * kept.std(ddof=1))
        low, high = value - reach, value + reach
        if 0 <= value <= 1 and kept.min() >= 0 and kept.max() <= 1:  # a share, as all scores of codes are
            low, high = max(low, 0.0), min(high, 1.0)
        return Estimate(value, low, high, n)
    low, high = np.quantile(kept, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Estimate(value, float(low), float(high), n)


def mean_interval(values: Sequence[float] | np.ndarray[Any, Any], *, level: float = 0.95) -> tuple[float, float, float]:
    """Mean and its Student interval.

    Args:
        values: independent measurements; NaN are left out.
        level: of confidence, in (0, 1).

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
    mean, reach = float(x.mean()), float(t.ppf((1 + level) / 2, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x)))
    return mean, mean - reach, mean + reach


def win_interval(values: Sequence[float] | np.ndarray[Any, Any], *, level: float = 0.95) -> tuple[float, float, float]:
    """Share of duels won less that of those lost, with Clopper and Pearson's interval, a tie counting as half a win.

    Student's interval of such values leaves [−1, 1], and has no width where one side wins all.

    Args:
        values: 1 for a duel won, −1 for one lost, 0 for a tie; means of several such count by their sum. NaN are left
            out.
        level: of confidence, in (0, 1).

    Returns:
        (mean, low, high), within [−1, 1]; ends as those of :func:`mean_interval` without enough values.
    """
    x = np.asarray(values, dtype=float)
    x = x[~np.isnan(x)]
    n, (mean, low, high) = len(x), mean_interval(x, level=level)
    if n < INTERVAL_FROM:
        return mean, low, high
    wins, tail = n * (mean + 1) / 2, (1 - level) / 2
    low = 2 * float(beta.ppf(tail, wins, n - wins + 1)) - 1 if wins > 0 else -1.0
    high = 2 * float(beta.ppf(1 - tail, wins + 1, n - wins)) - 1 if wins < n else 1.0
    return mean, low, high


def excludes(low: float, high: float, n: int) -> bool:
    """Whether a 95 % interval of a mean excludes an effect of :data:`DETECTABLE` standard deviations above 0.

    Args:
        low: lower end of Student's interval, from which the standard deviation follows.
        high: upper end.
        n: values.
    """
    if n < FEWEST or math.isnan(low):
        return False
    deviation = (high - low) / 2 * math.sqrt(n) / float(t.ppf(0.975, n - 1))
    return high <= DETECTABLE * deviation


def sign_flip_test(differences: Sequence[float] | np.ndarray[Any, Any]) -> float:
    """Two-sided p-value of a mean of 0: the share of patterns of signs whose mean is as far from 0 (Fisher 1935).

    Args:
        differences: independent, each symmetric about its mean if that is 0; NaN are left out.

    Returns:
        p in (0, 1], exact up to 16 values, from :data:`PATTERNS` random patterns beyond; NaN without values.
    """
    x = np.asarray(differences, dtype=float)
    x = x[~np.isnan(x)]
    if len(x) == 0:
        return float("nan")
    n, observed = len(x), abs(x.sum()) - 1e-9 * np.abs(x).sum()  # equal sums may differ by rounding
    if n <= 16:  # scipy.stats.permutation_test gives the same, in 0.8 s for n = 16 where this takes milliseconds
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return float((np.abs(signs @ x) >= observed).mean())
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(PATTERNS, n))
    return monte_carlo_p(observed, np.abs(signs @ x))


def false_discovery_rates(p: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's (1995) adjusted p-values q: of calls with q ≤ 0.05, 5 % err on average at most.

    Args:
        p: p-values in [0, 1]; NaN stay NaN and do not count.

    Returns:
        q of each, in the order given.
    """
    found = np.asarray(p, dtype=float)
    known = ~np.isnan(found)
    if known.any():
        found[known] = false_discovery_control(found[known])
    return [float(value) for value in found]


def holm(p: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p-values: of calls at 0.05, any is false with a probability of 5 % at most.

    Args:
        p: p-values in [0, 1]; NaN stay NaN and do not count.

    Returns:
        The adjusted value of each, in the order given.
    """
    found = np.asarray(p, dtype=float)
    order = np.argsort(found)[: int((~np.isnan(found)).sum())]
    times = np.arange(len(order), 0, -1)
    found[order] = np.minimum(1, np.maximum.accumulate(times * found[order]))
    return [float(value) for value in found]


def centred_ranks(values: Array) -> Array:
    """Ranks less their mean, shape as ``values``: the cosine of two of these is Spearman's ρ."""
    ranks: Array = rankdata(values) - (len(values) + 1) / 2
    return ranks


def pair_orders(values: Array) -> Array:
    """Signs of all differences of n values, shape (n²,): the cosine of two of these is Kendall's τ_b."""
    signs: Array = np.sign(values[:, None] - values[None, :]).ravel()
    return signs


def mantel_test(
    reference: Array, matrices: Sequence[Array], features: Features, *, draws: int = 999, seed: int = 0
) -> tuple[Array, float]:
    """Do matrices of distances go with a reference between the same things (Mantel 1967)?

    Args:
        reference: as :func:`shuffled_correlations`; so are the others.
        matrices: symmetric, shape (k, k) each.
        features: :func:`centred_ranks` or :func:`pair_orders`.
        draws: orders of the things.
        seed: of the orders.

    Returns:
        (correlation of each matrix, 0 if it or the reference is constant; two-sided p of their mean).
    """
    found, null = (
        np.nan_to_num(one) for one in shuffled_correlations(reference, matrices, features, draws=draws, seed=seed)
    )
    return found, monte_carlo_p(abs(found.mean()), np.abs(null.mean(axis=1)))


def shuffled_correlations(
    reference: Array, matrices: Sequence[Array], features: Features, *, draws: int, seed: int
) -> tuple[Array, Array]:
    """Rank correlations of matrices with a reference between the same things, and the null's.

    The pairs of k things are not independent, and matrices of several samples share the things: the null shuffles the
    things, in all matrices alike. Sums of ranks and signs are exact, so that equal orders are ties.

    Args:
        reference: symmetric, shape (k, k), k ≥ 3.
        matrices: symmetric, shape (k, k) each, S of them.
        features: :func:`centred_ranks` (Spearman's ρ) or :func:`pair_orders` (Kendall's τ_b).
        draws: orders of the things.
        seed: of the orders.

    Returns:
        (shape (S,), shape (draws, S)); NaN of a matrix, or a reference, that is constant.
    """
    upper, random = np.triu_indices(len(reference), 1), np.random.default_rng(seed)
    theirs, ours = np.stack([features(matrix[upper]) for matrix in matrices]), features(reference[upper])
    lengths = np.sqrt((theirs**2).sum(axis=1) * (ours @ ours))

    def each(order: Array) -> Array:
        return theirs @ features(reference[order][:, order][upper])

    orders = (random.permutation(len(reference)) for _ in range(draws))
    with np.errstate(invalid="ignore"):
        return theirs @ ours / lengths, np.stack([each(order) for order in orders]) / lengths


def monte_carlo_p(observed: float, null: np.ndarray[Any, Any]) -> float:
    """P-value of an observation under draws of the null, (1 + #{null ≥ observed}) / (1 + #draws); NaN of NaN."""
    if np.isnan(observed):
        return float("nan")
    return float((1 + (null >= observed).sum()) / (1 + len(null)))
