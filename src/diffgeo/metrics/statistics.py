r"""Intervals and tests that turn a claim into a number.

A claim of the kind "a is larger than b" is tested on paired differences, one per sample or pair: its interval is the
percentile bootstrap of their mean, its p-value that of the one-sided sign test.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest, bootstrap

__all__ = ["mean_interval", "monte_carlo_p", "sign_test"]


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
        (mean, low, high); the ends are NaN for fewer than two values, and all three without any.
    """
    x = np.asarray(values, dtype=float)
    x = x[~np.isnan(x)]
    if len(x) == 0:
        return float("nan"), float("nan"), float("nan")
    if len(x) == 1:
        return float(x[0]), float("nan"), float("nan")
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
