"""Studies: each module has ``run(context, cfg) -> Result``; a run executes those that ``study`` lists."""

from __future__ import annotations

import importlib
from typing import Any

from diffgeo.results import Result
from diffgeo.studies.context import Context, Sample, shareable

__all__ = ["Context", "Result", "Sample", "run_study", "shareable"]


def run_study(name: str, context: Context, cfg: Any) -> Result:
    """Execute ``diffgeo.studies.NAME`` and note the run's settings as columns of its tables."""
    result: Result = importlib.import_module(f"diffgeo.studies.{name}").run(context, cfg)
    settings = _settings(context)
    for table in result.tables().values():
        if not table.empty:
            for column, value in settings.items():
                if column not in table:  # a study that varies a setting has its own column
                    table[column] = value
    return result


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
