"""Grids of labelled pictures as files, by matplotlib: traversals, directions, edits."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure as Figure

from diffgeo.report.palette import WARNING
from diffgeo.results import atomic

logging.getLogger("matplotlib").setLevel(logging.WARNING)
logging.getLogger("fontTools").setLevel(logging.WARNING)

STYLE: dict[Any, Any] = {"figure.dpi": 150, "font.size": 9, "svg.hashsalt": "diffgeo", "svg.fonttype": "none"}
TILE = 0.72
"""Side of a picture in a grid, in inches."""


def picture_grid(
    rows: Sequence[Sequence[np.ndarray]],
    *,
    title: str,
    left: Sequence[str],
    top: Sequence[str] = (),
    right: Sequence[str] = (),
) -> Figure:
    """Pictures (H, W, 3 or 1), uint8 or in [0, 1], in labelled rows and columns; drawn as one image, which is quick."""
    side_h, side_w = rows[0][0].shape[:2]
    gap = max(1, side_w // 16)
    count = max(map(len, rows))
    canvas = np.ones((len(rows) * (side_h + gap) - gap, count * (side_w + gap) - gap, 3))
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            values = picture / 255 if picture.dtype == np.uint8 else picture
            y, x = i * (side_h + gap), j * (side_w + gap)
            canvas[y : y + side_h, x : x + side_w] = values
    lines = max((label.count("\n") + 1 for label in top), default=0)
    margin_left = 0.15 + 0.075 * max((len(line) for label in left for line in label.split("\n")), default=0)
    margin_right = 0.05 + 0.075 * max((len(line) for label in right for line in label.split("\n")), default=0)
    margin_top = 0.3 + 0.16 * lines
    width = margin_left + TILE * count + margin_right
    height = margin_top + TILE * len(rows) * side_h / side_w + 0.05
    figure = plt.figure(figsize=(width, height))
    axes = figure.add_axes(
        (margin_left / width, 0.05 / height, TILE * count / width, 1 - (margin_top + 0.05) / height), frameon=False
    )
    axes.imshow(canvas, interpolation="nearest", aspect="auto")
    axes.tick_params(length=0, labelsize=8)
    middle_y = [i * (side_h + gap) + side_h / 2 - 0.5 for i in range(len(rows))]
    middle_x = [j * (side_w + gap) + side_w / 2 - 0.5 for j in range(count)]
    axes.set_yticks(middle_y, list(left))
    axes.xaxis.tick_top()
    axes.set_xticks(middle_x if top else [], list(top) if top else [])
    for y, label in zip(middle_y, right, strict=False):
        axes.text(canvas.shape[1] + 2 * gap, y, label, va="center", fontsize=7.5)
    figure.suptitle(title, fontsize=9, y=1 - 0.05 / height)
    return figure


def plain(name: str) -> str:
    """A file's name as matplotlib should print it: a dollar sign is no mathematics."""
    return name.replace("$", r"\$")


def save_pictures(figure: Figure, stem: Path, *, warning: str = "") -> list[Path]:
    """Write ``stem.png`` and ``stem.svg``, with the warning in a corner, then close the figure.

    Raises:
        OutputError: the folder cannot be written.
    """
    paths = [stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")]
    figure.text(0.005, 0.995, warning, ha="left", va="top", fontsize=7, color=WARNING)
    try:
        for path in paths:
            with atomic(path) as temporary, plt.rc_context(STYLE):
                figure.savefig(temporary, metadata={"Date": None} if path.suffix == ".svg" else None)
    finally:
        plt.close(figure)
    return paths
