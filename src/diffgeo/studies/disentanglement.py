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
(:mod:`diffgeo.studies.matching`).

Attributes are in standard deviations over unedited pictures. An edit's target is the attribute that its direction moves
most: on all *other* samples (``precision``), or in this edit itself (``precision_own``, which flatters every method).
Definitions: :mod:`diffgeo.metrics.edits`, :mod:`diffgeo.metrics.disentanglement`.

Tables:

    disentanglement              one row per edit (timestep, method, direction, sample)
    …_scorecard                  one row per (timestep, method, metric): value, 95 % interval over samples, n
    …_rescoring                  R_ij and E|Δa_j| (timestep, method, direction, attribute), with the directions' labels
    …_pareto                     target change against collateral at several strengths, the target chosen held out
    …_timing                     share of an edit's effect that falls on each attribute, by timestep
    …_subspace                   how much of an attribute's gradient the tangent space holds (see ``subspace``)
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, cast

import pandas as pd
import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from diffgeo import __version__
from diffgeo.config import METHODS, DisentanglementConfig
from diffgeo.data.factor_faces import FACTOR_NAMES, render, sample_factors
from diffgeo.directions import Directions, load_directions
from diffgeo.errors import ConfigError, DirectionsError
from diffgeo.geometry import GlobalDirections, Method, global_directions, pca_directions, random_directions
from diffgeo.metrics import edits as scores
from diffgeo.metrics.attributes import AttributePredictor, label_direction
from diffgeo.metrics.clip import ClipPredictor
from diffgeo.metrics.damage import chroma, clipped_share
from diffgeo.noise_schedule import CLEAN
from diffgeo.results import Result
from diffgeo.sampling import ddim_invert, ddim_sample, initial_noise
from diffgeo.studies.context import Context, Sample
from diffgeo.studies.matching import (
    TOL,
    Edit,
    features,
    from_h,
    latents,
    match_edits,
    output_map,
    random_in_x,
    straight,
)
from diffgeo.studies.scorecard import scorecard
from diffgeo.studies.subspace import entanglement
from diffgeo.studies.timing import coarse_to_fine

__all__ = ["run"]

log = logging.getLogger(__name__)

Row = dict[str, Any]
GLOBAL = ("nearest", "hungarian", "frechet")
SIGNIFICANT = 0.05
"""Largest p of the sign test with which a gain over random directions counts, beside its interval."""
_CODES = 8_000_000
"""First seed of the pictures whose codes are scored, apart from those of samples."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Unedited pictures: the scale of attributes, and codes with their factors.

    Attributes:
        pictures: shape (N, 3, H, W).
        attributes: predicted, shape (N, A).
        factors: known where the pictures were rendered, else the predicted ones, shape (N, A').
        factor_names: of A'.
        known: whether they were rendered.
        latents: x_t by timestep, shape (N, C, H, W) each.
    """

    pictures: Tensor
    attributes: Tensor
    factors: Tensor
    factor_names: tuple[str, ...]
    known: bool
    latents: dict[int, Tensor]


def run(context: Context, cfg: DisentanglementConfig) -> Result:
    """Score every method at every edit timestep.

    With no attribute predictor, or with fewer than three pictures, the result is empty and a warning says so.
    """
    predictor, samples = context.predictor, context.first_samples(max(3, cfg.samples))
    if predictor is None or len(samples) < 3:
        missing = "an attribute predictor (predictor=…)" if predictor is None else "3 pictures in data.images"
        log.warning("disentanglement was left out: it needs %s", missing)
        return Result("disentanglement", pd.DataFrame())
    first = min(cfg.training or max(2, 2 * len(samples) // 5), len(samples) - 1)
    training, held_out = samples[:first], samples[first:]
    times = _times(context, cfg)
    reference = _reference(context, cfg, predictor, [t for _, t in times])
    rows: list[Row] = []
    more: dict[str, list[Row]] = {name: [] for name in ("scorecard", "rescoring", "pareto", "timing", "subspace")}
    sets: dict[str, Directions] = {}
    frames: list[Tensor] = []
    for t_frac, t in context.track(times, "disentanglement"):
        where = {"t_frac": t_frac, "t": t}
        found = _directions(context, cfg, training, t)
        edited = _Edited(predictor)
        target = cfg.change
        for sample in held_out:
            target = _edit(context, cfg, sample, t, found, reference, target, edited)
        rows += [{**where, **row, "frame": row["frame"] + sum(map(len, frames))} for row in edited.finish()]
        frames += edited.frames
        codes = _codes(context, cfg, found, reference, t)
        more["scorecard"] += [{**where, **row} for row in scorecard(edited.table(), codes, reference.factors, cfg)]
        rescored, labels = _rescoring(edited, predictor.names)
        more["rescoring"] += [{**where, **row} for row in rescored]
        more["pareto"] += [{**where, **row} for row in edited.pareto()]
        more["timing"] += [{**where, **row} for row in _timing(edited, predictor.names)]
        for sample in held_out[: cfg.subspace]:
            part = entanglement(context, sample, t, predictor, reference.latents[t])
            more["subspace"] += [{**where, **row} for row in part]
        for method, one in found.items():
            if method.startswith("file "):
                continue
            name = f"{method}_{t_frac:g}T"
            sets[name] = Directions.of(
                one,
                context.model,
                t=t,
                block=context.cfg.feature.block,
                pool=context.cfg.feature.pool,
                labels=labels.get(method),
                provenance={
                    "samples": [s.name for s in training] if method in GLOBAL else cfg.codes,
                    "rank": context.cfg.svd.rank,
                    "steps": context.cfg.schedule.steps,
                    "seed": context.cfg.seed,
                    "diffgeo": __version__,
                },
            )
    table = pd.DataFrame(rows)
    tables = {name: pd.DataFrame(part) for name, part in more.items() if part}
    scalars = {} if table.empty else _scalars(table, tables)
    if "scorecard" in tables:
        _say(tables["scorecard"])
    if "timing" in tables:
        timing, summary = coarse_to_fine(tables["timing"], seed=context.cfg.seed, draws=cfg.draws)
        tables["timing"] = timing
        scalars |= summary
    tensors = {"frames": torch.cat(frames)} if frames else {}
    return Result("disentanglement", table, scalars, tensors, tables, sets)


def _times(context: Context, cfg: DisentanglementConfig) -> list[tuple[float, int]]:
    """(fraction, timestep): ``t_fracs`` or the run's, and those of direction files that are not among them."""
    schedule, steps = context.model.schedule, context.cfg.schedule.steps
    times = context.edit_times if cfg.t_fracs is None else [(f, schedule.nearest(f, steps)) for f in cfg.t_fracs]
    feature, names = context.cfg.feature, [Path(path).stem for path in cfg.files]
    if len(set(names)) < len(names):
        raise ConfigError(f"study.disentanglement.files={cfg.files} holds one name twice; rename a file")
    for path in cfg.files:
        loaded = load_directions(path)
        t = loaded.t
        loaded.check(context.model, t=t, block=feature.block, pool=feature.pool)
        if t not in schedule.timesteps(steps):
            raise DirectionsError(
                f"{path} belongs to timestep {t}, which schedule.steps={steps} leaves out; change steps"
            )
        if t not in [u for _, u in times]:
            times.append((round(t / schedule.T, 4), t))
    return times


def _reference(
    context: Context, cfg: DisentanglementConfig, predictor: AttributePredictor, times: list[int]
) -> Reference:
    model, steps, n = context.model, context.cfg.schedule.steps, cfg.codes
    known = _rendered(context, cfg)
    wanted = sorted(set(times), reverse=True)
    kept: dict[int, list[Tensor]] = {t: [] for t in wanted}
    pictures, factors = [], []
    with context.display.task("unedited pictures", n) as advance:
        for start in range(0, n, 16):
            seeds = [_CODES + i for i in range(start, min(start + 16, n))]
            if known:
                z = torch.cat([sample_factors(1, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
                chunk = render(z, model.picture_size)
                x, at = model.encode(chunk.to(model.device, model.dtype)), CLEAN
                for t in reversed(wanted):
                    x, at = ddim_invert(model, x, steps=steps, start=at, stop=t), t
                    kept[t].append(x)
                factors.append(z)
            else:
                x, at = initial_noise(model, seeds), model.schedule.T
                for t in wanted:
                    x, at = (x if t == at else ddim_sample(model, x, steps=steps, start=at, stop=t, clip=True)), t
                    kept[t].append(x)
                chunk = model.decode(ddim_sample(model, x, steps=steps, start=at, clip=True)).cpu()
            pictures.append(chunk)
            advance(len(seeds))
    shown = torch.cat(pictures)
    attributes = predictor(shown)
    names = FACTOR_NAMES if known else predictor.names
    return Reference(
        shown,
        attributes,
        torch.cat(factors) if known else attributes,
        tuple(names),
        known,
        {t: torch.cat(parts) for t, parts in kept.items()},
    )


def _rendered(context: Context, cfg: DisentanglementConfig) -> bool:
    """Whether codes are those of rendered faces, whose factors are known."""
    own = context.own_predictor or context.predictor
    faces = own is not None and own.names == FACTOR_NAMES
    if cfg.renders and not faces:
        raise ConfigError("study.disentanglement.renders=true needs a model of FactorFaces; leave it at null")
    return context.model.source == "shipped:factor_faces" if cfg.renders is None else cfg.renders


def _directions(
    context: Context, cfg: DisentanglementConfig, training: list[Sample], t: int
) -> dict[str, GlobalDirections]:
    """The methods that give directions of H, and files; each signed as the first training sample's best matches."""
    found: dict[str, GlobalDirections] = {}
    bases = [context.basis(sample, t) for sample in training]
    for method in cfg.methods:
        if method in GLOBAL:
            smallest = min(basis.rank for basis in bases)
            found[method] = global_directions([b.truncated(smallest) for b in bases], cast(Method, method))
        elif method == "pca_h":
            n = max(cfg.codes, cfg.directions + 1)
            found[method] = pca_directions(features(context, n, t), min(cfg.directions, n - 1))
    signed = {}
    for name, one in found.items():
        u = one.U[:, : cfg.directions]
        overlap = bases[0].U.T @ u
        u = u * torch.where(overlap.gather(0, overlap.abs().argmax(dim=0, keepdim=True)) < 0, -1.0, 1.0)
        signed[name] = GlobalDirections(u, one.score[: cfg.directions], one.method)
    for path in cfg.files:  # published signs are kept: their labels depend on them
        loaded = load_directions(path)
        if loaded.t == t:
            u = loaded.U.to(bases[0].U)[:, : cfg.directions]
            signed[f"file {Path(path).stem}"] = GlobalDirections(u, loaded.score[: cfg.directions], loaded.method)
    return signed


class _Edited:
    """Everything that the edits of one timestep gave, sample by sample."""

    def __init__(self, predictor: AttributePredictor) -> None:
        self.names, self.predictor = predictor.names, predictor
        self.rows: list[Row] = []
        self.levels: dict[tuple[str, float], list[Tensor]] = {}  # Δa (K, A) of each sample at each strength
        self.samples: list[int] = []
        self.moves: dict[str, list[Tensor]] = {}  # changes of CLIP's embedding, (K, e) a sample
        self.axes: dict[str, Tensor] = {}
        self.frames: list[Tensor] = []
        self.changes: dict[str, list[Tensor]] = {}
        self.gammas: dict[tuple[str, int], list[float]] = {}  # what matched the samples before: a good start

    def by_method(self) -> dict[str, Tensor]:
        """Δa, shape (N, K, A), by method."""
        return {method: torch.stack(parts) for method, parts in self.changes.items()}

    def finish(self) -> list[Row]:
        """Rows with what needs all samples: held-out targets, and success on transfer."""
        for method, changes in self.by_method().items():
            own = scores.targets(changes, held_out=False)
            chosen = scores.targets(changes, held_out=True) if len(changes) > 1 else own
            mean, largest = scores.attribute_dependency(changes, chosen)
            precision, flattered = scores.edit_precision(changes, chosen), scores.edit_precision(changes, own)
            towards = self._towards(method, changes, chosen)
            mine = [row for row in self.rows if row["method"] == method]
            k = changes.shape[1]
            for place, row in enumerate(mine):
                i, j = divmod(place, k)
                row |= {
                    "target": self.names[int(chosen[i, j])],
                    "target_held_out": len(changes) > 1,
                    "on_target": changes[i, j, chosen[i, j]].abs().item(),
                    "dependency_mean": mean[i, j].item(),
                    "dependency_max": largest[i, j].item(),
                    "precision": precision[i, j].item(),
                    "precision_own": flattered[i, j].item(),
                    "s_dir": math.nan if towards is None else towards[i, j].item(),
                }
        return self.rows

    def _towards(self, method: str, changes: Tensor, chosen: Tensor) -> Tensor | None:
        """S_dir towards the target, with the sign that it has on the other samples, (N, K); None without CLIP."""
        if not isinstance(self.predictor, ClipPredictor) or len(changes) < 2:
            return None
        others = changes.sum(dim=0, keepdim=True) - changes
        sign = others.gather(-1, chosen[..., None]).sign()
        text = self.predictor.text_directions.cpu()[chosen] * sign
        return scores.directional_similarity(torch.stack(self.moves[method]), text)

    def pareto(self) -> Iterator[Row]:
        """Each curve follows one attribute: the target at the matched strength, chosen on the other samples."""
        by_method = self.by_method()
        for (method, level), parts in self.levels.items():
            matched, changes = by_method[method], torch.stack(parts)
            target = scores.targets(matched, held_out=len(matched) > 1)
            mean, largest = scores.attribute_dependency(changes, target)
            on = changes.abs().gather(-1, target[..., None])[..., 0]
            for i, sample in enumerate(self.samples):
                for k in range(changes.shape[1]):
                    yield {
                        "sample": sample,
                        "method": method,
                        "direction": k,
                        "level": level,
                        "target": self.names[int(target[i, k])],
                        "on_target": on[i, k].item(),
                        "collateral": mean[i, k].item(),
                        "collateral_max": largest[i, k].item(),
                    }

    def table(self) -> tuple[pd.DataFrame, dict[str, Tensor]]:
        """(the rows so far, Δa by method)."""
        return pd.DataFrame(self.rows), self.by_method()


def _edit(
    context: Context,
    cfg: DisentanglementConfig,
    sample: Sample,
    t: int,
    found: Mapping[str, GlobalDirections],
    reference: Reference,
    target: float | None,
    out: _Edited,
) -> float:
    """Edit one sample along every direction; returns the perceptual change that the edits were brought to."""
    predictor = context.predictor
    assert predictor is not None
    edits = list(_edits(context, cfg, sample, t, found, out.axes))
    known, strength = out.gammas, context.gammas[-1].item()
    start = torch.tensor([median(known.get((edit.variant, edit.direction), [strength])) for edit in edits])
    matched = match_edits(context, sample, t, edits, target, start=start)
    for edit, gamma in zip(edits, matched.gammas.tolist(), strict=True):
        known.setdefault((edit.variant, edit.direction), []).append(gamma)
    original, edited = matched.original, matched.edited
    before, after = predictor(original), predictor(edited)
    changes = scores.standardise(after - before, reference.attributes)
    similar = _fidelity(edited, original)
    clipped, colour = clipped_share(edited) - clipped_share(original), chroma(edited) - chroma(original)
    same = None if context.identity is None else context.identity(edited, original)
    local = scores.local_success(changes, moved=cfg.moved, still=cfg.still)
    frame = sum(map(len, out.frames))
    for i, edit in enumerate(edits):
        row: Row = {
            "sample": sample.index,
            "name": sample.name,
            "method": edit.variant,
            "direction": edit.direction,
            "frame": frame + 1 + i,
            "gamma": matched.gammas[i].item(),
            "change": matched.changes[i].item(),
            "change_wanted": matched.target,
            "matched": abs(matched.changes[i].item() / matched.target - 1) <= TOL,
            "perceptual_measure": context.perceptual.name,
            "local_success": bool(local[i]),
            "ssim": similar[0][i].item(),
            "psnr": similar[1][i].item(),
            "clipped_change": clipped[i].item(),
            "chroma_change": colour[i].item(),
            "identity": math.nan if same is None else same[i].item(),
            "s_dir": math.nan,  # needs the other samples, see finish
        }
        row |= {f"delta_{name}": changes[i, j].item() for j, name in enumerate(predictor.names)}
        out.rows.append(row)
    embedded = None
    if isinstance(predictor, ClipPredictor):
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
            weaker = scores.standardise(predictor(context.decode(moved, t, sample)) - before, reference.attributes)
        for method in dict.fromkeys(edit.variant for edit in edits):
            rows = [i for i, edit in enumerate(edits) if edit.variant == method]
            out.levels.setdefault((method, level), []).append(weaker[rows])
    pictures = torch.cat([original, edited]).clamp(-1, 1)
    out.frames.append(((pictures + 1) * 127.5).round().to(torch.uint8).cpu())
    return matched.target


def _edits(
    context: Context,
    cfg: DisentanglementConfig,
    sample: Sample,
    t: int,
    found: Mapping[str, GlobalDirections],
    axes: dict[str, Tensor],
) -> Iterator[Edit]:
    """Every method's edits; a singular vector's sign is arbitrary, so that of the first sample's is kept."""
    x, basis = context.latent(sample, t), context.basis(sample, t)
    k, limit = min(cfg.directions, basis.rank), context.gammas[-1].item() * cfg.limit
    for method in [*cfg.methods, *(name for name in found if name not in METHODS)]:
        match method:
            case "local":
                v = basis.V[:, :k]
            case "random":
                v = random_in_x(context, k)  # the same for every sample, as global directions are
            case "x0" | "eps":
                v = context.basis_of(output_map(context, t, method), x, rank=k).V
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
    context: Context,
    cfg: DisentanglementConfig,
    found: Mapping[str, GlobalDirections],
    reference: Reference,
    t: int,
) -> dict[str, Tensor]:
    """⟨h, ū_i⟩ of the unedited pictures, shape (N, K), by method: those with directions of H, and random ones in H."""
    f = context.feature_map(t)
    with torch.no_grad():
        h = torch.cat([f(x).flatten(1) for x in reference.latents[t].split(16)]).double()
    directions = {method: one.U for method, one in found.items()}
    if "random" in cfg.methods:
        directions["random"] = random_directions(h.shape[1], cfg.directions, seed=context.cfg.seed).U.to(h)
    return {method: ((h - h.mean(dim=0)) @ u.double()).cpu() for method, u in directions.items()}


def _rescoring(edited: _Edited, names: tuple[str, ...]) -> tuple[list[Row], dict[str, list[str]]]:
    """Rows of the re-scoring matrix, and each method's labels."""
    rows: list[Row] = []
    labels: dict[str, list[str]] = {}
    for method, changes in edited.by_method().items():
        mean, size = scores.rescoring_matrix(changes), changes.abs().mean(dim=0)
        for k in range(changes.shape[1]):
            label, confidence = label_direction(names, changes[:, k])
            labels.setdefault(method, []).append(label)
            rows += [
                {
                    "method": method,
                    "direction": k,
                    "label": label,
                    "confidence": confidence,
                    "attribute": name,
                    "score": mean[k, j].item(),
                    "effect": size[k, j].item(),
                    "samples": len(changes),
                }
                for j, name in enumerate(names)
            ]
    return rows, labels


def _timing(edited: _Edited, names: tuple[str, ...]) -> Iterator[Row]:
    """Share of each sample's effects that falls on each attribute, by method."""
    for method, changes in edited.by_method().items():
        size = changes.abs().sum(dim=1)  # (N, A), over directions
        shares = size / size.sum(dim=1, keepdim=True).clamp_min(1e-12)
        for i, row in enumerate(shares):
            for name, share in zip(names, row.tolist(), strict=True):
                yield {"method": method, "place": i, "attribute": name, "share": share}


def _say(card: pd.DataFrame) -> None:
    """The comparison with chance, in words."""
    for row in card[card["metric"] == "precision_gain"].to_dict("records"):
        beyond = row["low"] > 0 and row["p"] <= SIGNIFICANT
        verdict = "too few samples to tell" if row["n"] < 5 else "beyond chance" if beyond else "not beyond chance"
        log.info(
            "%s at t = %g T: edit precision %+.2f against random directions, 95 %% [%.2f, %.2f] over %d samples: %s",
            row["method"],
            row["t_frac"],
            row["value"],
            row["low"],
            row["high"],
            row["n"],
            verdict,
        )


def _scalars(table: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> dict[str, float]:
    scalars = {"matched_share": float(table["matched"].mean()), "change": float(table["change_wanted"].iloc[0])}
    card = tables["scorecard"]
    headline = card[card["metric"].isin(["precision", "precision_gain", "effect_disentanglement", "dci_d"])]
    for row in headline.dropna(subset=["value"]).to_dict("records"):
        key = f"{row['metric']}/{row['method']}/t_{row['t_frac']:g}"
        scalars[key] = float(row["value"])
        if row["metric"] == "precision_gain" and not math.isnan(row["low"]):
            scalars |= {f"{key}_low": float(row["low"]), f"{key}_high": float(row["high"])}
    if "subspace" in tables:
        inside = tables["subspace"]
        for t_frac, part in inside.groupby("t_frac", sort=False):
            scalars[f"subspace_share/t_{t_frac:g}"] = float(part["subspace"].mean())
            scalars[f"single_share/t_{t_frac:g}"] = float(part["single"].mean())
    return scalars
