r"""Distances of tangent spaces (P23b): between samples, between timesteps, and what each depends on.

With T_h(x, t) the tangent space of dimension n at x under the feature map of timestep t, and x_t sample x's latent:

    kind        first             second            tells
    sample      T_h(x_t, t)       T_h(y_t, t)       how alike samples are at t
    time        T_h(x_t, t)       T_h(x_s, s)       how alike timesteps are along a sample
    x_fixed     T_h(x_T, t)       T_h(x_T, s)       control: only the network's timestep varies
    t_fixed     T_h(x_t, T)       T_h(x_s, T)       control: only the latent varies

One row per pair: the Grassmann distance, its share of the largest possible, the distance with a soft cut, and the gaps
behind the n-th singular values, since a small gap leaves the last direction undefined. One n serves all rows: fixed, or
chosen on the mean spectrum by ``rule``.

Second table ``tangent_distance_times``, one row per (kind, sample) of those that vary timesteps, from three timesteps
on: Kendall's τ_b of |t − s| and the distance, the largest τ_b that the ties of |t − s| allow, the slope of the
distance's share of the largest one by |t − s|/T, and the p-value of Mantel's test, which shuffles timesteps.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from diffgeo.metrics.statistics import monte_carlo_p, pair_orders, shuffled_correlations
from diffgeo.results import Result, Row
from diffgeo.session import Context
from diffgeo.studies.shared.tangent_spaces import common_rank, distances
from diffgeo.studies.tangent_distance.settings import TangentDistanceConfig
from diffgeo.svd import LocalBasis

SHUFFLES = 999
"""Of timesteps: the smallest p is 0.001."""
SampleAndTime = tuple[int, float]
"""(sample, fraction of T)."""


def run(context: Context, cfg: TangentDistanceConfig) -> Result:
    """Distances between the run's local bases, and the controls on the first ``cfg.controls`` samples."""
    times = context.edit_times
    places = [(sample, t_frac, t) for sample in context.samples for t_frac, t in times]
    own: dict[SampleAndTime, LocalBasis] = {}
    for sample, t_frac, t in context.track(places, "tangent distance"):
        own[sample.index, t_frac] = context.bases.of(sample, t)
    if not own:
        return Result("tangent_distance", pd.DataFrame())
    n = common_rank(list(own.values()), cfg.rank, cfg.rule)
    x_fixed: dict[SampleAndTime, LocalBasis] = {}
    t_fixed: dict[SampleAndTime, LocalBasis] = {}
    top = max(t for _, t in times)
    # one more than n, so that the gap behind it is known
    rank = min(n + 1, context.cfg.svd.rank)
    for sample, t_frac, t in context.track([p for p in places if p[0].index < cfg.controls], "controls"):
        here = (sample.index, t_frac)
        if t == top:
            x_fixed[here] = t_fixed[here] = own[here]
            continue
        x_fixed[here] = context.bases.at(context.latents.of(sample, top), t, rank=rank)
        t_fixed[here] = context.bases.at(context.latents.of(sample, t), top, rank=rank)
    rows = [
        *_rows("sample", own, n, lambda a, b: a[1] == b[1]),
        *_rows("time", own, n, lambda a, b: a[0] == b[0]),
        *_rows("x_fixed", x_fixed, n, lambda a, b: a[0] == b[0]),
        *_rows("t_fixed", t_fixed, n, lambda a, b: a[0] == b[0]),
    ]
    table = pd.DataFrame(rows)
    trends = pd.DataFrame(_trends(table)) if len(table) else table
    more = {"times": trends} if len(trends) else {}
    return Result("tangent_distance", table, {} if table.empty else _scalars(table), more_tables=more)


def _trends(table: pd.DataFrame) -> Iterator[Row]:
    for (kind, sample), part in table[table["kind"] != "sample"].groupby(["kind", "sample_a"], sort=False):
        times = sorted({*part["t_frac_a"], *part["t_frac_b"]})
        if len(times) < 3:
            continue
        far = np.zeros((len(times), len(times)))
        a, b = (part[column].map(times.index).to_numpy() for column in ("t_frac_a", "t_frac_b"))
        far[a, b] = far[b, a] = part["distance_normalized"]
        yield {"kind": kind, "sample": sample, **trend_over_times(np.array(times), far)}


def trend_over_times(times: np.ndarray[Any, Any], distances: np.ndarray[Any, Any]) -> dict[str, float]:
    """Do nearer timesteps have nearer tangent spaces?

    Args:
        times: fractions of T, shape (k,), k ≥ 3.
        distances: between them, symmetric, shape (k, k).

    Returns:
        ``timesteps`` k; ``tau`` Kendall's τ_b of |t − s| and distance over pairs; ``tau_max`` what it is at most, if no
        two distances are equal; ``slope`` of the distance by |t − s|; ``p`` of Mantel's test (1967), one-sided.
    """
    upper = np.triu_indices(len(times), 1)
    apart = np.abs(times[:, None] - times[None, :]).round(6)
    values = distances[upper]

    found, null = shuffled_correlations(apart, [distances], pair_orders, draws=SHUFFLES, seed=0)
    ordered = np.argsort(apart[upper], kind="stable").argsort()
    return {
        "timesteps": len(times),
        "tau": float(kendalltau(apart[upper], values).statistic),
        "tau_max": float(kendalltau(apart[upper], ordered).statistic),
        "slope": float(np.polyfit(apart[upper], values, 1)[0]),
        "p": monte_carlo_p(found[0], null[:, 0]),
    }


def _rows(kind: str, bases: dict[SampleAndTime, LocalBasis], n: int, paired: Any) -> Iterator[Row]:
    cut = {place: basis.truncated(n) for place, basis in bases.items()}
    for a, b in combinations(cut, 2):
        if paired(a, b):
            places = {"sample_a": a[0], "sample_b": b[0], "t_frac_a": a[1], "t_frac_b": b[1]}
            yield {"kind": kind, **places, "rank": n, **distances(cut[a], cut[b])}


def _scalars(table: pd.DataFrame) -> dict[str, float]:
    scalars: dict[str, float] = {"rank": float(table["rank"].iloc[0])}
    samples = table[table["kind"] == "sample"]
    for t_frac, part in samples.groupby("t_frac_a", sort=False):
        scalars[f"between_samples/t_{t_frac:g}"] = float(part["distance_normalized"].mean())
    for kind in ("time", "x_fixed", "t_fixed"):
        part = table[table["kind"] == kind]
        if len(part):
            scalars[f"{kind}/mean"] = float(part["distance_normalized"].mean())
    return scalars
