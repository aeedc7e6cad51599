"""Studies: each module has ``run(context, cfg) -> Result``; a run executes those that ``study`` lists.

``work(context, cfg) -> Work`` beside it says before what it would compute, for ``--dry-run``.
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pandas as pd

from diffgeo.convergence import summary
from diffgeo.errors import ConvergenceWarning
from diffgeo.results import Result
from diffgeo.studies.context import Context, Sample, shareable
from diffgeo.studies.work import Work

SAMPLES = {"sample": "name", "other": "other_name", "sample_a": "name_a", "sample_b": "name_b", "held_out": "name"}
"""Columns of sample numbers, and what the column of their names is called."""

__all__ = ["Context", "Result", "Sample", "Work", "run_study", "shareable", "study_work", "warn_of"]


def run_study(name: str, context: Context, cfg: Any) -> Result:
    """Execute ``diffgeo.studies.NAME``, name the samples in its tables and note the run's settings as columns.

    Scalars are called by the fractions of T that were asked for, so that runs with other schedules have the same names;
    tables hold the fractions of the timesteps that were used.

    Warns:
        ConvergenceWarning: some of the study's local bases missed their tolerance (one warning, whatever their number).
    """
    with context.tally.study(), warnings.catch_warnings():
        # one warning a basis, which the count below sums up
        warnings.filterwarnings("ignore", r"(?s).*\bsvd\.(tol|share)=", ConvergenceWarning)
        result: Result = importlib.import_module(f"diffgeo.studies.{name}").run(context, cfg)
        result = replace(result, convergence=context.tally.convergence)
    warn_of(result)
    result = replace(result, scalars=_named_as_asked(result.scalars, context, cfg))
    settings = _settings(context)
    for table in result.tables().values():
        if not table.empty:
            _name_samples(table, context)
            for column, value in settings.items():
                if column not in table:  # a study that varies a setting has its own column
                    table[column] = value
    return result


def warn_of(result: Result) -> None:
    """Warn if local bases of a study missed their tolerance."""
    found = result.convergence
    if not found.complete:
        warnings.warn(summary({result.study: found}), ConvergenceWarning, stacklevel=3)


def _named_as_asked(scalars: dict[str, float], context: Context, cfg: Any) -> dict[str, float]:
    """The scalars with ``t_0.3`` in their names if 0.3 was asked for, even if the timestep used is 0.25 T."""
    schedule, steps = context.model.schedule, context.cfg.schedule.steps
    asked: Iterable[float] = (*context.cfg.schedule.edit, *(getattr(cfg, "t_fracs", None) or ()))
    names = {f"t_{schedule.fraction(schedule.nearest(one, steps)):g}": f"t_{one:g}" for one in asked}
    if all(used == named for used, named in names.items()):
        return scalars
    return {
        re.sub(r"(?<=/)t_[\d.e-]+", lambda found: names.get(found[0], found[0]), key): value
        for key, value in scalars.items()
    }


def study_work(name: str, context: Context, cfg: Any) -> Work | None:
    """What :func:`run_study` would compute; None for a study that does not say."""
    work = getattr(importlib.import_module(f"diffgeo.studies.{name}"), "work", None)
    return None if work is None else work(context, cfg)


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
