"""Scalars of many runs against the settings in which they differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from diffgeo.report.figures import save_figure
from diffgeo.report.figures.style import COLOURS, MARKERS, STYLE

__all__ = ["comparison"]


def comparison(groups: pd.DataFrame, by: Sequence[str], folder: Path) -> list[Path]:
    """A figure per scalar: the first key along the axis, one line for every value of the others.

    Args:
        groups: of :func:`diffgeo.report.runs.grouped`.
        by: its keys; nothing is drawn without any.
        folder: where to write.

    Returns:
        The PNG files.
    """
    written: list[Path] = []
    for scalar, part in groups.groupby("scalar", sort=False) if by else ():
        with plt.rc_context(STYLE):
            figure = _one(str(scalar), part, list(by))
        stem = str(scalar).replace("/", "_").replace(" ", "_")
        written.append(save_figure(figure, folder / stem)[0])
    return written


def _one(scalar: str, part: pd.DataFrame, by: list[str]) -> Figure:
    first, others = by[0], by[1:]
    figure, axes = plt.subplots(figsize=(4.6, 3.0), layout="constrained")
    numeric = pd.api.types.is_numeric_dtype(part[first]) and not pd.api.types.is_bool_dtype(part[first])
    places = {value: i for i, value in enumerate(dict.fromkeys(part[first]))}
    lines = part.groupby(others, sort=False, dropna=False) if others else [((), part)]
    for i, (values, rows) in enumerate(lines):
        x = rows[first] if numeric else rows[first].map(places)
        label = ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in zip(others, values, strict=True))
        colour = COLOURS[i % len(COLOURS)]
        axes.vlines(x, rows["low"], rows["high"], color=colour, lw=1)
        axes.plot(x, rows["mean"], color=colour, marker=MARKERS[i % 7], ms=4, lw=1.3 if numeric else 0, label=label)
    if not numeric:
        axes.set_xticks(list(places.values()), [str(value) for value in places])
    axes.set(xlabel=first, title=scalar.replace("_", " "))
    if others:
        axes.legend(fontsize=7.5)
    return figure
