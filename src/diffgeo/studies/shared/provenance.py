"""What every study's result tells about how it was made: names of samples, settings of the run, unconverged bases."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass, replace
from typing import Any

from diffgeo.config.fields import rule_of
from diffgeo.errors import BasisWarning, ConvergenceWarning
from diffgeo.results import Result, Row
from diffgeo.saturation import ADVICE, saturation
from diffgeo.session import Context

log = logging.getLogger(__name__)

NAMES = {"sample": "name", "other": "other_name", "sample_a": "name_a", "sample_b": "name_b", "held_out": "name"}
"""Columns of sample numbers, and what the column of their names is called."""


def measured(
    run: Callable[[Context, Any], Result], context: Context, settings: Any, *, traverses: bool = False
) -> Result:
    """Measure, and say in the result what was measured: names of samples, log-SNR, settings, unconverged bases.

    Scalars are called by the fractions of T that were asked for, so that runs with other schedules have the same names;
    tables hold the fractions of the timesteps that were used.

    Args:
        run: the study's measurement.
        context: of the run.
        settings: of the study.
        traverses: whether its edits are traversals (:attr:`~diffgeo.studies.Study.traverses`).

    Warns:
        ConvergenceWarning: some local bases missed their tolerance (one warning, whatever their number).
    """
    context.notice_changes()
    with context.tally.study(), context.model.held(), warnings.catch_warnings():
        warnings.simplefilter("ignore", BasisWarning)  # the count sums them up
        result = run(context, settings)
        result = replace(result, convergence=context.tally.convergence)
    warn_of(result)
    result = replace(result, scalars=_named_as_asked(result.scalars, context, settings))
    columns = provenance(context, traverses)
    for table in result.tables().values():
        if table.empty:
            continue
        for numbers, names in NAMES.items():
            if numbers in table and names not in table:  # file names say more than numbers
                place = list(table.columns).index(numbers) + 1
                table.insert(place, names, table[numbers].map(context.samples.name))
        if "t" in table and "log_snr" not in table and table["t"].dtype.kind == "i":  # timesteps
            table.insert(list(table.columns).index("t") + 1, "log_snr", table["t"].map(context.model.schedule.log_snr))
        for column, value in columns.items():
            if column not in table:  # a study that varies a setting has a column of its own
                table[column] = value
    return result


def warn_of(result: Result) -> None:
    """Warn if local bases of a study missed their tolerance, or its edits drive colours to their limits."""
    if share := saturation(result.tables().values()):
        log.warning(
            "%s: edits drive more colours to their limits than the unedited pictures have: %s of all values on "
            "average, which damages the pictures. %s",
            result.study,
            share,
            ADVICE,
        )
    found = result.convergence
    if not found.complete:
        warnings.warn(f"{result.study}: {found}", ConvergenceWarning, stacklevel=3)


def asked_times(context: Context, settings: Any) -> dict[str, int]:
    """The timesteps that stand for the fractions of T (or log-SNR) that ``schedule`` and a study's settings ask for.

    Args:
        context: of the run.
        settings: of the study.

    Returns:
        Timestep by the name that scalars have of it: ``t_0.3`` if 0.3 of T was asked for, even if the timestep that is
        used is 0.25 T, and ``log_snr_-5`` with ``schedule.edit_log_snr``.
    """
    schedule, c = context.model.schedule, context.cfg.schedule
    edit: Iterable[float] = c.edit if c.edit_log_snr is None else ()
    times = {f"log_snr_{one:g}": schedule.nearest_log_snr(one, c.steps) for one in c.edit_log_snr or ()}
    asked = [*edit]
    for one in fields(settings) if is_dataclass(settings) else ():
        value = getattr(settings, one.name)
        if rule_of(one).scheduled and value is not None:
            asked += value if isinstance(value, list) else [value]
    return times | {f"t_{one:g}": schedule.nearest(one, c.steps) for one in asked}


def _named_as_asked(scalars: dict[str, float], context: Context, settings: Any) -> dict[str, float]:
    """The scalars with the names of :func:`asked_times` in theirs."""
    fraction = context.model.schedule.fraction
    names = {f"t_{fraction(t):g}": name for name, t in asked_times(context, settings).items()}
    if all(used == named for used, named in names.items()):
        return scalars
    return {
        re.sub(r"(?<=/)t_[\d.e-]+", lambda found: names.get(found[0], found[0]), key): value
        for key, value in scalars.items()
    }


def provenance(context: Context, traverses: bool) -> Row:
    """The settings that every number of a run depends on; constant columns, so that tables of runs can be stacked.

    Args:
        context: of the run.
        traverses: whether the table's edits are traversals, which can be of another kind than a step along any offset.
    """
    c, editor = context.cfg, context.editor
    normalised = editor.normalises(context.samples.first(1)[0])  # a run's samples agree in this
    return {
        "model": context.model.source,
        "block": c.feature.block,
        "tap": c.feature.tap,
        "pool": c.feature.pool or "none",
        "solver": c.svd.solver,
        "svd_tol": c.svd.tol,
        "steps": c.schedule.steps,
        "edit_method": c.edit.method if traverses else editor.step_method,
        "edit_normalise": normalised,
        "edit_rescale": normalised and c.edit.rescale,
        "seed": c.seed,
    }
