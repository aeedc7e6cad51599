r"""Global consistency (P23a, Figs. 3a and 6): do samples share directions, and do global ones serve samples unseen?

The first two fifths of the samples (at least two) give global directions ū_i, by each method; the others are held out.
How well ū_i fits a held-out tangent space, with local basis (u_j):

    best match   max_j |⟨ū_i, u_j⟩|,          share   ‖P ū_i‖ = √Σ_j ⟨ū_i, u_j⟩².

The null is a uniformly random n-dimensional subspace with a uniformly random basis for every held-out sample. It is
exact for any ū_i, however they were found: they do not depend on the held-out samples, and a fixed unit vector's
overlaps with a random frame have the law of :func:`diffgeo.geometry.random_overlaps`. (Leaving one sample out at a time
would use more samples, but its folds share them, and p-values from independent draws would be too small.) P-values are
of the mean over held-out samples, by Monte Carlo.

Then every held-out sample is edited by ±γ along the ū_i of the first method, projected to its tangent space and pulled
back to X, and the attribute changes of different samples are compared by their cosine.

Tables: ``global_consistency`` (timestep, method, direction, held-out sample), ``…_overlaps`` (best match of each u_i
between every two samples; with ``untrained`` the same at T of the network with random weights, whose architecture alone
gives some overlap), ``…_edits`` (attribute changes from −γ to +γ; ‖x'−x‖ and saturation, means of both
ends), ``…_agreement`` (cosines between two samples' changes, by the same direction and, to compare with, by different
ones).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import combinations, permutations, product

import pandas as pd
import torch
from torch import Tensor

from diffgeo.geometry import best_match, global_directions, project_to_tangent, pull_back, random_overlaps, signed_as
from diffgeo.metrics.attributes import label_change
from diffgeo.metrics.damage import clipped_share
from diffgeo.metrics.statistics import monte_carlo_p
from diffgeo.results import Result, Row, frames_of
from diffgeo.session import Context, Sample
from diffgeo.studies.global_consistency.settings import GlobalConsistencyConfig
from diffgeo.svd import LocalBasis

log = logging.getLogger(__name__)


def run(context: Context, cfg: GlobalConsistencyConfig) -> Result:
    """Compare the samples' bases at every edit timestep.

    At least three samples are taken, whatever ``data.samples`` says: two make the global directions, one is held out.
    With fewer pictures than that the result is empty, and a warning says so.
    """
    samples = context.samples.first(max(3, context.cfg.data.samples))
    if len(samples) < 3:
        log.warning("global_consistency was left out: it needs 3 pictures, data.images holds %d", len(samples))
        return Result("global_consistency", pd.DataFrame())
    rows: list[Row] = []
    overlaps: list[Row] = []
    edits: list[Row] = []
    agreement: list[Row] = []
    frames: list[Tensor] = []
    top = max(t_frac for t_frac, _ in context.edit_times)
    for t_frac, t in context.track(context.edit_times, "global consistency"):
        bases = _common_rank([context.bases.of(sample, t) for sample in samples])
        where = {"t_frac": t_frac, "t": t}
        untrained = _untrained(context, samples, t, bases[0].rank, cfg.untrained if t_frac == top else 0)
        overlaps += [{**where, **row} for row in _overlap_rows(samples, bases, untrained)]
        rows += [{**where, **row} for row in _held_out_rows(samples, bases, cfg, context.cfg.seed)]
        if cfg.edit:
            edited, similar, pictures = _edit(context, samples, bases, cfg, t)
            before = sum(map(len, frames))
            edits += [{**where, **row, "frame": row["frame"] + before} for row in edited]
            agreement += [{**where, **row} for row in similar]
            frames.append(pictures)
    tables = {"overlaps": overlaps, "edits": edits, "agreement": agreement}
    more = {name: pd.DataFrame(part) for name, part in tables.items() if part}
    table = pd.DataFrame(rows)
    tensors = {"frames": torch.cat(frames)} if frames else {}
    return Result("global_consistency", table, _scalars(table, more), tensors, more)


def _common_rank(bases: list[LocalBasis]) -> list[LocalBasis]:
    """Cut to the smallest rank, which differs where ``svd.share`` chose it."""
    n = min(b.rank for b in bases)
    return [b.truncated(n) for b in bases]


def _untrained(context: Context, samples: list[Sample], t: int, rank: int, count: int) -> list[list[LocalBasis]]:
    """Bases at the same latents, of each of several networks with random weights."""
    others = [context.with_model(context.model.untrained(seed)) for seed in range(count)]
    points = [context.latents.of(sample, t) for sample in samples]
    return [_common_rank([other.bases.at(x, t, rank=rank) for x in points]) for other in others]


def _overlap_rows(
    samples: list[Sample], bases: list[LocalBasis], untrained: Sequence[list[LocalBasis]] = ()
) -> list[Row]:
    rows: list[Row] = []
    for (i, a), (j, b) in permutations(enumerate(samples), 2):
        where = {"sample": a.index, "other": b.index, "rank": bases[i].rank}
        found = {"best_match": best_match(bases[i], bases[j]).tolist()}
        if untrained:
            null = torch.stack([best_match(other[i], other[j]) for other in untrained])
            found["untrained_best_match"] = null.mean(dim=0).tolist()
        rows += [
            {**where, "direction": k, **dict(zip(found, values, strict=True))}
            for k, values in enumerate(zip(*found.values(), strict=True))
        ]
    return rows


def _first_held_out(samples: list[Sample]) -> int:
    """Where the held-out samples begin."""
    return max(2, 2 * len(samples) // 5)


def _directions(training: list[LocalBasis], method: str, k: int) -> Tensor:
    """ū_1 … ū_k (m, k) of the training samples, signed as the first one's best matches."""
    return signed_as(global_directions(training, method).U[:, :k], training[0])  # type: ignore[arg-type]


def _held_out_rows(
    samples: list[Sample], bases: list[LocalBasis], cfg: GlobalConsistencyConfig, seed: int
) -> list[Row]:
    first = _first_held_out(samples)
    (m, n), held_out = bases[0].U.shape, len(samples) - first
    null = random_overlaps(m, n, 1, draws=cfg.draws * held_out, seed=seed).reshape(cfg.draws, held_out, n)
    null_match, null_share = null.abs().amax(dim=-1), null.square().sum(dim=-1).sqrt()
    limit = null_match.flatten().quantile(0.95).item()
    rows: list[Row] = []
    for method in cfg.methods:
        u = _directions(bases[:first], method, cfg.directions)
        found = []
        for basis in bases[first:]:
            overlap = u.double().T @ basis.U.double()
            found.append(torch.stack([overlap.abs().amax(dim=1), overlap.square().sum(dim=1).sqrt()]))
        match, share = torch.stack(found).unbind(dim=1)  # (held out, directions)
        for k in range(match.shape[1]):
            shared = {
                "method": method,
                "direction": k,
                "rank": n,
                "null_best_match": null_match.mean().item(),
                "null_best_match_95": limit,
                "null_share": null_share.mean().item(),
                "p_best_match": monte_carlo_p(match[:, k].mean().item(), null_match.mean(dim=1).numpy()),
                "p_share": monte_carlo_p(share[:, k].mean().item(), null_share.mean(dim=1).numpy()),
            }
            for i, sample in enumerate(samples[first:]):
                where = {"held_out": sample.index, "name": sample.name}
                fit = {"best_match": match[i, k].item(), "share": share[i, k].item()}
                rows.append({**where, **shared, **fit})
    return rows


def _edit(
    context: Context, samples: list[Sample], bases: list[LocalBasis], cfg: GlobalConsistencyConfig, t: int
) -> tuple[list[Row], list[Row], Tensor]:
    """Rows of the edits, rows of their agreement, and the pictures (N, 3, H, W) uint8 that the first ones number."""
    predictor, gammas = context.predictor, context.editor.gammas
    rows: list[Row] = []
    agreement: list[Row] = []
    changes: list[dict[str, Tensor]] = []
    frames: list[Tensor] = []
    first = _first_held_out(samples)
    u = _directions(bases[:first], cfg.methods[0], cfg.directions)
    for sample, basis in zip(samples[first:], bases[first:], strict=True):
        projected, share = project_to_tangent(u, basis)
        x = context.latents.of(sample, t)
        moved = [
            context.editor.move(x, pull_back(projected[:, k], basis), gammas, t, sample) for k in range(u.shape[1])
        ]
        lengths = torch.stack([(y[[0, -1]] - x).flatten(1).norm(dim=1).mean() for y in moved])
        pictures = context.decoder(torch.cat(moved), t, sample)
        clipped = clipped_share(pictures).unflatten(0, (u.shape[1], len(gammas)))
        saturated = clipped[:, [0, -1]].mean(dim=1) - clipped[:, len(gammas) // 2]
        ends = pictures.unflatten(0, (u.shape[1], len(gammas)))[:, [0, -1]].flatten(0, 1)
        own = context.measured(ends, pictures[len(gammas) // 2][None])
        found = {"picture_cosine": pictures.flatten(1)}
        if predictor is not None:
            found["cosine"] = predictor(pictures)
        by_frame = {name: values.unflatten(0, (u.shape[1], len(gammas))) for name, values in found.items()}
        change = {name: values[:, -1] - values[:, 0] for name, values in by_frame.items()}
        for k in range(u.shape[1]):
            where = {"direction": k, "held_out": sample.index, "name": sample.name, "share": share[k].item()}
            drawn: Row = {"frame": len(frames) * len(pictures) + k * len(gammas), "frames": len(gammas)}
            drawn |= {"gamma": gammas[-1].item(), "x_change": lengths[k].item()}
            drawn |= {"clipped_change": saturated[k].item()}
            drawn |= {name: (values[2 * k] + values[2 * k + 1]) / 2 for name, values in own.items()}
            if predictor is not None:
                moved = change["cosine"][k]
                drawn["label"] = label_change(predictor.names, moved)
                drawn |= {f"delta_{name}": moved[j].item() for j, name in enumerate(predictor.names)}
            rows.append({**where, **drawn})
        changes.append(change)
        frames.append(frames_of(pictures))
    for (a, change_a), (b, change_b) in combinations(zip(samples[first:], changes, strict=True), 2):
        cosines = {
            name: torch.cosine_similarity(c[:, None], change_b[name][None], dim=2) for name, c in change_a.items()
        }
        for i, j in product(range(u.shape[1]), repeat=2):
            where = {"sample": a.index, "other": b.index, "direction": i, "other_direction": j}
            agreement.append(where | {name: values[i, j].item() for name, values in cosines.items()})
    return rows, agreement, torch.cat(frames)


def _scalars(table: pd.DataFrame, more: dict[str, pd.DataFrame]) -> dict[str, float]:
    scalars: dict[str, float] = {}
    if table.empty:
        return scalars
    method = table["method"].iloc[0]
    for t_frac, part in table.groupby("t_frac", sort=False):
        leading = part[(part["method"] == method) & (part["direction"] == 0)]
        scalars[f"best_match/t_{t_frac:g}"] = float(leading["best_match"].mean())
        scalars[f"share/t_{t_frac:g}"] = float(leading["share"].mean())
        scalars[f"p_best_match/t_{t_frac:g}"] = float(leading["p_best_match"].iloc[0])
    scalars["null_best_match"] = float(table["null_best_match"].iloc[0])
    if "cosine" in more.get("agreement", ()):
        for t_frac, part in more["agreement"].groupby("t_frac", sort=False):
            same = part["direction"] == part["other_direction"]
            scalars[f"edit_agreement/t_{t_frac:g}"] = float(part.loc[same, "cosine"].mean())
            scalars[f"edit_agreement_others/t_{t_frac:g}"] = float(part.loc[~same, "cosine"].mean())
    return scalars
