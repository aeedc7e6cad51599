"""Charts of every study, one module each: functions from tables to charts, which files and page draw alike."""

from __future__ import annotations

from collections.abc import Callable

from diffgeo.report.charts import (
    ablation,
    curvedness,
    dataset_complexity,
    discovery,
    disentanglement,
    frequency,
    global_consistency,
    prompts,
    spectrum,
    tangent_distance,
)
from diffgeo.report.charts.toolkit import Chart, Tables

__all__ = ["CHARTS", "charts_of"]

CHARTS: dict[str, Callable[[Tables], list[Chart]]] = {
    "discovery": discovery.charts,
    "spectrum": spectrum.charts,
    "frequency": frequency.charts,
    "global_consistency": global_consistency.charts,
    "curvedness": curvedness.charts,
    "tangent_distance": tangent_distance.charts,
    "ablation": ablation.charts,
    "disentanglement": disentanglement.charts,
    "dataset_complexity": dataset_complexity.charts,
    "prompts": prompts.charts,
}
"""Study → its charts, from its tables by file stem; each of them has rows."""


def charts_of(study: str, tables: Tables) -> list[Chart]:
    """The charts of a study; none if it left no rows or has no charts.

    Args:
        study: its name.
        tables: of a run or of the study alone, by file stem; those without rows are left out.
    """
    kept = {stem: table for stem, table in tables.items() if not table.empty}
    return CHARTS[study](kept) if study in CHARTS and study in kept else []
