"""Charts of every study, made from its tables by Plotly; each with a text that holds its numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from diffgeo.report.page.charts import bases, edits, geometry
from diffgeo.report.page.charts.base import Chart, Tabs
from diffgeo.report.reading import Run

__all__ = ["CHARTS", "Chart", "Tabs"]

CHARTS: dict[str, Callable[[Run], Sequence[Chart | Tabs]]] = {
    "discovery": bases.discovery,
    "spectrum": bases.spectrum,
    "frequency": bases.frequency,
    "global_consistency": geometry.global_consistency,
    "curvedness": geometry.curvedness,
    "tangent_distance": geometry.tangent_distance,
    "ablation": edits.ablation,
    "disentanglement": edits.disentanglement,
    "dataset_complexity": geometry.dataset_complexity,
    "prompts": geometry.prompts,
}
"""Study → its charts, none where it left no rows."""
