r"""Curvedness of paths between two samples (P23a, section 3.4, Table 1 and Fig. 7).

Paths of L segments from x⁽¹⁾ to x⁽²⁾, two samples' latents at one timestep:

    lerp, slerp    through the chord, along the sphere
    shooting       aimed at h⁽²⁾ at the start, pieces equal in H (see :func:`diffgeo.geometry.shoot_between`)
    pursuit        the same, aimed anew at every point
    shooting_x     the same as shooting with pieces equal in X, as long together as slerp: a control
    geodesic       fixed ends, least pullback energy, from slerp

A pooling has one n for all its paths: walks step within tangent spaces of n directions, and lengths are those of the
same tangent spaces. The rules ``share`` and ``gap`` choose n by the spectra at the ends of the paths, as the points
between them are not known before n is.

Main table, one row per (pair, pooling, path): the semantic path length Σ_l D_geo and its form with a soft cut; the
perceptual path length (mean distance of neighbouring decoded points); the lengths in X and in H; where the path ends,
relative to ‖h⁽²⁾ − h⁽¹⁾‖ and ‖x⁽²⁾ − x⁽¹⁾‖ (0 for paths with fixed ends); the range of ‖x‖/√d, which is 1 where the
network has seen latents; and the smallest spectral gap behind n on the way. How far the decoded
points stray from the straight line between the ends (:func:`diffgeo.geometry.chord_deviation`) is told by two columns:
``attribute_deviation`` in a predictor's attributes, and, if the data are known in closed form, ``z_deviation`` in the
factors of the nearest portraits (glasses are left out, as they are there or not) with ``off_data``, the mean distance
from these. Second table ``curvedness_segments``: the same by segment (Fig. 7c).

Third table ``curvedness_flatness``, one row per (pair, pooling, path, metric): the flatness ratio R of the path under
the pullback by whole h, by pooled h, by x̂0, and by the score −ε/b (:func:`diffgeo.geometry.flatness_ratio`): 1 if the
metric is flat along the path; and ``bend``, how far the path's image strays from the straight line between the images
of its ends (:func:`diffgeo.geometry.chord_deviation`), whatever its pace. The column ``pool`` says in which metric the
path was made, ``metric`` in which R is. ``flatness_ratio_linear`` and ``bend_linear`` are the flat null: the same path
under f linearised at x⁽¹⁾, x ↦ f(x⁽¹⁾) + J (x − x⁽¹⁾), for h whole and pooled (NaN for x̂0 and the score). There
lerp has R = 1 and no bend, to rounding, and every other path with its ends has more.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd
import torch
from torch import Tensor

from diffgeo.config import FeatureConfig
from diffgeo.data.factor_faces import FACTOR_NAMES
from diffgeo.data.tangent import continuous_factors
from diffgeo.diffusion.feature_map import FeatureMap
from diffgeo.geometry import (
    boundary_value_geodesic,
    chord_deviation,
    curvedness,
    flatness_ratio,
    lerp,
    shoot_between,
    slerp,
)
from diffgeo.results import Result, Row
from diffgeo.session import Context, Sample
from diffgeo.session.bases import MapName
from diffgeo.studies.curvedness.settings import CurvednessConfig
from diffgeo.studies.shared.tangent_spaces import common_rank
from diffgeo.svd import LocalBasis

log = logging.getLogger(__name__)

METRIC_OF_POOL = {"none": "h", "sum": "pooled_h"}
"""Pooling of h → the metric that it pulls back."""


@dataclass(frozen=True, slots=True)
class _Path:
    """One path with its bases of n directions."""

    pair: int
    samples: tuple[Sample, Sample]
    pool: str
    name: str
    points: Tensor
    h: Tensor
    goal: tuple[Tensor, Tensor]  # x⁽²⁾ and h⁽²⁾, flat
    bases: list[LocalBasis]
    extra: dict[str, float]


def run(context: Context, cfg: CurvednessConfig) -> Result:
    """Walk every path between samples (0, 1), (2, 3), … and measure how the tangent spaces turn on the way.

    Fewer pairs than asked for where there are fewer pictures; without two of them the result is empty, and a warning
    says so.
    """
    samples = context.samples.first(2 * cfg.pairs)
    if len(samples) < 2:
        log.warning("curvedness was left out: it needs 2 pictures, data.images holds %d", len(samples))
    [(_, t)] = context.times_of([cfg.t_frac], "study.curvedness.t_frac")
    pairs = [(i, samples[2 * i], samples[2 * i + 1], pool) for i in range(len(samples) // 2) for pool in cfg.pools]
    ranks = {pool: _ranks(context, cfg, t, samples[: 2 * (len(samples) // 2)], pool) for pool in cfg.pools if pairs}
    paths: list[_Path] = []
    for i, first, second, pool in context.track(pairs, "curvedness"):
        paths += _walk(context, cfg, t, i, (first, second), pool, ranks[pool])
    rows: list[Row] = []
    segments: list[Row] = []
    flatness: list[Row] = []
    for path in context.track(paths, "path lengths"):
        row, parts = _measure(context, cfg, t, path)
        rows.append(row)
        segments += parts
        flatness += _flatness(context, t, path)
    table = pd.DataFrame(rows)
    if not rows:
        return Result("curvedness", table)
    more = {"segments": pd.DataFrame(segments), "flatness": pd.DataFrame(flatness)}
    return Result("curvedness", table, _scalars(table, more["flatness"]), {}, more)


def _ranks(context: Context, cfg: CurvednessConfig, t: int, samples: Sequence[Sample], pool: str) -> tuple[int, int]:
    """N of one pooling, as given or by the rule from the spectra at the ends; and how many directions are computed."""
    xs = [context.latents.of(sample, t) for sample in samples]
    feature = _feature(context, pool)
    m = context.bases.feature_map(t, feature)(xs[0]).numel()
    # the gap rule looks beyond n; one more direction tells the gap behind a fixed n
    rank = math.ceil(1.3 * cfg.rank) + 1 if cfg.rule == "gap" else cfg.rank + 1
    rank = min(rank, m, context.model.latent_size)
    if cfg.rule == "fixed":
        return min(cfg.rank, rank), rank
    # one at a time, keeping the spectra alone: the V of all samples of a paper-sized run would fill a machine
    slim = [_slim(context.bases.at(x, t, feature=feature, rank=rank, tol=cfg.tol)) for x in xs]
    return common_rank(slim, cfg.rank, cfg.rule), rank


def _feature(context: Context, pool: str) -> FeatureConfig:
    """The run's feature map with another pooling."""
    return replace(context.cfg.feature, pool=None if pool == "none" else pool)


def _slim(basis: LocalBasis) -> LocalBasis:
    """The part in H alone, on the CPU."""
    return replace(basis, V=basis.V[:0].clone(), U=basis.U.cpu(), s=basis.s.cpu())


def _walk(
    context: Context,
    cfg: CurvednessConfig,
    t: int,
    pair: int,
    samples: tuple[Sample, Sample],
    pool: str,
    ranks: tuple[int, int],
) -> list[_Path]:
    """Every path of one pair in one pooling, with tangent spaces of n directions; ``ranks`` as :func:`_ranks`."""
    feature, (n, rank) = _feature(context, pool), ranks
    f = context.bases.feature_map(t, feature)

    def bases_at(*xs: Tensor) -> list[LocalBasis]:
        found = context.bases.at_each(xs, t, feature=feature, rank=rank, tol=cfg.tol)
        return [basis.truncated(n) for basis in found]  # the certificate keeps the gap behind n

    a, b = (context.latents.of(sample, t) for sample in samples)
    ends = bases_at(a, b)
    goal = b.flatten().double(), _features(f, b[None])[0].double()
    weights = torch.linspace(0, 1, cfg.segments + 1)
    arc = slerp(a, b, weights)
    arc_length = (arc[1:] - arc[:-1]).flatten(1).norm(dim=1).sum().item()
    shots: dict[str, Row] = {
        "shooting": {},
        "pursuit": {"aim": "pursuit"},
        "shooting_x": {"x_length": arc_length},
    }
    paths: list[_Path] = []
    for name in cfg.paths:
        extra: dict[str, float] = {}
        if name in shots:
            shot = shoot_between(
                f, lambda x: ends[0] if x is a else bases_at(x)[0], a, b, segments=cfg.segments, **shots[name]
            )
            points, bases = shot.points, shot.bases
        else:
            if name == "geodesic":
                found = boundary_value_geodesic(f, arc)
                points = found.points
                extra = {"energy_start": found.energies[0], "energy": found.energies[-1]}
            else:
                points = lerp(a, b, weights) if name == "lerp" else arc
            bases = [ends[0], *bases_at(*points[1:-1]), ends[1]]
        slim = [_slim(basis) for basis in bases]  # what follows looks at H alone
        paths.append(_Path(pair, samples, pool, name, points, _features(f, points), goal, slim, extra))
    return paths


def _features(f: FeatureMap, points: Tensor) -> Tensor:
    with torch.no_grad():
        return f(points).flatten(1)


def _measure(context: Context, cfg: CurvednessConfig, t: int, path: _Path) -> tuple[Row, list[Row]]:
    bases, n = path.bases, path.bases[0].rank
    hard, soft = curvedness(bases), curvedness(bases, soft=True)
    x, h = path.points.flatten(1).double(), path.h.double()
    x_steps, h_steps = (x[1:] - x[:-1]).norm(dim=1), (h[1:] - h[:-1]).norm(dim=1)
    goal_x, goal_h = path.goal
    norms = x.norm(dim=1) / math.sqrt(x.shape[1])
    gaps = torch.tensor([basis.certificate.gap for basis in bases])
    measure, perceptual = context.perceptual, torch.full((len(hard),), float("nan"))
    strays: Row = {}
    if cfg.perceptual:
        pictures = context.decoder(path.points, t, path.samples[0])
        perceptual = measure(pictures[:-1], pictures[1:])
        strays = _strays(context, pictures)
    where = _where(context, t, path) | {"rank": n}
    row = {
        **where,
        "start": path.samples[0].name,
        "end": path.samples[1].name,
        "segments": len(hard),
        "length": hard.sum().item(),
        "length_soft": soft.sum().item(),
        "perceptual_length": perceptual.mean().item(),
        "perceptual_measure": measure.name,
        "x_length": x_steps.sum().item(),
        "h_length": h_steps.sum().item(),
        "miss_h": ((h[-1] - goal_h).norm() / (goal_h - h[0]).norm()).item(),
        "miss_x": ((x[-1] - goal_x).norm() / (goal_x - x[0]).norm()).item(),
        **strays,
        "norm_min": norms.min().item(),
        "norm_max": norms.max().item(),
        "gap_min": gaps.min().item(),
        "energy_start": path.extra.get("energy_start", float("nan")),
        "energy": path.extra.get("energy", float("nan")),
    }
    segments = [
        {
            **where,
            "segment": i,
            "position": (i + 0.5) / len(hard),
            "curvedness": hard[i].item(),
            "curvedness_soft": soft[i].item(),
            "perceptual": perceptual[i].item(),
            "x_step": x_steps[i].item(),
            "h_step": h_steps[i].item(),
            "norm": norms[i + 1].item(),
            "gap": gaps[i + 1].item(),
        }
        for i in range(len(hard))
    ]
    return row, segments


def _strays(context: Context, pictures: Tensor) -> Row:
    """How far a path's pictures stray from the straight line between its ends, in attributes and in true factors."""
    found: Row = {}
    if context.predictor is not None:
        found["attribute_deviation"] = chord_deviation(context.predictor(pictures))
    if context.data_distance is not None:
        fit = context.data_distance.fit(pictures)
        columns = [FACTOR_NAMES.index(name) for name in continuous_factors(context.known_factors)]
        found |= {"z_deviation": chord_deviation(fit.z[:, columns]), "off_data": fit.residual.mean().item()}
    return found


def _where(context: Context, t: int, path: _Path) -> Row:
    """Columns that tell a path in every table."""
    t_frac = context.model.schedule.fraction(t)
    return {"pair": path.pair, "pool": path.pool, "path": path.name, "t_frac": t_frac, "t": t}


def _flatness(context: Context, t: int, path: _Path) -> list[Row]:
    """R and bend of one path in every metric, and those of the flat null."""
    where = _where(context, t, path)
    with torch.no_grad():
        clean, noise = context.model.editor.predict(path.points, t)
        images = {
            metric: path.h
            if pool == path.pool
            else _features(context.bases.feature_map(t, _feature(context, pool)), path.points)
            for pool, metric in METRIC_OF_POOL.items()
        }
    images |= {"x0": clean, "score": noise}  # the score is −ε/b, and R does not depend on a factor
    start, steps, linear = path.points[0], (path.points - path.points[0]).flatten(1).T, {}
    for pool, metric in METRIC_OF_POOL.items():
        feature = _feature(context, pool)
        f, name = context.bases.feature_map(t, feature), MapName.of(t, feature)
        linear[metric] = context.bases.operator(f, start, name=name).mv(steps).T
    return [
        where | {"metric": metric} | _shape(one) | {f"{key}_linear": value for key, value in null.items()}
        for metric, one in images.items()
        for null in [_shape(linear[metric]) if metric in linear else dict.fromkeys(_shape(one), math.nan)]
    ]


def _shape(images: Tensor) -> dict[str, float]:
    """How far a path's image is from a straight line walked evenly, and from a straight line."""
    return {"flatness_ratio": flatness_ratio(images), "bend": chord_deviation(images)}


def _scalars(table: pd.DataFrame, flatness: pd.DataFrame) -> dict[str, float]:
    scalars: dict[str, float] = {}
    for (pool, path), part in table.groupby(["pool", "path"], sort=False):
        scalars[f"length/{pool}/{path}"] = float(part["length"].mean())
    own = flatness[flatness["metric"] == flatness["pool"].map(METRIC_OF_POOL)]
    for (pool, path), part in own.groupby(["pool", "path"], sort=False):
        scalars[f"flatness_ratio/{pool}/{path}"] = float(part["flatness_ratio"].mean())
    return scalars
