"""A study's figures as files: its charts, and grids of its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from diffgeo.report.charts import Chart, Tables, save
from diffgeo.report.picture_grids import Figure, save_pictures
from diffgeo.results import Result

if TYPE_CHECKING:
    from diffgeo.studies import Study


def charts_of(study: Study, tables: Tables) -> list[Chart]:
    """The charts of a study; none if it left no rows or has no charts.

    Args:
        study: whose folder has ``plots.charts``.
        tables: of a run or of the study alone, by file stem; those without rows are left out.
    """
    kept = {stem: table for stem, table in tables.items() if not table.empty}
    found: list[Chart] = study.part("plots", "charts", lambda _: [])(kept) if study.name in kept else []
    return found


def draw(study: Study, result: Result) -> dict[str, list[Chart] | Figure]:
    """The figures of a study by file stem, each beginning with the study's name; none for an empty result.

    Args:
        study: whose folder has ``plots.charts`` (from tables) and ``plots.figures`` (grids of pictures), or neither.
        result: of the study.
    """
    if result.table.empty:
        return {}
    figures: dict[str, list[Chart] | Figure] = {}
    for chart in charts_of(study, result.tables()):
        together = figures.setdefault(f"{study.name}_{chart.figure}", [])
        assert isinstance(together, list)
        together.append(chart)
    grids: dict[str, Figure] = study.part("plots", "figures", lambda _: {})(result)
    return figures | {f"{study.name}_{name}": figure for name, figure in grids.items()}


def save_figure(figure: list[Chart] | Figure, stem: Path, *, warning: str = "") -> list[Path]:
    """Write ``stem.png`` and ``stem.svg``.

    Args:
        figure: charts, or a grid of pictures.
        stem: path without a suffix.
        warning: stands in the figure's corner, if there is one to give.

    Raises:
        OutputError: the folder cannot be written.
    """
    if isinstance(figure, list):
        return save(figure, stem, warning=warning)
    return save_pictures(figure, stem, warning=warning)
