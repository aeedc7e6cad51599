r"""Do simpler data give more consistent tangent spaces (P23b)? With complexity controlled.

P23b compares models of different data sets. Here the models have one architecture and one length of training, and by
default their data differ only in how many factors vary. One trained model stands for each kind of data, so that an
interval over samples does not hold the spread between trainings. For each model, timestep and pair of samples (the same
seeds for every model): the Grassmann distance of the tangent spaces, one n for all.
"""

from __future__ import annotations

from itertools import combinations

import pandas as pd

from diffgeo.diffusion.models import load_model
from diffgeo.errors import ConfigError, UnsuitableModelError
from diffgeo.results import Result, Row
from diffgeo.session import Context
from diffgeo.studies.dataset_complexity.settings import DatasetComplexityConfig
from diffgeo.studies.shared.tangent_spaces import common_rank, distances
from diffgeo.svd import LocalBasis

__all__ = ["run"]


def run(context: Context, cfg: DatasetComplexityConfig) -> Result:
    """Bases of every model at every edit timestep, by the run's schedule, feature map and solver.

    Raises:
        ModelError: a model of the list cannot be loaded.
        UnsuitableModelError: one lacks the run's ``feature.block``, as the run's own model is of another architecture.
    """
    found: dict[tuple[str, float, int], LocalBasis] = {}
    for path in context.track(cfg.models, "data sets"):
        model = load_model(path, device=context.model.device, dtype=context.model.dtype)
        other = context.with_model(model)
        _check_block(other, path)
        for sample in context.track(other.samples.first(cfg.samples), path):
            for t_frac, t in other.edit_times:
                found[path, t_frac, sample.index] = other.bases.at(other.latents.of(sample, t), t, rank=cfg.rank + 1)
    if not found:
        return Result("dataset_complexity", pd.DataFrame())
    n = common_rank(list(found.values()), cfg.rank, cfg.rule)
    rows: list[Row] = []
    for (model_a, frac_a, a), (model_b, frac_b, b) in combinations(found, 2):
        if model_a == model_b and frac_a == frac_b:
            pair = distances(found[model_a, frac_a, a].truncated(n), found[model_b, frac_b, b].truncated(n))
            where = {"data_model": model_a, "t_frac": frac_a, "sample_a": a, "sample_b": b}
            rows.append({**where, "rank": n, **pair})
    table = pd.DataFrame(rows)
    scalars = {
        f"between_samples/{model}/t_{t_frac:g}": float(part["distance_normalized"].mean())
        for (model, t_frac), part in (table.groupby(["data_model", "t_frac"], sort=False) if len(table) else ())
    }
    return Result("dataset_complexity", table, scalars)


def _check_block(context: Context, path: str) -> None:
    """Whether a model has the block whose output is h."""
    try:
        context.bases.feature_map(context.model.schedule.T)
    except ConfigError as error:
        raise UnsuitableModelError(
            f"dataset_complexity compares {path} by {context.cfg.feature.block}, a block that it lacks",
            "choose study.dataset_complexity.models of the run's architecture, or feature.block",
        ) from error
