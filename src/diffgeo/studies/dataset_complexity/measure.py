r"""Do simpler data give more consistent tangent spaces (P23b)? With complexity controlled.

P23b compares models of different data sets. Here the models have one architecture and one length of training, and by
default their data differ only in how many factors vary. An interval over samples of one model does not hold the spread
between trainings, so that models whose records name the same data count as trainings, numbered as they are listed, and
the claim is tested over these. For each model, timestep and pair of samples (the same seeds for every model): the
Grassmann distance of the tangent spaces, one n for all.
"""

from __future__ import annotations

from itertools import combinations

import pandas as pd

from diffgeo.diffusion.models.training_record import training_of
from diffgeo.errors import ConfigError
from diffgeo.results import Result, Row
from diffgeo.session import Context
from diffgeo.studies.dataset_complexity.settings import DatasetComplexityConfig
from diffgeo.studies.shared.other_models import with_network
from diffgeo.studies.shared.tangent_spaces import common_rank, distances
from diffgeo.svd import LocalBasis


def run(context: Context, cfg: DatasetComplexityConfig) -> Result:
    """Bases of every model at every edit timestep, by the run's schedule, feature map and solver.

    Raises:
        ConfigError: two of the list are of one training.
        ModelError: a model of the list cannot be loaded.
        UnsuitableModelError: one lacks the run's ``feature.block``, as the run's own model is of another architecture.
    """
    found: dict[tuple[str, float, int], LocalBasis] = {}
    data: dict[str, str] = {}
    trainings: dict[str, tuple[str, int]] = {}
    for path in context.track(cfg.models, "data sets"):
        other = with_network(context, path, "dataset_complexity")
        record = training_of(other.model.source)
        data[path] = path if record is None else record.data
        trainings[path] = (path, 0) if record is None else (f"{record.data} {record.settings}", record.seed)
        if twin := next((one for one in trainings if one != path and trainings[one] == trainings[path]), None):
            raise ConfigError(
                f"study.dataset_complexity.models: {twin} and {path} are moments of one training",
                "list one network of each training, as a claim about data counts trainings",
            )
        for sample in context.track(other.samples.first(cfg.samples), path):
            for t_frac, t in other.edit_times:
                found[path, t_frac, sample.index] = other.bases.at(other.latents.of(sample, t), t, rank=cfg.rank + 1)
    if not found:
        return Result("dataset_complexity", pd.DataFrame())
    n = common_rank(list(found.values()), cfg.rank, cfg.rule)
    training = {path: [other for other in data if data[other] == data[path]].index(path) for path in data}
    rows: list[Row] = []
    for (model_a, frac_a, a), (model_b, frac_b, b) in combinations(found, 2):
        if model_a == model_b and frac_a == frac_b:
            pair = distances(found[model_a, frac_a, a].truncated(n), found[model_b, frac_b, b].truncated(n))
            where = {"data_model": model_a, "data": data[model_a], "training": training[model_a]}
            where |= {"t_frac": frac_a, "sample_a": a, "sample_b": b}
            rows.append({**where, "rank": n, **pair})
    table = pd.DataFrame(rows)
    scalars = {
        f"between_samples/{model}/t_{t_frac:g}": float(part["distance_normalized"].mean())
        for (model, t_frac), part in (table.groupby(["data_model", "t_frac"], sort=False) if len(table) else ())
    }
    return Result("dataset_complexity", table, scalars)
