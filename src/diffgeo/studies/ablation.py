r"""Other directions and other edits, at matched strength (P23a, Figs. 9 to 12).

Each variant gives directions v_i of X at a sample's x_t:

    local                v_i of ∂h/∂x, the run's own feature map: the reference
    global               ū_i of the other samples' bases, projected to the tangent space and pulled back
    random               unit directions drawn uniformly
    no_normalisation     local, without the distortion normalisation
    pca_h                principal components of h over random latents (GANSpace), projected and pulled back
    x0, eps              right singular vectors of ∂x̂0/∂x and of ∂ε/∂x
    block                v_i of another block's feature map (``study.ablation.blocks``), one variant a block
    pooling              v_i of the other pooling
    shooting_isometric   local, walked by geodesic shooting with this transport
    shooting_pullback    the same with the other one

For every one, γ is searched until the decoded picture differs from the unedited one by the same perceptual distance;
variants are never compared at equal γ. What else changed is the damage: the off-target attributes (all but the one that
moved most), in the predictor's units, whose whole range is 2; the share of colours at their limits; the chroma. One row
per (sample, variant, direction).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from diffgeo.config import AblationConfig
from diffgeo.editing import match_strength
from diffgeo.geometry import (
    Convention,
    geodesic_shooting,
    global_directions,
    pca_directions,
    project_to_tangent,
    pull_back,
)
from diffgeo.metrics.attributes import label_change
from diffgeo.metrics.damage import chroma, clipped_share
from diffgeo.results import Result
from diffgeo.sampling import ddim_sample, initial_noise
from diffgeo.studies.context import Context, Sample

__all__ = ["run"]

PIECES, REACH = 6, 1.5
"""Straight pieces of a shooting curve, and its length as a multiple of ``edit.strength``."""
_RANDOM = 0xAB1A << 32
"""Sets the random directions apart from the seeds of initial noise; every sample has its own."""
PCA_SEED = 7_000_000
"""First seed of the latents for PCA, apart from those of samples."""


@dataclass(frozen=True, slots=True)
class _Edit:
    """One curve of edits: γ ↦ latent, γ ≥ 0."""

    variant: str
    direction: int
    at: Callable[[float], Tensor]
    limit: float  # the largest γ


@dataclass(frozen=True, slots=True)
class _Matched:
    """Every edit of one sample at the common strength."""

    target: float
    gammas: Tensor
    changes: Tensor
    original: Tensor
    edited: Tensor


def run(context: Context, cfg: AblationConfig) -> Result:
    """Edit ``cfg.samples`` samples by every variant, at one strength."""
    t = context.model.schedule.nearest(cfg.t_frac, context.cfg.schedule.steps)
    rows: list[dict[str, Any]] = []
    frames: list[Tensor] = []
    target = cfg.change
    for sample in context.track(context.first_samples(cfg.samples), "ablation"):
        edits = list(_edits(context, cfg, sample, t))
        found = _match(context, sample, t, edits, target)
        target = found.target
        rows += _rows(context, sample, t, cfg.t_frac, edits, found)
        pictures = torch.cat([found.original, found.edited]).clamp(-1, 1)
        frames.append(((pictures + 1) * 127.5).round().to(torch.uint8).cpu())
    table = pd.DataFrame(rows)
    tensors = {"frames": torch.cat(frames)} if frames else {}
    return Result("ablation", table, {} if table.empty else _scalars(table), tensors)


def _match(context: Context, sample: Sample, t: int, edits: list[_Edit], target: float | None) -> _Matched:
    measure = context.perceptual
    original = context.decode(context.latent(sample, t)[None], t, sample)

    def pictures(gammas: Tensor, which: Tensor) -> Tensor:
        moved = [edits[i].at(gamma) for i, gamma in zip(which.tolist(), gammas.tolist(), strict=True)]
        return context.decode(torch.stack(moved), t, sample)

    def change(gammas: Tensor, which: Tensor) -> Tensor:
        return measure(pictures(gammas, which), original)

    if target is None:  # what the local basis does at the run's own strength sets the scale, once
        local = torch.tensor([edit.variant == "local" for edit in edits]).nonzero()[:, 0]
        local = local if len(local) else torch.arange(len(edits))
        target = change(torch.full((len(local),), context.gammas[-1].item()), local).quantile(0.5).item()
    gammas, changes = match_strength(change, target, torch.tensor([edit.limit for edit in edits]))
    return _Matched(target, gammas, changes, original, pictures(gammas, torch.arange(len(edits))))


def _edits(context: Context, cfg: AblationConfig, sample: Sample, t: int) -> Iterator[_Edit]:
    """Every variant's curves for one sample."""
    x, basis = context.latent(sample, t), context.basis(sample, t)
    k, reach = min(cfg.directions, basis.rank), context.gammas[-1].item() * cfg.limit

    def straight(variant: str, v: Tensor, normalise: bool | None = None) -> Iterator[_Edit]:
        for i in range(v.shape[1]):
            direction = v[:, i]

            def at(gamma: float, direction: Tensor = direction) -> Tensor:
                return context.move(x, direction, torch.tensor([gamma]), t, normalise=normalise)[0]

            yield _Edit(variant, i, at, reach)

    def from_h(variant: str, u: Tensor) -> Iterator[_Edit]:
        inside, _ = project_to_tangent(u, basis)
        columns = [pull_back(inside[:, i], basis) for i in range(inside.shape[1])]
        yield from straight(variant, torch.stack(columns, dim=1))

    for variant in cfg.variants:
        match variant:
            case "local":
                yield from straight(variant, basis.V[:, :k])
            case "no_normalisation":
                yield from straight(variant, basis.V[:, :k], normalise=False)
            case "global":
                others = [context.basis(s, t) for s in context.samples if s.index != sample.index]
                if len(others) >= 2:
                    yield from from_h(variant, global_directions(others).U[:, :k])
            case "random":
                generator = torch.Generator().manual_seed(_RANDOM + context.cfg.seed + sample.index)
                draw = torch.randn(x.numel(), k, generator=generator, dtype=x.dtype)
                yield from straight(variant, torch.linalg.qr(draw.to(x.device)).Q)
            case "pca_h":
                yield from from_h(variant, pca_directions(_features(context, cfg.pca_samples, t), k).U)
            case "x0" | "eps":
                yield from straight(variant, context.basis_of(_output(context, t, variant), x, rank=k).V)
            case "block":
                for block in cfg.blocks:
                    if block in context.model.blocks and block != context.cfg.feature.block:
                        other = replace(context.cfg.feature, block=block)
                        yield from straight(f"block {block}", context.basis_at(x, t, feature=other, rank=k).V)
            case "pooling":
                other = replace(context.cfg.feature, pool=None if context.cfg.feature.pool else "sum")
                name = "pooled h" if other.pool else "whole h"
                yield from straight(name, context.basis_at(x, t, feature=other, rank=k).V)
            case "shooting_isometric" | "shooting_pullback":
                convention: Convention = "isometric" if variant == "shooting_isometric" else "pullback"
                yield from (_shot(context, cfg, sample, t, i, convention) for i in range(k))


def _output(context: Context, t: int, which: str) -> Callable[[Tensor], Tensor]:
    model = context.model

    def eps(x: Tensor) -> Tensor:
        return model.predict_noise(x[None], t)[0]

    def x0(x: Tensor) -> Tensor:
        return model.schedule.predict_x0(x, eps(x), t)

    return x0 if which == "x0" else eps


def _features(context: Context, n: int, t: int) -> Tensor:
    """H of n random latents at t, one a row."""
    model, steps = context.model, context.cfg.schedule.steps
    chunks = []
    for first in range(0, n, 16):
        x = initial_noise(model, [PCA_SEED + i for i in range(first, min(first + 16, n))])
        if t != model.schedule.T:
            x = ddim_sample(model, x, steps=steps, stop=t, clip=True)
        with torch.no_grad():
            chunks.append(context.feature_map(t)(x).flatten(1))
    return torch.cat(chunks)


def _shot(context: Context, cfg: AblationConfig, sample: Sample, t: int, i: int, convention: Convention) -> _Edit:
    """A geodesic-shooting curve, walked by arc length; what γ reaches is normalised once, as a straight step is."""
    x, basis = context.latent(sample, t), context.basis(sample, t)
    reach = context.gammas[-1].item() * min(REACH, cfg.limit)
    points = geodesic_shooting(
        lambda y: context.basis_at(y, t, rank=min(10, basis.rank)),
        x,
        basis.U[:, i],
        basis.V[:, i],
        length=reach,
        steps=PIECES,
        convention=convention,
    )

    def at(gamma: float) -> Tensor:
        place = gamma / reach * PIECES
        piece = min(int(place), PIECES - 1)
        moved = torch.lerp(points[piece], points[piece + 1], place - piece)
        return context.retract(x[None], moved[None], t)[0]

    return _Edit(f"shooting, {convention}", i, at, reach)


def _rows(
    context: Context, sample: Sample, t: int, t_frac: float, edits: list[_Edit], found: _Matched
) -> Iterator[dict[str, Any]]:
    before, after, predictor = found.original, found.edited, context.predictor
    clipped, colour = clipped_share(after) - clipped_share(before), chroma(after) - chroma(before)
    change = None if predictor is None else predictor(after) - predictor(before)
    for i, edit in enumerate(edits):
        row: dict[str, Any] = {
            "sample": sample.index,
            "name": sample.name,
            "t_frac": t_frac,
            "t": t,
            "variant": edit.variant,
            "direction": edit.direction,
            "frame": i,
            "gamma": found.gammas[i].item(),
            "change": found.changes[i].item(),
            "change_wanted": found.target,
            "matched": abs(found.changes[i].item() / found.target - 1) <= 0.05,
            "perceptual_measure": context.perceptual.name,
            "clipped_change": clipped[i].item(),
            "chroma_change": colour[i].item(),
        }
        if change is not None and predictor is not None:
            moved = change[i].abs()
            on = int(moved.argmax())
            off = torch.cat([moved[:on], moved[on + 1 :]])
            row |= {
                "attribute": predictor.names[on],
                "label": label_change(predictor.names, change[i]),
                "on_target": moved[on].item(),
                "off_target": off.mean().item(),
                "off_target_max": off.max().item(),
                "precision": moved[on].item() / (off.mean().item() + 1e-8),
            }
        yield row


def _scalars(table: pd.DataFrame) -> dict[str, float]:
    scalars = {"matched_share": float(table["matched"].mean()), "change": float(table["change_wanted"].iloc[0])}
    for variant, part in table.groupby("variant", sort=False):
        key = str(variant).replace(", ", "_").replace(" ", "_")
        scalars[f"gamma/{key}"] = float(part["gamma"].mean())
        scalars[f"clipped_change/{key}"] = float(part["clipped_change"].mean())
        if "precision" in part and not math.isnan(part["precision"].mean()):
            scalars[f"precision/{key}"] = float(part["precision"].mean())
    return scalars
