r"""The geometry of h by training: at moments of one training, and in trainings that differ by their seed alone.

A network is told apart by what the record of its training says: the data, the seed, how many pictures it had seen, and
a digest of all other settings, which tells whether two networks are of one training or of two that differ by their seed
alone. All are measured at the same places of the noise process, from the same seeds of samples and portraits:

    ``training``         a row per (network, sample, timestep) on the network's own sampling path: the effective
                         dimension (Σ s²)² / Σ s⁴ of the leading n directions, and the mean |cos| of their best matches
                         in the other samples' local bases (P23a, Figs. 3a and 3b)
    ``training_truth``   a row per (network, portrait, timestep): ‖VᵀB‖²_F / rank B, the share of the data's tangent
                         space B that as many leading directions hold, at a portrait of known factors with noise;
                         ``chance`` is rank B / d
    ``training_paths``   a row per (network, pair of samples, path): how far the tangent space turns on the straight
                         line and on the arc between two samples, in radians (P23a, Table 1)
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch

from diffgeo.diffusion.models.training_record import training_of
from diffgeo.errors import ConfigError
from diffgeo.geometry import best_match, effective_dimension, lerp, semantic_path_length, slerp
from diffgeo.results import Result, Row
from diffgeo.session import Context
from diffgeo.studies.shared.other_models import with_network
from diffgeo.studies.shared.portraits import known_portraits, share_of_span
from diffgeo.studies.training.settings import TrainingConfig, networks_in

_PATHS = {"lerp": lerp, "slerp": slerp}


def run(context: Context, cfg: TrainingConfig) -> Result:
    """Measure every network by the run's schedule, feature map and solver.

    Raises:
        ConfigError: a folder holds no network, or a network has no record of its training.
        ModelError: a network cannot be loaded.
        UnsuitableModelError: one lacks the run's ``feature.block``.
    """
    rows: list[Row] = []
    truth: list[Row] = []
    paths: list[Row] = []
    networks = [one for given in cfg.networks for one in networks_in(given)]
    for path in context.track(networks, "networks"):
        other = with_network(context, path, "training")
        record = training_of(other.model.source)
        if record is None:
            raise ConfigError(
                f"study.training.networks: {path} has no record of its training",
                "name networks that tools/train.py has kept",
            )
        schedule = other.model.schedule
        where: Row = {"network": path, "data": record.data, "settings": record.settings}
        where |= {"training_seed": record.seed, "images": record.images, "model": other.model.source}
        for table, part in ((rows, _geometry), (truth, _truth), (paths, _lengths)):
            table += [where | row | {"log_snr": schedule.log_snr(int(row["t"]))} for row in part(other, cfg)]
    more = {name: pd.DataFrame(part) for name, part in (("truth", truth), ("paths", paths)) if part}
    found = pd.DataFrame(rows)
    return Result("training", found, {} if found.empty else _scalars(found), more_tables=more)


def _geometry(context: Context, cfg: TrainingConfig) -> Iterator[Row]:
    """Spectrum and consistency of one network on its own sampling path."""
    samples = context.samples.first(cfg.samples)
    for t_frac, t in context.edit_times:
        bases = [context.bases.at(context.latents.of(sample, t), t, rank=cfg.rank) for sample in samples]
        for sample, basis in zip(samples, bases, strict=True):
            matches = [best_match(basis, other).mean().item() for other in bases if other is not basis]
            yield {
                "sample": sample.index,
                "t_frac": t_frac,
                "t": t,
                "rank": basis.rank,
                "effective_dimension": effective_dimension(basis.s),
                "best_match": float(np.mean(matches)) if matches else float("nan"),
            }


def _truth(context: Context, cfg: TrainingConfig) -> Iterator[Row]:
    """How much of the data's tangent space the directions hold; nothing if the data are not known."""
    portraits = known_portraits(context, cfg.portraits) if context.known_factors else []
    for one in portraits:
        for t_frac, t in context.edit_times:
            basis = context.bases.at(one.latent(context, t), t, rank=one.space.rank)
            share = share_of_span(basis.V.double().cpu(), one.space.basis.double())
            chance = basis.rank / context.model.latent_size
            yield {"portrait": one.index, "t_frac": t_frac, "t": t, "share": share, "chance": chance}


def _lengths(context: Context, cfg: TrainingConfig) -> Iterator[Row]:
    """How far the tangent space turns between samples."""
    t_frac, t = max(context.edit_times)
    points = [context.latents.of(sample, t) for sample in context.samples.first(2 * cfg.pairs)]
    weights = torch.linspace(0, 1, cfg.segments + 1)
    for pair, (a, b) in enumerate(zip(points[::2], points[1::2], strict=False)):
        for name, between in _PATHS.items():
            bases = [context.bases.at(x, t, rank=cfg.path_rank) for x in between(a, b, weights)]
            lengths = {"length": semantic_path_length(bases), "length_soft": semantic_path_length(bases, soft=True)}
            yield {"pair": pair, "path": name, "t_frac": t_frac, "t": t, "rank": cfg.path_rank, **lengths}


def _scalars(table: pd.DataFrame) -> dict[str, float]:
    return {
        f"{column}/{data}/{settings}/seed_{seed}/{images}/t_{t_frac:g}": float(part[column].mean())
        for (data, settings, seed, images, t_frac), part in table.groupby(
            ["data", "settings", "training_seed", "images", "t_frac"], sort=False
        )
        for column in ("effective_dimension", "best_match")
    }
