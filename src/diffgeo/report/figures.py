"""Figures of every study, drawn from its tables and tensors; the only module that imports matplotlib.

Colours are Okabe and Ito's, which stay apart for colour-blind readers and in print; every line also differs in its
marker.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from diffgeo.results import Result, atomic

__all__ = ["draw", "save_figure"]

logging.getLogger("matplotlib").setLevel(logging.WARNING)
logging.getLogger("fontTools").setLevel(logging.WARNING)

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
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
EDITS = {"single": "x' = x + γ v", "shooting": "geodesic shooting", "guidance": "x-space guidance"}
TILE = 0.72
"""Side of a picture in a grid, in inches."""


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
        for path in paths:
            with atomic(path) as temporary, plt.rc_context(STYLE):
                figure.savefig(temporary, metadata={"Date": None} if path.suffix == ".svg" else None)
    finally:
        plt.close(figure)
    return paths


def _discovery(result: Result) -> dict[str, Figure]:
    figures = {"spectrum": _spectrum(result.table)}
    frames = result.tensors["frames"].permute(0, 2, 3, 1).numpy()
    traversals = result.more_tables["traversals"]
    for t_frac in traversals["t_frac"].unique():
        figures[f"traversals_{t_frac:g}T"] = _traversals(result.table, traversals, frames, t_frac)
    figures["directions"] = _directions(result)
    return figures


def _spectrum(table: pd.DataFrame) -> Figure:
    """Singular values by direction, one line a timestep: the mean over samples in a band from least to most."""
    figure, (absolute, relative) = plt.subplots(1, 2, figsize=(7.2, 2.9), layout="constrained")
    for i, t_frac in enumerate(table["t_frac"].unique()):
        rows = table[table["t_frac"] == t_frac]
        first = rows.groupby("sample")["singular_value"].transform("max")
        for axes, values in ((absolute, rows["singular_value"]), (relative, rows["singular_value"] / first)):
            by = values.groupby(rows["direction"].to_numpy() + 1)
            colour = COLOURS[i % len(COLOURS)]
            axes.plot(
                by.mean(), color=colour, marker=MARKERS[i % 7], markevery=8, ms=3.5, lw=1.3, label=f"{t_frac:g} T"
            )
            axes.fill_between(by.min().index, by.min(), by.max(), color=colour, alpha=0.15, lw=0)
    absolute.set(xlabel="direction i", ylabel=r"$\sigma_i$", yscale="log", title="singular values of ∂h/∂x")
    relative.set(xlabel="direction i", ylabel=r"$\sigma_i / \sigma_1$", ylim=(0, 1.02), title="relative to the first")
    relative.legend(title="timestep")
    return figure


def _traversals(table: pd.DataFrame, traversals: pd.DataFrame, frames: np.ndarray, t_frac: float) -> Figure:
    """Rows: sample and direction, with its label; columns: γ."""
    part = traversals[traversals["t_frac"] == t_frac]
    gammas = part["gamma"].unique()
    groups = list(part.groupby(["sample", "direction"], sort=False))
    labels = table[table["t_frac"] == t_frac].set_index(["sample", "direction"])["label"]
    width, height = TILE * len(gammas) + 3.0, TILE * len(groups) + 0.55
    figure, grid = plt.subplots(len(groups), len(gammas), figsize=(width, height), squeeze=False)
    figure.subplots_adjust(1.0 / width, 0.05 / height, 1 - 2.0 / width, 1 - 0.5 / height, 0.04, 0.04)
    for axes_row, (key, rows) in zip(grid, groups, strict=True):
        for axes, frame in zip(axes_row, rows["frame"], strict=True):
            axes.imshow(frames[frame], interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        name, direction = rows["name"].iloc[0].replace("$", r"\$"), int(rows["direction"].iloc[0])
        axes_row[0].set_ylabel(f"{name}\n$v_{{{direction + 1}}}$", rotation=0, ha="right", va="center")
        label = labels.get(key)
        if isinstance(label, str):
            axes_row[-1].text(
                1.08,
                0.5,
                label.replace(", ", "\n").replace("_", " "),
                transform=axes_row[-1].transAxes,
                va="center",
                fontsize=7.5,
            )
    for axes, gamma in zip(grid[0], gammas, strict=True):
        axes.set_title(f"{gamma:+.1f}" if abs(gamma) > 1e-6 else "0", fontsize=8)
    method = EDITS[part["edit_method"].iloc[0]]
    figure.suptitle(f"{method} at t = {t_frac:g} T; columns: γ", fontsize=9, y=1 - 0.05 / height)
    return figure


def _directions(result: Result) -> Figure:
    """The leading v_i of the first sample as pictures; each scaled to its own largest value, grey is 0."""
    first = result.table[result.table["sample"] == result.table["sample"].iloc[0]]
    times = first[["t_frac", "t"]].drop_duplicates().itertuples(index=False)
    rows = [(frac, result.tensors[f"V/{first['sample'].iloc[0]}/{t}"]) for frac, t in times]
    c, h, w = _latent_shape(result)
    count = min(8, min(v.shape[1] for _, v in rows))
    width, height = TILE * count + 0.9, TILE * len(rows) + 0.55
    figure, grid = plt.subplots(len(rows), count, figsize=(width, height), squeeze=False)
    figure.subplots_adjust(0.75 / width, 0.05 / height, 1 - 0.05 / width, 1 - 0.5 / height, 0.04, 0.04)
    for axes_row, (t_frac, v) in zip(grid, rows, strict=True):
        axes_row[0].set_ylabel(f"{t_frac:g} T", rotation=0, ha="right", va="center")
        for i, axes in enumerate(axes_row):
            picture = v[:, i].reshape(c, h, w)[:3].permute(1, 2, 0).numpy()
            axes.imshow(np.clip(0.5 + 0.5 * picture / np.abs(picture).max(), 0, 1).squeeze(), interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
    for i, axes in enumerate(grid[0]):
        axes.set_title(f"$v_{{{i + 1}}}$", fontsize=8)
    figure.suptitle(f"latent directions of {first['name'].iloc[0]} as pictures", fontsize=9, y=1 - 0.05 / height)
    return figure


def _spectrum_study(result: Result) -> dict[str, Figure]:
    figure, grid = plt.subplots(1, 2, figsize=(7.2, 2.9), layout="constrained")
    quantities = (("effective_dimension", "effective dimension"), ("flatness", r"$\sigma_n / \sigma_1$"))
    for axes, (column, label) in zip(grid, quantities, strict=True):
        _by_time(axes, result.table, column)
        axes.set(ylabel=label)
    figure.suptitle(f"spectra of ∂h/∂x, n = {result.table['rank'].iloc[0]}; grey: samples", fontsize=9)
    return {"summary": figure}


def _frequency(result: Result) -> dict[str, Figure]:
    table = result.table
    figure, (density, share) = plt.subplots(1, 2, figsize=(7.2, 2.9), layout="constrained")
    for i, t_frac in enumerate(table["t_frac"].unique()):
        rows = table[table["t_frac"] == t_frac]
        by = rows.groupby("nyquist_fraction")["power"]
        colour = COLOURS[i % len(COLOURS)]
        density.plot(by.mean(), color=colour, marker=MARKERS[i % 7], markevery=3, ms=3.5, lw=1.3, label=f"{t_frac:g} T")
        density.fill_between(by.min().index, by.min(), by.max(), color=colour, alpha=0.15, lw=0)
    density.set(xlabel="radial frequency / Nyquist", ylabel="share of power", yscale="log", title="power of $v_i$")
    density.legend(title="timestep")
    _by_time(share, table[table["radius"] == 0], "low_share")
    share.set(ylabel="low-frequency share", ylim=(0, 1), title="low-frequency share; grey: samples")
    return {"power": figure}


def _by_time(axes: Any, table: pd.DataFrame, column: str) -> None:
    """A quantity against t / T, running from T to 0 as sampling does: samples in grey, their mean in colour."""
    for _, rows in table.groupby("sample"):
        axes.plot(rows["t_frac"], rows[column], color="0.75", lw=0.8, marker=".", ms=3)
    mean = table.groupby("t_frac")[column].mean()
    axes.plot(mean, color=COLOURS[0], marker="o", ms=4, lw=1.5)
    axes.set(xlabel="t / T")
    axes.invert_xaxis()


def _latent_shape(result: Result) -> tuple[int, int, int]:
    c, h, w = result.tensors["latent_shape"].tolist()
    return int(c), int(h), int(w)


FIGURES: dict[str, Callable[[Result], dict[str, Figure]]] = {
    "discovery": _discovery,
    "spectrum": _spectrum_study,
    "frequency": _frequency,
}
"""Study → its figures."""
