"""Figures of every study as files: its charts, and grids of its pictures."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from diffgeo.report.charts import charts_of
from diffgeo.report.charts.toolkit import Chart, save
from diffgeo.report.figures.pictures import draw_pictures, save_pictures
from diffgeo.results import Result

__all__ = ["draw", "save_figure"]


def draw(result: Result) -> dict[str, list[Chart] | Figure]:
    """The figures of a study by file stem, each beginning with the study's name; none for an empty result."""
    if result.table.empty:
        return {}
    figures: dict[str, list[Chart] | Figure] = {}
    for chart in charts_of(result.study, result.tables()):
        together = figures.setdefault(f"{result.study}_{chart.figure}", [])
        assert isinstance(together, list)
        together.append(chart)
    return figures | {f"{result.study}_{name}": figure for name, figure in draw_pictures(result).items()}


def save_figure(figure: list[Chart] | Figure, stem: Path) -> list[Path]:
    """Write ``stem.png`` and ``stem.svg``.

    Raises:
        OutputError: the folder cannot be written.
    """
    return save(figure, stem) if isinstance(figure, list) else save_pictures(figure, stem)
