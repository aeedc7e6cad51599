"""Figures made of pictures: traversals, directions, edits; by matplotlib, in labelled grids."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from diffgeo.results import Result, atomic

__all__ = ["PICTURES", "draw_pictures", "picture_grid", "save_pictures"]

logging.getLogger("matplotlib").setLevel(logging.WARNING)
logging.getLogger("fontTools").setLevel(logging.WARNING)

STYLE: dict[Any, Any] = {
    "figure.dpi": 150,
    "font.size": 9,
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


def _plain(name: str) -> str:
    """A file's name as matplotlib should print it: a dollar sign is no mathematics."""
    return name.replace("$", r"\$")


def _latent_shape(result: Result) -> tuple[int, int, int]:
    """(C, H, W) of the run's latents."""
    c, h, w = result.tensors["latent_shape"].tolist()
    return int(c), int(h), int(w)


EDITS = {"single": "x' = x + γ v", "shooting": "geodesic shooting", "guidance": "x-space guidance"}


def _discovery(result: Result) -> dict[str, Figure]:
    """Traversals by timestep, and directions as pictures."""
    frames = result.tensors["frames"].permute(0, 2, 3, 1).numpy()
    traversals, figures = result.more_tables["traversals"], {}
    for t_frac in traversals["t_frac"].unique():
        figures[f"traversals_{t_frac:g}T"] = _traversals(result.table, traversals, frames, t_frac)
    return figures | {"directions": _directions(result)}


def _traversals(table: pd.DataFrame, traversals: pd.DataFrame, frames: np.ndarray, t_frac: float) -> Figure:
    """Rows: sample and direction, with its label; columns: γ."""
    part = traversals[traversals["t_frac"] == t_frac]
    labels = table[table["t_frac"] == t_frac].set_index(["sample", "direction"])["label"]
    rows, left, right = [], [], []
    for _, row in part.groupby(["sample", "direction"], sort=False):
        sample, direction = row["sample"].iloc[0], row["direction"].iloc[0]
        rows.append([frames[i] for i in row["frame"]])
        left.append(f"{_plain(row['name'].iloc[0])}\n$v_{{{direction + 1}}}$")
        label = labels[sample, direction]
        right.append(label.replace("_", " ").replace(", ", "\n") if isinstance(label, str) else "")
    top = [f"{gamma:+.1f}" if abs(gamma) > 1e-6 else "0" for gamma in part["gamma"].unique()]
    title = f"{EDITS[part['edit_method'].iloc[0]]} at t = {t_frac:g} T; columns: γ"
    return picture_grid(rows, title=title, left=left, top=top, right=right)


def _directions(result: Result) -> Figure:
    """The leading v_i of the first sample as pictures; each scaled to its own largest value, grey is 0."""
    first = result.table[result.table["sample"] == result.table["sample"].iloc[0]]
    times = first[["t_frac", "t"]].drop_duplicates().itertuples(index=False)
    bases = [(frac, result.tensors[f"V/{first['sample'].iloc[0]}/{t}"]) for frac, t in times]
    count = min(8, min(v.shape[1] for _, v in bases))
    rows = []
    for _, v in bases:
        pictures = v[:, :count].T.reshape(count, *_latent_shape(result))[:, :3].permute(0, 2, 3, 1).numpy()
        rows.append([np.clip(0.5 + 0.5 * p / np.abs(p).max(), 0, 1) for p in pictures])
    return picture_grid(
        rows,
        title=f"latent directions of {_plain(first['name'].iloc[0])} as pictures",
        left=[f"{frac:g} T" for frac, _ in bases],
        top=[f"$v_{{{i + 1}}}$" for i in range(count)],
    )


def _global_edits(result: Result) -> dict[str, Figure]:
    """Rows: held-out samples; columns: −γ, 0, +γ of every global direction; one figure a timestep."""
    edits, pictures = result.more_tables["edits"], result.tensors["frames"].permute(0, 2, 3, 1).numpy()
    figures = {}
    for t_frac in edits["t_frac"].unique():
        part = edits[edits["t_frac"] == t_frac]
        rows = [
            [pictures[row.frame + j] for row in of.sort_values("direction").itertuples() for j in _ends(row.frames)]
            for _, of in part.groupby("held_out", sort=False)
        ]
        top = [
            f"$\\bar u_{{{k + 1}}}$\n{sign}" if sign == "0" else f"\n{sign}"
            for k in sorted(part["direction"].unique())
            for sign in ("−γ", "0", "+γ")
        ]
        figures[f"edits_{t_frac:g}T"] = picture_grid(
            rows,
            title=f"global directions, held-out samples; t = {t_frac:g} T, γ = {part['gamma'].iloc[0]:.1f}",
            left=[_plain(name) for name in part["name"].unique()],
            top=top,
        )
    return figures


def _ends(frames: int) -> tuple[int, int, int]:
    """Places of −γ, 0 and +γ among a traversal's frames."""
    return 0, frames // 2, frames - 1


def _ablation_edits(result: Result) -> Figure:
    """The first sample: rows are variants, columns the original and every direction, all changed equally."""
    table = result.table[result.table["sample"] == result.table["sample"].iloc[0]]
    pictures = result.tensors["frames"].permute(0, 2, 3, 1).numpy()
    rows, left, right = [], [], []
    for variant, part in table.groupby("variant", sort=False):
        rows.append([pictures[0], *(pictures[1 + frame] for frame in part["frame"])])
        left.append(str(variant).replace("_", " ").replace(", ", "\n"))
        right.append("\n".join(label.split(", ")[0].replace("_", " ") for label in part.get("label", [])))
    top = ["original", *(f"$v_{{{k + 1}}}$" for k in sorted(table["direction"].unique()))]
    title = f"{_plain(table['name'].iloc[0])}: edits of equal change"
    return picture_grid(rows, title=title, left=left, top=top, right=right)


def save_pictures(figure: Figure, stem: Path) -> list[Path]:
    """Write ``stem.png`` and ``stem.svg``, then close the figure.

    Raises:
        OutputError: the folder cannot be written.
    """
    paths = [stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")]
    try:
        for path in paths:
            with atomic(path) as temporary, plt.rc_context(STYLE):
                figure.savefig(temporary, metadata={"Date": None} if path.suffix == ".svg" else None)
    finally:
        plt.close(figure)
    return paths


PICTURES: dict[str, Callable[[Result], dict[str, Figure]]] = {
    "discovery": _discovery,
    "global_consistency": lambda result: _global_edits(result) if "edits" in result.more_tables else {},
    "ablation": lambda result: {"edits": _ablation_edits(result)},
}
"""Study → its figures that are made of pictures."""


def draw_pictures(result: Result) -> dict[str, Figure]:
    """The figures of a study that are made of pictures, by name."""
    make = PICTURES.get(result.study)
    if make is None:
        return {}
    with plt.rc_context(STYLE):
        return make(result)
