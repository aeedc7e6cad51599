"""How often intervals hold the mean, and tests find an effect: the simulation behind the claims' statistics.

    python benchmarks/intervals.py

prints, for samples of n values from several distributions, the coverage of three 95 % intervals of the mean, and how
often two tests at 5 % reject, without an effect (level) and with one of 0.8 standard deviations (power). The table in
docs/papers.md is its output.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.stats import binomtest, bootstrap

from diffgeo.metrics.statistics import SIGNIFICANT, mean_interval, sign_flip_test

Values = np.ndarray[Any, Any]
EFFECT = 0.8


def _pairs(random: np.random.Generator, n: int) -> Values:
    """Pseudo-values of a mean over all pairs of n samples, as overlaps and distances have them."""
    from pandas import DataFrame

    from diffgeo.claims import pseudo_values

    own = random.normal(size=n)
    a, b = np.triu_indices(n, 1)
    value = own[a] + own[b] + 0.5 * random.normal(size=len(a))
    return pseudo_values(DataFrame({"a": a, "b": b, "value": value}), "a", "b", "value") / 2


DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, int], Values]] = {
    "normal": lambda random, n: random.normal(size=n),
    "skewed (exponential)": lambda random, n: random.exponential(size=n) - 1,
    "heavy tails (t, 3 degrees)": lambda random, n: random.standard_t(3, size=n) / math.sqrt(3),
    "two groups": lambda random, n: random.choice([-1.0, 1.0], size=n) + 0.3 * random.normal(size=n),
    "pairs of n samples": _pairs,
}
"""Centred, with a standard deviation of about 1."""


def _bootstrap(values: Values, method: str) -> tuple[float, float]:
    found = bootstrap((values,), np.mean, n_resamples=1000, method=method, rng=0).confidence_interval
    return float(found.low), float(found.high)


def row(name: str, n: int, repeats: int, *, seed: int = 0) -> dict[str, Any]:
    """Coverage, level and power, each in [0, 1], from this many samples of n values."""
    random, draw = np.random.default_rng(seed), DISTRIBUTIONS[name]
    found: dict[str, list[bool]] = {}
    for _ in range(repeats):
        x = draw(random, n)
        intervals = {"Student": mean_interval(x)[1:]}
        intervals |= {method: _bootstrap(x, method) for method in ("percentile", "BCa")}
        for method, (low, high) in intervals.items():
            found.setdefault(f"coverage {method}", []).append(low <= 0 <= high)
        for what, shifted in (("level", x), ("power", x + EFFECT)):
            found.setdefault(f"{what} sign flips", []).append(sign_flip_test(shifted) <= SIGNIFICANT)
            signs = binomtest(int((shifted > 0).sum()), n).pvalue
            found.setdefault(f"{what} signs", []).append(signs <= SIGNIFICANT)
    return {"distribution": name, "n": n, **{key: float(np.mean(hits)) for key, hits in found.items()}}


def rows(repeats: int) -> Iterator[dict[str, Any]]:
    """All of the table."""
    for name in DISTRIBUTIONS:
        for n in (8, 16, 24):
            yield row(name, n, repeats)


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=2000, help="samples drawn for every row")
    for i, found in enumerate(rows(parser.parse_args().repeats)):
        if i == 0:
            print("| " + " | ".join(found) + " |\n" + "|---" * len(found) + "|", flush=True)
        cells = [f"{value:.3f}" if isinstance(value, float) else str(value) for value in found.values()]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
