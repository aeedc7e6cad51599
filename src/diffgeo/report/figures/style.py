"""The look of all figures, and the parts that they share; the only modules that import matplotlib are in this package.

Every line differs from the others in its colour and in its marker.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from diffgeo.report.palette import COLOURS
from diffgeo.results import Result

__all__ = ["COLOURS", "MARKERS", "STYLE", "by_time", "latent_shape", "picture_grid", "plain"]

logging.getLogger("matplotlib").setLevel(logging.WARNING)
logging.getLogger("fontTools").setLevel(logging.WARNING)

MARKERS = "os^Dv<>"
STYLE: dict[Any, Any] = {
    "figure.dpi": 150,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "svg.hashsalt": "diffgeo",
    "svg.fonttype": "none",
}
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
    axes.grid(visible=False)
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


def by_time(axes: Any, table: pd.DataFrame, column: str) -> None:
    """A quantity against t / T, running from T to 0 as sampling does: samples in grey, their mean in colour."""
    for _, rows in table.groupby("sample"):
        axes.plot(rows["t_frac"], rows[column], color="0.75", lw=0.8, marker=".", ms=3)
    mean = table.groupby("t_frac")[column].mean()
    axes.plot(mean, color=COLOURS[0], marker="o", ms=4, lw=1.5)
    axes.set(xlabel="t / T")
    axes.invert_xaxis()


def latent_shape(result: Result) -> tuple[int, int, int]:
    """(C, H, W) of the run's latents."""
    c, h, w = result.tensors["latent_shape"].tolist()
    return int(c), int(h), int(w)
