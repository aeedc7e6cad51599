"""Studies: each module has ``run(context, cfg) -> Result``; a run executes those that ``study`` lists.

``work(context, cfg) -> Work`` beside it says before what it would compute, for ``--dry-run``.
"""

from __future__ import annotations

import importlib
import logging
from typing import Any

import pandas as pd

from diffgeo.results import Result
from diffgeo.studies.context import Context, Sample, shareable
from diffgeo.studies.work import Work

SAMPLES = {"sample": "name", "other": "other_name", "sample_a": "name_a", "sample_b": "name_b", "held_out": "name"}
"""Columns of sample numbers, and what the column of their names is called."""
SATURATED = 0.05
"""Share of colour values at their limits, beyond the unedited picture's, above which a study warns of its edits."""

__all__ = ["Context", "Result", "Sample", "Work", "run_study", "shareable", "study_work"]

log = logging.getLogger(__name__)


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
    _warn_of_saturation(result)
    return result


def study_work(name: str, context: Context, cfg: Any) -> Work | None:
    """What :func:`run_study` would compute; None for a study that does not say."""
    work = getattr(importlib.import_module(f"diffgeo.studies.{name}"), "work", None)
    return None if work is None else work(context, cfg)


def _warn_of_saturation(result: Result) -> None:
    """One warning per study if its edits drive colours to their limits, with the share and the timesteps."""
    found: dict[str, float] = {}
    for table in result.tables().values():
        if "clipped_change" in table:
            edited = table[table["gamma"] != 0]
            for t_frac, share in edited.groupby("t_frac", sort=False)["clipped_change"].mean().items():
                if share > SATURATED:
                    found[f"{t_frac:g} T"] = max(share, found.get(f"{t_frac:g} T", 0.0))
    if found:
        log.warning(
            "%s: edits drive more colours to their limits than the unedited pictures have: %s of all values on "
            "average; the pictures are damaged. Lower edit.strength, or take edit.rescale=true or edit.normalise=false",
            result.study,
            ", ".join(f"{share:.0%} at {t}" for t, share in found.items()),
        )


def _name_samples(table: pd.DataFrame, context: Context) -> None:
    """Put a column of names beside every column of sample numbers: file names say more than numbers."""
    for numbers, names in SAMPLES.items():
        if numbers in table and names not in table:
            table.insert(list(table.columns).index(numbers) + 1, names, table[numbers].map(context.sample_name))


def _settings(context: Context) -> dict[str, Any]:
    """The settings that every number of a run depends on; constant columns, so that tables of runs can be stacked."""
    c = context.cfg
    normalised = context.normalises(context.first_samples(1)[0])  # as for all: none of a run's samples differs in this
    return {
        "model": context.model.source,
        "block": c.feature.block,
        "pool": c.feature.pool or "none",
        "solver": c.svd.solver,
        "svd_tol": c.svd.tol,
        "steps": c.schedule.steps,
        "edit_method": c.edit.method,
        "edit_normalise": normalised,
        "edit_rescale": normalised and c.edit.rescale,
        "seed": c.seed,
    }
