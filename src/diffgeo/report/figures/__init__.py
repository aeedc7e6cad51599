"""Figures of every study, drawn from its tables and tensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from diffgeo.report.figures import bases, edits, geometry
from diffgeo.report.figures.style import STYLE
from diffgeo.results import Result, atomic

__all__ = ["draw", "save_figure"]


def draw(result: Result) -> dict[str, Figure]:
    """The figures of a study by file stem, each beginning with the study's name; none for an empty result."""
    make = FIGURES.get(result.study)
    if make is None or result.table.empty:
        return {}
    with plt.rc_context(STYLE):
        return {f"{result.study}_{name}": figure for name, figure in make(result).items()}


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write ``stem.png`` and ``stem.svg``, then close the figure.

    Raises:
        OutputError: the folder cannot be written.
    """
    paths = [stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")]
    try:
        with plt.rc_context(STYLE):
            figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, not once a file
        for path in paths:
            with atomic(path) as temporary, plt.rc_context(STYLE):
                figure.savefig(temporary, metadata={"Date": None} if path.suffix == ".svg" else None)
    finally:
        plt.close(figure)
    return paths


FIGURES: dict[str, Callable[[Result], dict[str, Figure]]] = {
    "discovery": bases.discovery,
    "spectrum": bases.spectrum_study,
    "frequency": bases.frequency,
    "global_consistency": geometry.global_consistency,
    "curvedness": geometry.curvedness,
    "tangent_distance": geometry.tangent_distance,
    "ablation": edits.ablation,
    "disentanglement": edits.disentanglement,
    "dataset_complexity": geometry.dataset_complexity,
    "prompts": geometry.prompts,
}
"""Study → its figures."""
