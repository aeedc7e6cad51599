r"""Which directions lie in the true tangent space of the data, and at which noise?

The portraits of FactorFaces are a manifold that is known in closed form (:mod:`diffgeo.data.tangent`): at
x0 = render(z) its tangent space is spanned by the unit columns τ_j of ∂render/∂z, with an orthonormal basis B. With V_n
the leading n right singular vectors of a map's Jacobian at x_t, the study measures how much of it they hold,

    share_j = ‖V_nᵀ τ_j‖²,        share of the span = ‖V_nᵀ B‖²_F / rank B,        both in [0, 1].

Maps:

    h, pooled_h      the feature map of the run's block, whole and summed over space
    block NAME       the whole feature map of another block (``study.tangent_truth.blocks``)
    x0, eps          x ↦ x̂0(x, t) and x ↦ ε(x, t)
    pca_h            principal components of h over portraits with noise (GANSpace), projected and pulled back by the
                     leading directions of h; left out at their own n, at which they span the same
    random           a subspace drawn uniformly, as a control

n is the rank of ∂render/∂z, and ``rank`` (``output_rank`` for x0 and eps). x_t comes from known portraits with noise
(``render``) and from the samples' own paths (``path``): :mod:`diffgeo.studies.shared.portraits`. Sampled pictures whose
distance from all portraits is above ``residual`` are left out and counted.

Chance: the share of a fixed unit vector in a uniformly random n-space is Beta(n/2, (d−n)/2), with mean n/d; that of a
span is drawn by :func:`diffgeo.geometry.random_overlaps`. Besides the span of all factors, those of the coarse and of
the fine ones are measured.

Axes: a space may be right and its axes mixed. Every factor is matched with one direction (one-to-one, the largest sum
of |cos|), against the same match of the directions of V_n rotated at random within their span.

Tables: ``tangent_truth``, one row per (kind, sample, timestep, map, n, factor or span); ``tangent_truth_axes``, one row
per (…, factor, or ``mean`` for the mean over factors).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import beta
from torch import Tensor

from diffgeo.config import FeatureConfig
from diffgeo.data.factor_faces import FACTOR_NAMES, FACTORS, render, sample_factors
from diffgeo.data.tangent import TangentSpace, tangent_space
from diffgeo.geometry import pca_directions, random_overlaps
from diffgeo.metrics.statistics import monte_carlo_p
from diffgeo.results import Result, Row
from diffgeo.session import Context, Sample
from diffgeo.session.bases import MapName
from diffgeo.studies.shared.matching import from_h, output_map, random_in_x
from diffgeo.studies.shared.portraits import Portrait, known_portraits, sampled_portraits, share_of_span
from diffgeo.studies.tangent_truth.settings import TangentTruthConfig
from diffgeo.svd import LocalBasis

log = logging.getLogger(__name__)

_PCA = 9_500_000
"""First seed of the portraits for PCA of h."""


def run(context: Context, cfg: TangentTruthConfig) -> Result:
    """Compare every map with the tangent space of the data, at every noise.

    The result is empty, and a warning says why, for a model whose data are not known in closed form.
    """
    if not context.known_factors:
        log.warning(
            "tangent_truth was left out: %s is no model of FactorFaces, whose tangent space is known",
            context.model.name,
        )
        return Result("tangent_truth", pd.DataFrame())
    rows: list[Row] = []
    axes: list[Row] = []
    found: list[Portrait] = known_portraits(context, cfg.samples) if "render" in cfg.kinds else []
    samples = context.samples.first(cfg.samples) if "path" in cfg.kinds else []
    near = sampled_portraits(context, samples, cfg.residual, "study.tangent_truth.residual") if samples else []
    found, far = found + near, len(samples) - len(near)
    if near and (off := _off_schedule(context, cfg)):
        log.info(
            "tangent_truth: t = %s of T lies on no path of %d steps; raise schedule.steps for it",
            ", ".join(f"{part:g}" for part in off),
            context.cfg.schedule.steps,
        )
    places = [(one, t) for one in found for t in _timesteps(context, cfg, one)]
    for one, t in context.track(places, "tangent_truth"):
        schedule, space = context.model.schedule, one.space
        where = {
            "kind": one.kind,
            "sample": one.index,
            "name": one.name,
            "t_frac": schedule.fraction(t),
            "t": t,
            "log_snr": schedule.log_snr(t),
            "off_data": one.residual,
            "tangent_rank": space.rank,
        }
        for map_name, v in _directions(context, cfg, one, t):
            for n in sorted({min(space.rank, v.shape[1]), v.shape[1]}):
                if map_name == "pca_h" and n == cfg.rank:
                    continue  # their projections span what the directions of h span
                here = {**where, "map": map_name, "n": n}
                rows += [{**here, **row} for row in _shares(v[:, :n], space, cfg.draws)]
                seed = context.cfg.seed + one.index
                axes += [{**here, **row} for row in _axes(v[:, :n], space, cfg.draws, seed)]
    table, further = pd.DataFrame(rows), pd.DataFrame(axes)
    scalars = {} if table.empty else _scalars(table, further) | {"pictures_far_from_data": float(far)}
    return Result("tangent_truth", table, scalars, more_tables={"axes": further} if len(further) else {})


def _timesteps(context: Context, cfg: TangentTruthConfig, one: Portrait) -> list[int]:
    """Timesteps at which a portrait is measured, from noise to picture."""
    schedule, steps = context.model.schedule, context.cfg.schedule.steps
    asked = sorted(cfg.noise, reverse=True)
    if one.sample is None:
        return list(dict.fromkeys(max(0, round(part * (schedule.T + 1)) - 1) for part in asked))
    off = _off_schedule(context, cfg)
    near = [
        min(schedule.timesteps(steps), key=lambda t: abs(schedule.fraction(t) - part))
        for part in asked
        if part not in off
    ]
    return list(dict.fromkeys(near))


def _off_schedule(context: Context, cfg: TangentTruthConfig) -> list[float]:
    """Fractions of T that lie further than half a step from every timestep of the sampler's path."""
    schedule, steps = context.model.schedule, context.cfg.schedule.steps
    known = [schedule.fraction(t) for t in schedule.timesteps(steps)]
    return [part for part in cfg.noise if min(abs(one - part) for one in known) > 0.5 / steps + 1e-3]


def _directions(context: Context, cfg: TangentTruthConfig, one: Portrait, t: int) -> Iterator[tuple[str, Tensor]]:
    """(map, its orthonormal leading directions of X, shape (d, n), float64) at a portrait's x_t."""
    x, own = one.latent(context, t), context.cfg.feature
    whole: LocalBasis | None = None
    for name in cfg.maps:
        match name:
            case "h" | "pooled_h":
                feature = replace(own, pool=None if name == "h" else "sum")
                basis = _basis(context, cfg, one, x, t, feature)
                whole = basis if name == "h" else whole
                yield name, basis.V.double().cpu()
            case "pca_h":
                whole = whole or _basis(context, cfg, one, x, t, replace(own, pool=None))
                k = min(one.space.rank, cfg.pca_portraits - 1, whole.rank)
                u = pca_directions(_features(context, cfg, t), k).U.to(whole.U)
                yield name, torch.linalg.qr(from_h(u, whole).double()).Q.cpu()
            case "x0" | "eps":
                f, label = output_map(context, t, name), MapName(t, output=name)
                yield name, context.bases.of_map(f, x, name=label, rank=cfg.output_rank).V.double().cpu()
            case "random":
                sample = one.sample or Sample(one.index, one.name, None, None)
                yield name, torch.linalg.qr(random_in_x(context, cfg.rank, sample).double()).Q.cpu()
    for block in cfg.blocks:
        feature = replace(own, block=block, pool=None)
        yield f"block {block}", _basis(context, cfg, one, x, t, feature).V.double().cpu()


def _basis(
    context: Context, cfg: TangentTruthConfig, one: Portrait, x: Tensor, t: int, feature: FeatureConfig
) -> LocalBasis:
    """The local basis of a feature map at x_t, with ``rank`` directions: the run's own, if it has one there."""
    svd = context.cfg.svd
    if one.sample is not None and feature == context.cfg.feature and svd.share is None and svd.rank >= cfg.rank:
        return context.bases.of(one.sample, t).truncated(cfg.rank)
    return context.bases.at(x, t, feature=feature, rank=cfg.rank)


def _features(context: Context, cfg: TangentTruthConfig, t: int) -> Tensor:
    """The features h, whole, of portraits with noise at t, one per row."""
    model = context.model
    generator = torch.Generator().manual_seed(_PCA + context.cfg.seed)
    z = sample_factors(cfg.pca_portraits, generator=generator, varying=context.known_factors)
    x0 = model.encode(render(z, model.picture_size))
    x = model.schedule.add_noise(x0, torch.randn(x0.shape, generator=generator).to(x0), t)
    f = context.bases.feature_map(t, replace(context.cfg.feature, pool=None))
    with torch.no_grad():
        return torch.cat([f(part).flatten(1) for part in x.split(16)])


def _shares(v: Tensor, space: TangentSpace, draws: int) -> Iterator[Row]:
    """Shares of the span, of the spans of the coarse and the fine factors, and of every factor, each with chance."""
    d, n = v.shape
    for scale in ("all", "coarse", "fine"):
        own = space if scale == "all" else _of_scale(space, scale)
        if own is not None:
            low, high = _span_chance(d, n, own.rank, draws)
            share = {"share": share_of_span(v, own.basis.to(v)), "null": n / d, "null_low": low, "null_high": high}
            yield {"factor": "span", "scale": scale, **share}
    single = beta(n / 2, (d - n) / 2)
    ends = {"null": n / d, "null_low": float(single.ppf(0.025)), "null_high": float(single.ppf(0.975))}
    for name, share in zip(space.names, (v.T @ space.tau.to(v)).square().sum(dim=0).tolist(), strict=True):
        yield {"factor": name, "scale": _scale(name), "share": share, **ends}
    for name in space.hidden:
        yield {"factor": name, "scale": _scale(name), "share": math.nan, **ends}


def _of_scale(space: TangentSpace, scale: str) -> TangentSpace | None:
    """The tangent space of the factors of one scale, or None if there is none among them."""
    kept = [name for name in space.names if _scale(name) == scale]
    if not kept:
        return None
    return tangent_space(space.tau[:, [space.names.index(name) for name in kept]], kept)


def _scale(name: str) -> str:
    return FACTORS[FACTOR_NAMES.index(name)].scale


@cache
def _span_chance(d: int, n: int, rank: int, draws: int) -> tuple[float, float]:
    """Between which shares of a random n-space and a fixed space of this rank 95 % of random ones lie."""
    shares = random_overlaps(d, n, rank, draws=draws).square().sum(dim=(1, 2)) / rank
    low, high = shares.quantile(torch.tensor([0.025, 0.975], dtype=shares.dtype)).tolist()
    return low, high


def match_axes(overlaps: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The direction that each factor is matched with, one-to-one, so that the sum of |cos| is largest.

    Args:
        overlaps: V_nᵀ τ, shape (n, k).

    Returns:
        Shape (k,): indices of directions; −1 for a factor without one, if n < k.
    """
    directions, factors = linear_sum_assignment(-np.abs(overlaps))
    found = np.full(overlaps.shape[1], -1)
    found[factors] = directions
    return found


def _axes(v: Tensor, space: TangentSpace, draws: int, seed: int) -> Iterator[Row]:
    """|cos| of every factor with its direction, and the same for random rotations of the directions' span."""
    overlaps = (v.T @ space.tau.to(v)).numpy()
    n, k = overlaps.shape
    matched = match_axes(overlaps)
    cosines = _matched_cosines(overlaps, matched)
    random = np.random.default_rng(seed)
    turned = np.empty((draws, k))
    for i in range(draws):
        q, r = np.linalg.qr(random.standard_normal((n, n)))
        rotated = (q * np.sign(np.diag(r))).T @ overlaps
        turned[i] = _matched_cosines(rotated, match_axes(rotated))
    null = np.nanmean(turned, axis=1)
    low, high = np.quantile(null, [0.025, 0.975])
    mean = float(np.nanmean(cosines))
    yield {
        "factor": "mean",
        "scale": "all",
        "direction": -1,
        "cos": mean,
        "null": float(null.mean()),
        "null_low": float(low),
        "null_high": float(high),
        "p": monte_carlo_p(mean, null),
    }
    for j, name in enumerate(space.names):
        drawn = turned[:, j][~np.isnan(turned[:, j])]
        low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (math.nan, math.nan)
        yield {
            "factor": name,
            "scale": _scale(name),
            "direction": int(matched[j]),
            "cos": float(cosines[j]),
            "null": float(drawn.mean()) if len(drawn) else math.nan,
            "null_low": float(low),
            "null_high": float(high),
            "p": monte_carlo_p(float(cosines[j]), drawn),
        }


def _matched_cosines(overlaps: np.ndarray[Any, Any], matched: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """|cos| of each factor with its direction, NaN for a factor without one."""
    found: np.ndarray[Any, Any] = np.abs(overlaps[matched, np.arange(overlaps.shape[1])])
    found[matched < 0] = math.nan
    return found


def _scalars(table: pd.DataFrame, axes: pd.DataFrame) -> dict[str, float]:
    """Means over samples at n = the rank of ∂render/∂z: the share of the span, and the mean |cos| of matched axes."""
    scalars = {}
    spans = table[(table["factor"] == "span") & (table["scale"] == "all")]
    for what, rows, column in (("share", spans, "share"), ("axes", axes[axes["factor"] == "mean"], "cos")):
        own = rows[rows["n"] == rows["tangent_rank"]]
        for (kind, name, t_frac), part in own.groupby(["kind", "map", "t_frac"], sort=False):
            scalars[f"{what}/{kind}/{str(name).replace(' ', '_')}/t_{t_frac:g}"] = float(part[column].mean())
    return scalars
