"""Studies: each module has ``run(context, cfg) -> Result``; a run executes those that ``study`` lists."""

from __future__ import annotations

import importlib
from typing import Any

import pandas as pd

from diffgeo.results import Result
from diffgeo.studies.context import Context, Sample, shareable

SAMPLES = {"sample": "name", "other": "other_name", "sample_a": "name_a", "sample_b": "name_b", "held_out": "name"}
"""Columns of sample numbers, and what the column of their names is called."""

__all__ = ["Context", "Result", "Sample", "run_study", "shareable"]


def run_study(name: str, context: Context, cfg: Any) -> Result:
    """Execute ``diffgeo.studies.NAME``, name the samples in its tables and note the run's settings as columns."""
    result: Result = importlib.import_module(f"diffgeo.studies.{name}").run(context, cfg)
    settings = _settings(context)
    for table in result.tables().values():
        if not table.empty:
            _name_samples(table, context)
            for column, value in settings.items():
                if column not in table:  # a study that varies a setting has its own column
                    table[column] = value
    return result


def _name_samples(table: pd.DataFrame, context: Context) -> None:
    """Put a column of names beside every column of sample numbers: file names say more than numbers."""
    for numbers, names in SAMPLES.items():
        if numbers in table and names not in table:
            table.insert(list(table.columns).index(numbers) + 1, names, table[numbers].map(context.sample_name))


def _settings(context: Context) -> dict[str, Any]:
    """The settings that every number of a run depends on; constant columns, so that tables of runs can be stacked."""
    c = context.cfg
    return {
        "model": context.model.source,
        "block": c.feature.block,
        "pool": c.feature.pool or "none",
        "solver": c.svd.solver,
        "svd_tol": c.svd.tol,
        "steps": c.schedule.steps,
        "edit_method": c.edit.method,
        "edit_normalise": c.edit.normalise,
        "seed": c.seed,
    }
