"""Figures of local bases: discovery, spectrum, frequency."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from diffgeo.report.figures.style import COLOURS, MARKERS, by_time, latent_shape, picture_grid, plain
from diffgeo.report.lengths import length_note
from diffgeo.results import Result

__all__ = ["discovery", "frequency", "spectrum_study"]

EDITS = {"single": "straight steps along v", "shooting": "geodesic shooting", "guidance": "x-space guidance"}


def discovery(result: Result) -> dict[str, Figure]:
    """Spectra, traversals a timestep, and directions as pictures."""
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
    labels = table[table["t_frac"] == t_frac].set_index(["sample", "direction"])["label"]
    rows, left, right = [], [], []
    for _, row in part.groupby(["sample", "direction"], sort=False):
        sample, direction = row["sample"].iloc[0], row["direction"].iloc[0]
        rows.append([frames[i] for i in row["frame"]])
        left.append(f"{plain(row['name'].iloc[0])}\n$v_{{{direction + 1}}}$")
        label = labels[sample, direction]
        right.append(label.replace("_", " ").replace(", ", "\n") if isinstance(label, str) else "")
    top = [f"{gamma:+.1f}" if abs(gamma) > 1e-6 else "0" for gamma in part["gamma"].unique()]
    title = f"{EDITS[part['edit_method'].iloc[0]]} at t = {t_frac:g} T; columns: γ{length_note(part)}"
    return picture_grid(rows, title=title, left=left, top=top, right=right)


def _directions(result: Result) -> Figure:
    """The leading v_i of the first sample as pictures; each scaled to its own largest value, grey is 0."""
    first = result.table[result.table["sample"] == result.table["sample"].iloc[0]]
    times = first[["t_frac", "t"]].drop_duplicates().itertuples(index=False)
    bases = [(frac, result.tensors[f"V/{first['sample'].iloc[0]}/{t}"]) for frac, t in times]
    count = min(8, min(v.shape[1] for _, v in bases))
    rows = []
    for _, v in bases:
        pictures = v[:, :count].T.reshape(count, *latent_shape(result))[:, :3].permute(0, 2, 3, 1).numpy()
        rows.append([np.clip(0.5 + 0.5 * p / np.abs(p).max(), 0, 1) for p in pictures])
    return picture_grid(
        rows,
        title=f"latent directions of {plain(first['name'].iloc[0])} as pictures",
        left=[f"{frac:g} T" for frac, _ in bases],
        top=[f"$v_{{{i + 1}}}$" for i in range(count)],
    )


def spectrum_study(result: Result) -> dict[str, Figure]:
    """Effective dimension and flatness against t."""
    figure, grid = plt.subplots(1, 2, figsize=(7.2, 2.9), layout="constrained")
    quantities = (("effective_dimension", "effective dimension"), ("flatness", r"$\sigma_n / \sigma_1$"))
    for axes, (column, label) in zip(grid, quantities, strict=True):
        by_time(axes, result.table, column)
        axes.set(ylabel=label)
    figure.suptitle(f"spectra of ∂h/∂x, n = {result.table['rank'].iloc[0]}; grey: samples", fontsize=9)
    return {"summary": figure}


def frequency(result: Result) -> dict[str, Figure]:
    """Radial power of the directions, and its low share against t."""
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
    by_time(share, table[table["radius"] == 0], "low_share")
    share.set(ylabel="low-frequency share", ylim=(0, 1), title="low-frequency share; grey: samples")
    return {"power": figure}
