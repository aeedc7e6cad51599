"""Columns that every table of a study gets: names of samples, and the settings of the run."""

from __future__ import annotations

from typing import Any

from diffgeo.results import Result
from diffgeo.session import Context

__all__ = ["provenance", "with_provenance"]

NAMES = {"sample": "name", "other": "other_name", "sample_a": "name_a", "sample_b": "name_b", "held_out": "name"}
"""Columns of sample numbers, and what the column of their names is called."""


def with_provenance(result: Result, context: Context) -> Result:
    """Name the samples in a study's tables and note the run's settings as columns, in place.

    Args:
        result: of the study.
        context: of the run.
    """
    settings = provenance(context)
    for table in result.tables().values():
        if table.empty:
            continue
        for numbers, names in NAMES.items():
            if numbers in table and names not in table:  # file names say more than numbers
                place = list(table.columns).index(numbers) + 1
                table.insert(place, names, table[numbers].map(context.samples.name))
        for column, value in settings.items():
            if column not in table:  # a study that varies a setting has a column of its own
                table[column] = value
    return result


def provenance(context: Context) -> dict[str, Any]:
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
