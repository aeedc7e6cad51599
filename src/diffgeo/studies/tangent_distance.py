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
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pandas as pd
import torch

from diffgeo.config import TangentDistanceConfig
from diffgeo.geometry import choose_rank, grassmann_distance, soft_distance
from diffgeo.results import Result
from diffgeo.studies.context import Context
from diffgeo.svd import LocalBasis

__all__ = ["common_rank", "distances", "run"]

Place = tuple[int, float]
"""(sample, fraction of T)."""


def run(context: Context, cfg: TangentDistanceConfig) -> Result:
    """Distances between the run's local bases, and the controls on the first ``cfg.controls`` samples."""
    times = context.edit_times
    places = [(sample, t_frac, t) for sample in context.samples for t_frac, t in times]
    own: dict[Place, LocalBasis] = {}
    for sample, t_frac, t in context.track(places, "tangent distance"):
        own[sample.index, t_frac] = context.basis(sample, t)
    if not own:
        return Result("tangent_distance", pd.DataFrame())
    n = common_rank(list(own.values()), cfg.rank, cfg.rule)
    x_fixed: dict[Place, LocalBasis] = {}
    t_fixed: dict[Place, LocalBasis] = {}
    top = max(t for _, t in times)
    # one more than n, so that the gap behind it is known
    rank = min(n + 1, context.cfg.svd.rank)
    for sample, t_frac, t in context.track([p for p in places if p[0].index < cfg.controls], "controls"):
        here = (sample.index, t_frac)
        if t == top:
            x_fixed[here] = t_fixed[here] = own[here]
            continue
        x_fixed[here] = context.basis_at(context.latent(sample, top), t, rank=rank)
        t_fixed[here] = context.basis_at(context.latent(sample, t), top, rank=rank)
    rows = [
        *_rows("sample", own, n, lambda a, b: a[1] == b[1]),
        *_rows("time", own, n, lambda a, b: a[0] == b[0]),
        *_rows("x_fixed", x_fixed, n, lambda a, b: a[0] == b[0]),
        *_rows("t_fixed", t_fixed, n, lambda a, b: a[0] == b[0]),
    ]
    table = pd.DataFrame(rows)
    return Result("tangent_distance", table, {} if table.empty else _scalars(table))


def common_rank(bases: list[LocalBasis], target: int, rule: str) -> int:
    """One n for many bases: ``rule`` of :func:`diffgeo.geometry.choose_rank` on their mean spectrum, each over its s_1.

    Args:
        bases: of one run.
        target: the wanted n; lowered to the smallest rank.
        rule: ``fixed``, ``share`` or ``gap``.
    """
    most = min(b.rank for b in bases)
    mean = torch.stack([(b.s[:most] / b.s[0]).double().cpu() for b in bases]).mean(dim=0)
    target = min(target, most)
    # a share is of the target's energy; the gap rule looks beyond
    return choose_rank(mean[:target] if rule == "share" else mean, target, rule=rule)


def distances(first: LocalBasis, second: LocalBasis) -> dict[str, float]:
    """Every way to say how far two tangent spaces are apart, with the gaps that tell how well they are defined."""
    return {
        "distance": grassmann_distance(first.U, second.U),
        "distance_normalized": grassmann_distance(first.U, second.U, normalized=True),
        "distance_soft": soft_distance(first, second),
        "gap_a": first.certificate.gap,
        "gap_b": second.certificate.gap,
    }


def _rows(kind: str, bases: dict[Place, LocalBasis], n: int, paired: Any) -> Iterator[dict[str, Any]]:
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
