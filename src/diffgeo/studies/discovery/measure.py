r"""Discovery: local bases at every edit timestep, their spectra, and traversals of the leading directions.

Main table ``discovery``, one row per (sample, timestep, direction): singular value, residuals, and, for the
directions that are traversed, the low-frequency share of the picture's change from −γ to +γ (below a quarter of
Nyquist), the perceptual length of the traversal (the sum of distances between neighbouring frames) and the share of it
that its largest step makes (P23b notes that some directions change abruptly; 1 / (frames − 1) is even), and the change
of every predicted attribute, with a label; metrics of the user's own, the mean over both ends. Second table
``discovery_traversals``, one row per frame: γ, the length ‖x'−x‖ of the edit, the change of the picture, and the share
of colours that it drives to their limits. Tensors: the frames and the bases.
"""

from __future__ import annotations

from collections import Counter

import pandas as pd
import torch
from torch import Tensor

from diffgeo.errors import ValueRangeError
from diffgeo.metrics.attributes import label_change
from diffgeo.metrics.damage import clipped_share
from diffgeo.metrics.spectral import band_share, radial_power
from diffgeo.results import Result, Row, frames_of
from diffgeo.session import Context, Sample
from diffgeo.studies.discovery.settings import DiscoveryConfig
from diffgeo.svd import LocalBasis

ABRUPT = 0.5
"""A traversal is called abrupt if one step makes more than this share of its perceptual length."""


def run(context: Context, cfg: DiscoveryConfig) -> Result:
    """Discover directions for every sample and edit timestep.

    Args:
        context: model, samples and settings.
        cfg: the study's settings.

    Returns:
        Tables, frames (N, 3, H, W) uint8 in the order of ``discovery_traversals``, and the bases as
        ``V/SAMPLE/T``, ``U/…``, ``s/…``. An interrupted run returns what was finished.
    """
    rows: list[Row] = []
    frame_rows: list[Row] = []
    frames: list[Tensor] = []
    tensors = {"latent_shape": torch.tensor(context.model.latent_shape)}
    places = [(sample, t_frac, t) for sample in context.samples for t_frac, t in context.edit_times]
    for sample, t_frac, t in context.track(places, "discovery"):
        basis = context.bases.of(sample, t)
        where = {"sample": sample.index, "name": sample.name, "t_frac": t_frac, "t": t}
        for part in ("U", "s", "V"):
            tensors[f"{part}/{sample.index}/{t}"] = getattr(basis, part).cpu()
        pictures, predicted, lengths = _traverse(context, sample, t, min(cfg.directions, basis.rank))
        own = _own(context, pictures)
        rows += [{**where, **row} for row in _direction_rows(context, basis, pictures, predicted, own)]
        frame_rows += [{**where, **row} for row in _frame_rows(context, pictures, predicted, lengths, own)]
        frames.append(frames_of(pictures.flatten(0, 1)))
    table, frame_table = pd.DataFrame(rows), pd.DataFrame(frame_rows)
    if frames:
        tensors["frames"] = torch.cat(frames)
        frame_table.insert(0, "frame", range(len(frame_table)))
    scalars = _scalars(table, list(context.extra_metrics))
    return Result("discovery", table, scalars, tensors, {"traversals": frame_table})


def _traverse(context: Context, sample: Sample, t: int, directions: int) -> tuple[Tensor, Tensor | None, Tensor]:
    """Pictures (directions, frames, 3, H, W) in [−1, 1], their attributes (directions, frames, k), and ‖x'−x‖."""
    moved = torch.stack([context.editor.traverse(sample, t, i) for i in range(directions)])
    injection = context.editor.injection(sample, t, directions)
    pictures = context.decoder(moved.flatten(0, 1), t, sample, injection=injection)
    if not bool(torch.isfinite(pictures).all()):
        raise ValueRangeError(f"{sample.name}, t={t}: edited pictures hold NaN", "lower edit.strength")
    predicted = None if context.predictor is None else context.predictor(pictures)
    shape = moved.shape[:2]
    lengths = (moved - context.latents.of(sample, t)).flatten(2).norm(dim=2)
    return pictures.unflatten(0, shape), None if predicted is None else predicted.unflatten(0, shape), lengths


def _own(context: Context, pictures: Tensor) -> list[dict[str, list[float]]]:
    """Metrics for every frame of each traversal (k, frames, 3, H, W), against the middle one, which all have."""
    count = pictures.shape[1]
    values = context.measured(pictures.flatten(0, 1), pictures[0, count // 2][None])
    return [{name: found[i * count :][:count] for name, found in values.items()} for i in range(len(pictures))]


def _direction_rows(
    context: Context, basis: LocalBasis, pictures: Tensor, predicted: Tensor | None, own: list[dict[str, list[float]]]
) -> list[Row]:
    certificate = basis.certificate
    low_shares = _low_shares(pictures[:, -1] - pictures[:, 0])
    lengths, jumps = _paths(context, pictures)
    rows: list[Row] = []
    for i in range(basis.rank):
        row: Row = {
            "direction": i,
            "singular_value": basis.s[i].item(),
            "residual_left": certificate.left[i].item(),
            "residual_right": certificate.right[i].item(),
            "rank": basis.rank,
            "passes": certificate.passes,
            "converged": certificate.converged,
            "gap": certificate.gap,
            "label": None,
            "change_low_share": low_shares[i] if i < len(low_shares) else float("nan"),
            "path_length": lengths[i] if i < len(lengths) else float("nan"),
            "largest_step": jumps[i] if i < len(jumps) else float("nan"),
            "perceptual_measure": context.perceptual.name,
        }
        for name in own[0] if own else ():
            row[name] = (own[i][name][0] + own[i][name][-1]) / 2 if i < len(own) else float("nan")
        if predicted is not None and context.predictor is not None and i < len(predicted):
            change = predicted[i, -1] - predicted[i, 0]
            row["label"] = label_change(context.predictor.names, change)
            row |= {f"delta_{name}": change[k].item() for k, name in enumerate(context.predictor.names)}
        rows.append(row)
    return rows


def _paths(context: Context, pictures: Tensor) -> tuple[list[float], list[float]]:
    """Perceptual lengths of traversals (k, frames, 3, H, W), and shares of the largest step; NaN if none moves."""
    near = context.perceptual(pictures[:, :-1].flatten(0, 1), pictures[:, 1:].flatten(0, 1))
    steps = near.double().unflatten(0, (len(pictures), -1))
    return steps.sum(dim=1).tolist(), (steps.amax(dim=1) / steps.sum(dim=1)).tolist()


def _low_shares(changes: Tensor) -> list[float]:
    """Share of each picture change (k, 3, H, W) below a quarter of Nyquist; NaN if nothing changed."""
    moved = changes.flatten(1).abs().amax(dim=1) > 0
    shares = torch.full((len(changes),), float("nan"))
    if bool(moved.any()):
        shares[moved.cpu()] = band_share(radial_power(changes[moved]), 0, 0.25, min(changes.shape[-2:])).float().cpu()
    return shares.tolist()


def _frame_rows(
    context: Context, pictures: Tensor, predicted: Tensor | None, lengths: Tensor, own: list[dict[str, list[float]]]
) -> list[Row]:
    gammas, middle = context.editor.gammas.tolist(), len(context.editor.gammas) // 2
    rows: list[Row] = []
    for i, frames in enumerate(pictures):
        change = (frames - frames[middle]).square().mean(dim=(1, 2, 3)).sqrt()
        clipped = clipped_share(frames) - clipped_share(frames[middle : middle + 1])
        for j, gamma in enumerate(gammas):
            row: Row = {
                "direction": i,
                "gamma": gamma,
                "x_change": lengths[i, j].item(),
                "pixel_change": change[j].item(),
                "clipped_change": clipped[j].item(),
            }
            row |= {name: values[j] for name, values in own[i].items()}
            if predicted is not None and context.predictor is not None:
                row |= {name: predicted[i, j, k].item() for k, name in enumerate(context.predictor.names)}
            rows.append(row)
    return rows


def _scalars(table: pd.DataFrame, own: list[str]) -> dict[str, float]:
    """Headline numbers, the user's own metrics among them; empty when nothing was finished."""
    if table.empty:
        return {}
    once = table[table["direction"] == 0]
    scalars = {
        "samples": float(table["sample"].nunique()),
        "converged_share": float(once["converged"].mean()),
        "passes_per_basis": float(once["passes"].mean()),
        "residual_max": float(table[["residual_left", "residual_right"]].to_numpy().max()),
    }
    for t_frac, part in table.groupby("t_frac", sort=False):
        scalars[f"s_first/t_{t_frac:g}"] = float(part.loc[part["direction"] == 0, "singular_value"].mean())
        scalars |= {f"{name}/t_{t_frac:g}": float(part[name].mean()) for name in own}
        steps = part["largest_step"].dropna()
        if len(steps):
            scalars[f"largest_step/t_{t_frac:g}"] = float(steps.mean())
            scalars[f"abrupt_share/t_{t_frac:g}"] = float((steps > ABRUPT).mean())
        last = part.groupby("sample")["singular_value"].last() / part.groupby("sample")["singular_value"].first()
        scalars[f"s_last_over_first/t_{t_frac:g}"] = float(last.mean())
    deltas = [c for c in table.columns if c.startswith("delta_")]
    if deltas:
        top = table.dropna(subset=deltas)[deltas]
        scalars["attribute_change_mean"] = float(top.abs().max(axis=1).mean())
        winners = Counter(top.abs().idxmax(axis=1))
        scalars["attributes_reached"] = float(len(winners))
    return scalars
