r"""A scorecard of directions: what they change, what else changes, and how that compares between methods.

Methods give K directions of X each at a sample's x_t:

    local                        v_i of the sample's own basis
    nearest, hungarian, frechet  global directions ū_i (:func:`diffgeo.geometry.global_directions`)
    pca_h                        principal components of h over random latents (GANSpace)
    random                       drawn uniformly in X, once for all samples, as global directions are
    x0, eps                      right singular vectors of ∂x̂0/∂x and of ∂ε/∂x
    file NAME                    saved directions (``study.disentanglement.files``), at the timestep that they belong to

Directions of H are projected to the sample's tangent space and pulled back. The first samples make the global
directions; only the others are edited and scored. Every edit is brought to the same perceptual change
(:mod:`diffgeo.studies.shared.matching`).

Attributes are in standard deviations over unedited pictures. An edit's target is the attribute that its direction moves
most: on all *other* samples (``precision``), or in this edit itself (``precision_own``, which flatters every method).
Definitions: :mod:`diffgeo.metrics.edits`, :mod:`diffgeo.metrics.disentanglement`.

Tables:

    disentanglement              one row per edit (timestep, method, direction, sample)
    …_scorecard                  one row per (timestep, method, metric): value, 95 % interval over samples, n
    …_rescoring                  R_ij and E|Δa_j| (timestep, method, direction, attribute), with the directions' labels
    …_dependency                 mean collateral of the edits whose target moved by so much (StyleSpace's curve)
    …_pareto                     target change against collateral at several strengths, the target chosen held out
    …_timing                     share of an edit's effect that falls on each attribute, by timestep
    …_subspace                   how much of an attribute's gradient the tangent space holds (see ``subspace``)
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, cast

import pandas as pd
import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from diffgeo import __version__
from diffgeo.diffusion.direction_files import Directions, load_directions
from diffgeo.errors import ConfigError, DirectionsError
from diffgeo.geometry import GlobalDirections, Method, global_directions, pca_directions, random_directions, signed_as
from diffgeo.metrics import edits as scores
from diffgeo.metrics.clip import SharesText
from diffgeo.metrics.damage import chroma, clipped_share
from diffgeo.results import Result, Row, frames_of
from diffgeo.session import Context, Sample
from diffgeo.session.bases import MapName
from diffgeo.studies.disentanglement.edits import Edited
from diffgeo.studies.disentanglement.entanglement import entanglement
from diffgeo.studies.disentanglement.reference import Reference, reference_pictures
from diffgeo.studies.disentanglement.scorecard import scorecard
from diffgeo.studies.disentanglement.settings import METHODS, DisentanglementConfig
from diffgeo.studies.disentanglement.timing import coarse_to_fine
from diffgeo.studies.shared.matching import (
    Edit,
    Matched,
    features,
    from_h,
    latents,
    match_edits,
    output_map,
    random_in_x,
    straight,
)

log = logging.getLogger(__name__)

_TABLES = ("scorecard", "rescoring", "dependency", "pareto", "timing", "subspace")
_HEADLINE = ("precision", "precision_gain", "precision_gain_matched", "effect_disentanglement", "dci_d")
GLOBAL = ("nearest", "hungarian", "frechet")


def run(context: Context, cfg: DisentanglementConfig) -> Result:
    """Score every method at every edit timestep.

    With no attribute predictor, or with fewer than three pictures, the result is empty and a warning says so.
    """
    predictor, samples = context.predictor, context.samples.first(max(3, cfg.samples))
    if predictor is None or len(samples) < 3:
        missing = "an attribute predictor (predictor=…)" if predictor is None else "3 pictures in data.images"
        log.warning("disentanglement was left out: it needs %s", missing)
        return Result("disentanglement", pd.DataFrame())
    first = min(cfg.training or max(2, 2 * len(samples) // 5), len(samples) - 1)
    training, held_out = samples[:first], samples[first:]
    times = _times(context, cfg)
    reference = reference_pictures(context, cfg, predictor, [t for _, t in times])
    rows: list[Row] = []
    more: dict[str, list[Row]] = {name: [] for name in _TABLES}
    sets: dict[str, Directions] = {}
    frames: list[Tensor] = []
    for t_frac, t in context.track(times, "disentanglement"):
        where = {"t_frac": t_frac, "t": t}
        k = min(cfg.directions, *(context.bases.of(sample, t).rank for sample in samples))  # svd.share varies the rank
        found = _directions(context, cfg, training, t, k)
        edited = Edited(predictor, reference)
        target = cfg.change
        for sample in held_out:
            target = _edit(context, cfg, sample, t, k, found, reference, target, edited)
        rows += [{**where, **row, "frame": row["frame"] + sum(map(len, frames))} for row in edited.finish()]
        frames += edited.frames
        codes = _codes(context, cfg, found, reference, t)
        card = scorecard(edited.table(), codes, reference.factors, cfg, own=tuple(context.extra_metrics))
        more["scorecard"] += [{**where, **row} for row in card]
        labels = edited.labels()
        more["rescoring"] += [{**where, **row} for row in edited.rescoring(labels)]
        more["dependency"] += [{**where, **row} for row in edited.dependency()]
        more["pareto"] += [{**where, **row} for row in edited.pareto()]
        more["timing"] += [{**where, **row} for row in edited.timing()]
        for sample in held_out[: cfg.subspace]:
            part = entanglement(context, sample, t, predictor, reference.latents[t])
            more["subspace"] += [{**where, **row} for row in part]
        own = {method: one for method, one in found.items() if not method.startswith("file ")}
        for method, one in own.items():
            made_from = [sample.name for sample in training] if method in GLOBAL else cfg.codes
            names = [label for label, _ in labels[method]]
            sets[f"{method}_{t_frac:g}T"] = _published(context, one, t, names, made_from)
    table = pd.DataFrame(rows)
    tables = {name: pd.DataFrame(part) for name, part in more.items() if part}
    scalars = {} if table.empty else _scalars(table, tables, (*_HEADLINE, *context.extra_metrics))
    if "timing" in tables:
        timing, summary = coarse_to_fine(tables["timing"], seed=context.cfg.seed, draws=cfg.draws)
        tables["timing"] = timing
        scalars |= summary
    tensors = {"frames": torch.cat(frames)} if frames else {}
    return Result("disentanglement", table, scalars, tensors, tables, sets)


def _published(
    context: Context, directions: GlobalDirections, t: int, labels: list[str], made_from: list[str] | int
) -> Directions:
    """Directions as a file has them: with labels, and what they were made from (names of samples, or how many)."""
    cfg = context.cfg
    provenance = {
        "samples": made_from,
        "rank": cfg.svd.rank,
        "steps": cfg.schedule.steps,
        "seed": cfg.seed,
        "diffgeo": __version__,
        **context.model.conditioning,
    }
    place: dict[str, Any] = {"t": t, "block": cfg.feature.block, "pool": cfg.feature.pool, "tap": cfg.feature.tap}
    return Directions.of(directions, context.model, **place, labels=labels, provenance=provenance)


def _times(context: Context, cfg: DisentanglementConfig) -> list[tuple[float, int]]:
    """(fraction, timestep): ``t_fracs`` or the run's, and those of direction files that are not among them."""
    schedule, steps = context.model.schedule, context.cfg.schedule.steps
    setting = "study.disentanglement.t_fracs"
    times = context.edit_times if cfg.t_fracs is None else context.times_of(cfg.t_fracs, setting)
    feature, names = context.cfg.feature, [Path(path).stem for path in cfg.files]
    if len(set(names)) < len(names):
        raise ConfigError(f"study.disentanglement.files={cfg.files} holds one name twice", "rename a file")
    for path in cfg.files:
        loaded = load_directions(path)
        t = loaded.t
        loaded.check(context.model, t=t, block=feature.block, pool=feature.pool, tap=feature.tap)
        if t not in schedule.timesteps(steps):
            raise DirectionsError(
                f"{path} belongs to timestep {t}, which schedule.steps={steps} leaves out", "change steps"
            )
        if t not in [u for _, u in times]:
            times.append((schedule.fraction(t), t))
    return times


def _directions(
    context: Context, cfg: DisentanglementConfig, training: list[Sample], t: int, k: int
) -> dict[str, GlobalDirections]:
    """The methods that give directions of H, and files; each signed as the first training sample's best matches."""
    found: dict[str, GlobalDirections] = {}
    bases = [context.bases.of(sample, t) for sample in training]
    for method in cfg.methods:
        if method in GLOBAL:
            smallest = min(basis.rank for basis in bases)
            found[method] = global_directions([b.truncated(smallest) for b in bases], cast(Method, method))
        elif method == "pca_h":
            n = max(cfg.codes, k + 1)
            found[method] = pca_directions(features(context, n, t), k)
    signed = {}
    for name, one in found.items():
        signed[name] = GlobalDirections(signed_as(one.U[:, :k], bases[0]), one.score[:k], one.method)
    for path in cfg.files:  # published signs are kept: their labels depend on them
        loaded = load_directions(path)
        if loaded.t == t:
            u = loaded.U.to(bases[0].U)[:, :k]
            signed[f"file {Path(path).stem}"] = GlobalDirections(u, loaded.score[:k], loaded.method)
    return signed


def _edit(
    context: Context,
    cfg: DisentanglementConfig,
    sample: Sample,
    t: int,
    k: int,
    found: Mapping[str, GlobalDirections],
    reference: Reference,
    target: float | None,
    out: Edited,
) -> float:
    """Edit one sample along every direction; returns the perceptual change that the edits were brought to."""
    predictor = context.predictor
    assert predictor is not None
    edits = list(_edits(context, cfg, sample, t, k, found, out.axes))
    known, strength = out.gammas, context.editor.gammas[-1].item()
    start = torch.tensor([median(known.get((edit.variant, edit.direction), [strength])) for edit in edits])
    matched = match_edits(context, sample, t, edits, target, start=start)
    for edit, gamma in zip(edits, matched.gammas.tolist(), strict=True):
        known.setdefault((edit.variant, edit.direction), []).append(gamma)
    original, edited = matched.original, matched.edited
    before = predictor(original)
    changes = scores.standardise((predictor(edited) - before)[:, reference.columns], reference.attributes)
    out.rows += _rows(context, cfg, sample, edits, matched, changes, reference.names, sum(map(len, out.frames)) + 1)
    embedded = None
    if isinstance(predictor, SharesText):
        with torch.no_grad():
            embedded = (predictor.embed(edited) - predictor.embed(original)).cpu()
    for method in dict.fromkeys(edit.variant for edit in edits):
        rows = [i for i, edit in enumerate(edits) if edit.variant == method]
        if embedded is not None:
            out.moves.setdefault(method, []).append(embedded[rows])
        out.changes.setdefault(method, []).append(changes[rows])
    out.samples.append(sample.index)
    for level in sorted({*cfg.levels, 1.0}):
        weaker = changes
        if level != 1.0:
            moved = latents(context, sample, t, edits, (matched.gammas * level).tolist())
            weak = predictor(context.decoder(moved, t, sample)) - before
            weaker = scores.standardise(weak[:, reference.columns], reference.attributes)
        for method in dict.fromkeys(edit.variant for edit in edits):
            rows = [i for i, edit in enumerate(edits) if edit.variant == method]
            out.levels.setdefault((method, level), []).append(weaker[rows])
    out.frames.append(frames_of(torch.cat([original, edited])))
    return matched.target


def _rows(
    context: Context,
    cfg: DisentanglementConfig,
    sample: Sample,
    edits: list[Edit],
    matched: Matched,
    changes: Tensor,
    names: Sequence[str],
    frame: int,
) -> Iterator[Row]:
    """What each edit of a sample did.

    Args:
        context: of the run.
        cfg: of the study.
        sample: that was edited.
        edits: at the common strength.
        matched: their pictures.
        changes: of the attributes, in standard deviations, shape (K, A).
        names: of the A attributes.
        frame: number of the first edited picture.
    """
    original, edited = matched.original, matched.edited
    similar = _fidelity(edited, original)
    clipped, colour = clipped_share(edited) - clipped_share(original), chroma(edited) - chroma(original)
    same = None if context.identity is None else context.identity(edited, original)
    local = scores.local_success(changes, moved=cfg.moved, still=cfg.still)
    own = context.measured(edited, original)
    for i, edit in enumerate(edits):
        yield {
            "sample": sample.index,
            "name": sample.name,
            "method": edit.variant,
            "direction": edit.direction,
            "frame": frame + i,
            **matched.row(i),
            "perceptual_measure": context.perceptual.name,
            "local_success": bool(local[i]),
            "ssim": similar[0][i].item(),
            "psnr": similar[1][i].item(),
            "clipped_change": clipped[i].item(),
            "chroma_change": colour[i].item(),
            "identity": math.nan if same is None else same[i].item(),
            "s_dir": math.nan,  # needs the other samples, see finish
            **{name: values[i] for name, values in own.items()},
            **{f"delta_{name}": changes[i, j].item() for j, name in enumerate(names)},
        }


def _edits(
    context: Context,
    cfg: DisentanglementConfig,
    sample: Sample,
    t: int,
    k: int,
    found: Mapping[str, GlobalDirections],
    axes: dict[str, Tensor],
) -> Iterator[Edit]:
    """Every method's edits; a singular vector's sign is arbitrary, so that of the first sample's is kept."""
    x, basis = context.latents.of(sample, t), context.bases.of(sample, t)
    limit = context.editor.gammas[-1].item() * cfg.limit
    for method in [*cfg.methods, *(name for name in found if name not in METHODS)]:
        match method:
            case "local":
                v = basis.V[:, :k]
            case "random":
                v = random_in_x(context, k)  # the same for every sample, as global directions are
            case "x0" | "eps":
                v = context.bases.of_map(output_map(context, t, method), x, name=MapName(t, output=method), rank=k).V
            case _:
                v = from_h(found[method].U[:, :k], basis)
        if method in ("local", "x0", "eps"):
            first = axes.setdefault(method, v)
            v = v * torch.where((first * v).sum(dim=0) < 0, -1.0, 1.0)
        yield from straight(context, method, v, limit)


def _fidelity(edited: Tensor, original: Tensor) -> tuple[Tensor, Tensor]:
    """(SSIM, PSNR in dB) of each edited picture, (k,) both; an edit that changes nothing has infinite PSNR."""
    a, b = edited.clamp(-1, 1), original.clamp(-1, 1).expand_as(edited)
    ssim = structural_similarity_index_measure(a, b, data_range=2.0, reduction="none")
    psnr = peak_signal_noise_ratio(a, b, data_range=2.0, reduction="none", dim=(1, 2, 3))
    return cast(Tensor, ssim).reshape(-1).cpu(), psnr.reshape(-1).cpu()


def _codes(
    context: Context, cfg: DisentanglementConfig, found: Mapping[str, GlobalDirections], reference: Reference, t: int
) -> dict[str, Tensor]:
    """⟨h, ū_i⟩ of the unedited pictures, shape (N, K), by method: those with directions of H, and random ones in H."""
    f = context.bases.feature_map(t)
    with torch.no_grad():
        h = torch.cat([f(x).flatten(1) for x in reference.latents[t].split(16)]).double()
    directions = {method: one.U for method, one in found.items()}
    if "random" in cfg.methods:
        directions["random"] = random_directions(h.shape[1], cfg.directions, seed=context.cfg.seed).U.to(h)
    return {method: ((h - h.mean(dim=0)) @ u.double()).cpu() for method, u in directions.items()}


def _scalars(
    table: pd.DataFrame, tables: Mapping[str, pd.DataFrame], headline: tuple[str, ...] = _HEADLINE
) -> dict[str, float]:
    scalars = {"matched_share": float(table["matched"].mean()), "change": float(table["change_wanted"].iloc[0])}
    card = tables["scorecard"]
    shown = card[card["metric"].isin(headline)]
    for row in shown.dropna(subset=["value"]).to_dict("records"):
        key = f"{row['metric']}/{row['method']}/t_{row['t_frac']:g}"
        scalars[key] = float(row["value"])
        if row["metric"].startswith("precision_gain") and not math.isnan(row["low"]):
            scalars |= {f"{key}_low": float(row["low"]), f"{key}_high": float(row["high"])}
    if "subspace" in tables:
        inside = tables["subspace"]
        for t_frac, part in inside.groupby("t_frac", sort=False):
            scalars[f"subspace_share/t_{t_frac:g}"] = float(part["subspace"].mean())
            scalars[f"single_share/t_{t_frac:g}"] = float(part["single"].mean())
    return scalars
