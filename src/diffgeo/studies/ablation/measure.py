r"""Other directions and other edits, at matched strength (P23a, Figs. 9 to 12).

Each variant gives directions v_i of X at a sample's x_t:

    local                v_i of ∂h/∂x, the run's own feature map: the reference
    global               ū_i of the other samples' bases, projected to the tangent space and pulled back
    random               unit directions drawn uniformly
    no_normalisation     local, without the distortion normalisation; left out where edits have none, as at T of a flow
    random_no_normalisation  random, without it; left out there, too
    pca_h                principal components of h over random latents (GANSpace), projected to the tangent space and
                         pulled back; so made of local directions
    pca_h_gradient       the same components pulled back by Jᵀ as they are
    x0, eps              right singular vectors of ∂x̂0/∂x and of ∂ε/∂x
    block                v_i of another block's feature map (``study.ablation.blocks``), one variant a block
    pooling              v_i of the other pooling
    shooting_isometric   local, walked by geodesic shooting with this transport
    shooting_pullback    the same with the other one

For every one, γ is searched until the decoded picture differs from the unedited one by the same perceptual distance;
variants are never compared at equal γ. What else changed is the damage: the off-target attributes (all but the one that
moved most), in the predictor's units, whose whole range is 2; on FactorFaces, how different these alone make the face
look; the denoising residual and, if the data are known, the distance from them; the share of colours at their limits;
the chroma; the noise level, the share of the picture's power beyond half of the Nyquist frequency. One row per (sample,
variant, direction).

The papers compare at equal length, ‖x'−x‖. Table ``ablation_equal_length`` does, for the variants whose claim says so,
at the mean length of the sample's local edits above. Its pictures are decoded without clipping x̂0, which would hide
saturation. The normalisation moves x on its own account, so that x'−x is not the direction any more, the less the
smaller the step is beside it: ``cosine`` is that of x'−x with the direction, 1 without the normalisation.

Table ``ablation_times`` has the rows of the first one at every timestep of ``t_fracs``. Each timestep has a perceptual
change of its own, unless ``change`` says one, as edits nearer to the picture change less of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from diffgeo.data.factor_faces import FACTOR_NAMES
from diffgeo.geometry import Convention, geodesic_shooting, global_directions, pca_directions
from diffgeo.metrics.attributes import label_change
from diffgeo.metrics.damage import chroma, clipped_share, contrast, off_target_distance
from diffgeo.metrics.spectral import high_frequency_share
from diffgeo.results import Result, frames_of
from diffgeo.session import Context, Sample
from diffgeo.session.bases import MapName
from diffgeo.studies.ablation.settings import AblationConfig
from diffgeo.studies.shared.matching import (
    Edit,
    Matched,
    at_length,
    features,
    from_h,
    gradients_in_h,
    match_edits,
    output_map,
    random_in_x,
    straight,
)

EQUAL_LENGTH = ("local", "random", "no_normalisation", "random_no_normalisation")
"""Variants that are compared at equal length, too."""
PIECES, REACH = 4, 1.5
"""Straight pieces of a shooting curve, and its length as a multiple of ``edit.strength``."""


def run(context: Context, cfg: AblationConfig) -> Result:
    """Edit ``cfg.samples`` samples by every variant, at one strength."""
    [main] = context.times_of([cfg.t_frac], "study.ablation.t_frac")
    times = context.times_of(cfg.t_fracs or [], "study.ablation.t_fracs")
    rows: list[dict[str, Any]] = []
    equally_long: list[dict[str, Any]] = []
    by_time: list[dict[str, Any]] = []
    frames: list[Tensor] = []
    targets: dict[int, float | None] = {}
    places = [(sample, at) for sample in context.samples.first(cfg.samples) for at in dict.fromkeys([main, *times])]
    for sample, (t_frac, t) in context.track(places, "ablation"):
        edits = list(_edits(context, cfg, sample, t))
        found = match_edits(context, sample, t, edits, targets.get(t, cfg.change))
        targets[t] = found.target
        own = list(_rows(context, sample, t, t_frac, edits, found))
        if (t_frac, t) in times:
            by_time += [{column: value for column, value in row.items() if column != "frame"} for row in own]
        if (t_frac, t) != main:
            continue
        rows += own
        equally_long += _rows_of_length(context, sample, t, t_frac, edits, found)
        frames.append(frames_of(torch.cat([found.original, found.edited])))
    table = pd.DataFrame(rows)
    tensors = {"frames": torch.cat(frames)} if frames else {}
    more = {"equal_length": equally_long, "times": by_time}
    more_tables = {name: pd.DataFrame(found) for name, found in more.items() if found}
    scalars = {} if table.empty else _scalars(table, list(context.extra_metrics))
    return Result("ablation", table, scalars, tensors, more_tables)


def _edits(context: Context, cfg: AblationConfig, sample: Sample, t: int) -> Iterator[Edit]:
    """Every variant's curves for one sample."""
    x, basis = context.latents.of(sample, t), context.bases.of(sample, t)
    k, reach = min(cfg.directions, basis.rank), context.editor.gammas[-1].item() * cfg.limit

    def along(variant: str, v: Tensor, *, normalise: bool | None = None) -> Iterator[Edit]:
        return straight(context, variant, v, reach, normalise=normalise)

    for variant in cfg.variants:
        match variant:
            case "local":
                yield from along(variant, basis.V[:, :k])
            case "no_normalisation" | "random_no_normalisation":
                if context.editor.normalises(sample, t):  # else it is "local" or "random" once more
                    v = basis.V[:, :k] if variant == "no_normalisation" else random_in_x(context, k, sample)
                    yield from along(variant, v, normalise=False)
            case "global":
                others = [context.bases.of(s, t) for s in context.samples if s.index != sample.index]
                if len(others) >= 2:
                    yield from along(variant, from_h(global_directions(others).U[:, :k], basis))
            case "random":
                yield from along(variant, random_in_x(context, k, sample))
            case "pca_h":
                yield from along(variant, from_h(pca_directions(features(context, cfg.pca_samples, t), k).U, basis))
            case "pca_h_gradient":
                components = pca_directions(features(context, cfg.pca_samples, t), k).U
                yield from along(variant, gradients_in_h(context, components, x, t))
            case "x0" | "eps":
                f, which = output_map(context, t, variant), MapName(t, output=variant)
                yield from along(variant, context.bases.of_map(f, x, name=which, rank=k).V)
            case "block":
                for block in cfg.blocks:
                    if block in context.model.blocks and block != context.cfg.feature.block:
                        other = replace(context.cfg.feature, block=block)
                        yield from along(f"block {block}", context.bases.at(x, t, feature=other, rank=k).V)
            case "pooling":
                other = replace(context.cfg.feature, pool=None if context.cfg.feature.pool else "sum")
                name = "pooled h" if other.pool else "whole h"
                yield from along(name, context.bases.at(x, t, feature=other, rank=k).V)
            case "shooting_isometric" | "shooting_pullback":
                convention: Convention = "isometric" if variant == "shooting_isometric" else "pullback"
                yield from (_shot(context, cfg, sample, t, i, convention) for i in range(k))


def _shot(context: Context, cfg: AblationConfig, sample: Sample, t: int, i: int, convention: Convention) -> Edit:
    """A geodesic-shooting curve, walked by arc length; what γ reaches is normalised once, as a straight step is."""
    x, basis = context.latents.of(sample, t), context.bases.of(sample, t)
    reach = context.editor.gammas[-1].item() * min(REACH, cfg.limit)
    points = geodesic_shooting(
        lambda y: context.bases.at(y, t, rank=min(10, basis.rank), tol=max(1e-3, context.cfg.svd.tol)),
        x,
        basis.U[:, i],
        basis.V[:, i],
        length=reach,
        steps=PIECES,
        convention=convention,
    )

    def offset(gamma: float) -> Tensor:
        place = gamma / reach * PIECES
        piece = min(int(place), PIECES - 1)
        return torch.lerp(points[piece], points[piece + 1], place - piece) - x

    return Edit(f"shooting, {convention}", i, offset, reach, curved=True)


def _damage(context: Context, before: Tensor, after: Tensor) -> dict[str, list[float]]:
    """What edits cost, by column, edited less unedited; and what the run measures of every edit."""
    found = {}
    measures = {
        "clipped_change": clipped_share,
        "chroma_change": chroma,
        "contrast_change": contrast,
        "noise_change": high_frequency_share,
    }
    for name, measure in measures.items():
        found[name] = (measure(after) - measure(before)).tolist()
    residual, own = context.residual_change, context.measured(after, before)
    if residual.name not in own:  # the data are known
        found[residual.name] = residual(after.clamp(-1, 1), before.clamp(-1, 1)).tolist()
    return found | own


def _rows_of_length(
    context: Context, sample: Sample, t: int, t_frac: float, edits: list[Edit], found: Matched
) -> Iterator[dict[str, Any]]:
    """Straight edits by the mean length of the local ones; nothing without those."""
    local = [i for i, edit in enumerate(edits) if edit.variant == "local"]
    compared = [edit for edit in edits if edit.variant in EQUAL_LENGTH]
    if not local or len(compared) == len(local):
        return
    length, x = found.x_changes[local].mean().item(), context.latents.of(sample, t)
    moved = at_length(context, sample, t, compared, length)
    there = [i for i, one in enumerate(moved) if not one.isnan().any()]
    moved, compared = torch.cat([x[None], moved[there]]), [compared[i] for i in there]
    pictures = context.decoder(moved, t, sample, clip=False)
    before, after = pictures[:1], pictures[1:]
    changes, damage = context.perceptual(after, before), _damage(context, before, after)
    unedited = {"chroma_unedited": chroma(before).item(), "contrast_unedited": contrast(before).item()}
    offsets = torch.stack([edit.offset(length) for edit in compared])
    cosines = torch.cosine_similarity((moved[1:] - x).flatten(1), offsets.flatten(1))
    for i, edit in enumerate(compared):
        where = {"sample": sample.index, "name": sample.name, "t_frac": t_frac, "t": t}
        cost = {name: values[i] for name, values in damage.items()}
        change = {"x_change": length, "change": changes[i].item(), "perceptual_measure": context.perceptual.name}
        kind = {"variant": edit.variant, "direction": edit.direction, "cosine": cosines[i].item()}
        kind["normalised"] = context.editor.normalises(sample, t, override=edit.normalise)
        yield where | kind | change | cost | unedited


def _rows(
    context: Context, sample: Sample, t: int, t_frac: float, edits: list[Edit], found: Matched
) -> Iterator[dict[str, Any]]:
    before, after, predictor = found.original, found.edited, context.predictor
    damage = _damage(context, before, after)
    change = None if predictor is None else predictor(after) - predictor(before)
    unseen = None
    if change is not None and predictor is not None and predictor.names == FACTOR_NAMES:
        targets, size = change.abs().argmax(dim=1), context.model.picture_size
        unseen = off_target_distance(predictor(before), predictor(after), targets, context.perceptual, size=size)
    for i, edit in enumerate(edits):
        row: dict[str, Any] = {
            "sample": sample.index,
            "name": sample.name,
            "t_frac": t_frac,
            "t": t,
            "variant": edit.variant,
            "direction": edit.direction,
            "normalised": context.editor.normalises(sample, t, override=edit.normalise),
            "frame": i,
            **found.row(i),
            "perceptual_measure": context.perceptual.name,
            **{name: values[i] for name, values in damage.items()},
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
                "off_target_distance": math.nan if unseen is None else unseen[i].item(),
                "precision": moved[on].item() / (off.mean().item() + 1e-8),
            }
        yield row


def _scalars(table: pd.DataFrame, own: list[str]) -> dict[str, float]:
    scalars = {"matched_share": float(table["matched"].mean()), "change": float(table["change_wanted"].iloc[0])}
    for variant, part in table.groupby("variant", sort=False):
        key = str(variant).replace(", ", "_").replace(" ", "_")
        scalars[f"gamma/{key}"] = float(part["gamma"].mean())
        scalars[f"clipped_change/{key}"] = float(part["clipped_change"].mean())
        scalars |= {f"{name}/{key}": float(part[name].mean()) for name in own}
        if "precision" in part and not math.isnan(part["precision"].mean()):
            scalars[f"precision/{key}"] = float(part["precision"].mean())
            # those that the search for γ brought to the common change; NaN where it brought none
            scalars[f"precision_matched/{key}"] = float(part.loc[part["matched"], "precision"].mean())
    return scalars
