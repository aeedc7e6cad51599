"""Columns that every table of a study gets: names of samples, and the settings of the run."""

from __future__ import annotations

import logging
from typing import Any

from diffgeo.results import Result
from diffgeo.session import Context

__all__ = ["provenance", "with_provenance"]

log = logging.getLogger(__name__)

NAMES = {"sample": "name", "other": "other_name", "sample_a": "name_a", "sample_b": "name_b", "held_out": "name"}
"""Columns of sample numbers, and what the column of their names is called."""
SATURATED = 0.05
"""Share of colour values at their limits, beyond the unedited picture's, above which a study warns of its edits."""


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
    _warn_of_saturation(result)
    return result


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


def provenance(context: Context) -> dict[str, Any]:
    """The settings that every number of a run depends on; constant columns, so that tables of runs can be stacked."""
    c = context.cfg
    normalised = context.editor.normalises(context.samples.first(1)[0])  # a run's samples agree in this
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
