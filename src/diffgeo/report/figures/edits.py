"""Figures of edits compared: ablation and scorecard."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from diffgeo.report.figures.style import COLOURS, MARKERS, picture_grid, plain
from diffgeo.results import Result

__all__ = ["ablation", "disentanglement"]


def ablation(result: Result) -> dict[str, Figure]:
    """Each variant against the local directions at equal strength, and the edits as pictures."""
    table = result.table
    variants = list(table["variant"].unique())
    columns = [
        ("precision", "edit precision ratio"),
        ("clipped_change", "more colours at the limit"),
        ("chroma_change", "more chroma"),
    ]
    columns = [(c, label) for c, label in columns if c in table]
    figure, grid = plt.subplots(
        1,
        len(columns),
        figsize=(2.6 * len(columns) + 1.6, 0.26 * len(variants) + 1.1),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for i, (axes, (column, label)) in enumerate(zip(grid[0], columns, strict=True)):
        for j, variant in enumerate(variants):
            values = table.loc[table["variant"] == variant, column]
            axes.barh(j, values.mean(), color=COLOURS[0] if variant == "local" else COLOURS[5], height=0.65)
            axes.plot(values, [j] * len(values), ls="", marker="o", ms=3, color="0.25")
        axes.set(xlabel=label)
        if i == 0:
            axes.set_yticks(range(len(variants)), variants)
            axes.invert_yaxis()
    change, measure = table["change_wanted"].iloc[0], table["perceptual_measure"].iloc[0]
    figure.suptitle(
        f"edits at matched strength ({measure} {change:.2g}), t = {table['t_frac'].iloc[0]:g} T; dots: edits",
        fontsize=9,
    )
    return {"damage": figure, "edits": _ablation_edits(result)}


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
    title = f"{plain(table['name'].iloc[0])}: edits of equal change"
    return picture_grid(rows, title=title, left=left, top=top, right=right)


CARD = {
    "precision": "edit precision ratio",
    "dependency_mean": "collateral / sd",
    "local_success": "local success",
    "transfer_success": "transfer success",
    "effect_disentanglement": "disentanglement of effects",
    "dci_d": "DCI disentanglement of codes",
}
"""Metrics of the scorecard that are drawn, with their labels."""


def disentanglement(result: Result) -> dict[str, Figure]:
    """Scorecard, re-scoring maps, Pareto curves, timing and subspace."""
    tables = result.more_tables
    figures = {"scorecard": _scorecard(tables["scorecard"])}
    for t_frac, part in tables["rescoring"].groupby("t_frac", sort=False):
        figures[f"rescoring_{t_frac:g}T"] = _rescoring(part, float(str(t_frac)))
    figures["pareto"] = _pareto(tables["pareto"])
    if tables["timing"]["t_frac"].nunique() > 1:
        figures["timing"] = _timing(tables["timing"])
    if "subspace" in tables:
        figures["subspace"] = _subspace(tables["subspace"])
    return figures


def _scorecard(table: pd.DataFrame) -> Figure:
    """One panel a metric, methods in rows, a point with its interval for every timestep."""
    methods, times = list(table["method"].unique()), list(table["t_frac"].unique())
    shown = [name for name in CARD if table.loc[table["metric"] == name, "value"].notna().any()]
    columns = max(1, min(3, len(shown)))
    lines = max(1, math.ceil(len(shown) / columns))
    figure, grid = plt.subplots(
        lines,
        columns,
        figsize=(2.6 * columns + 0.8, lines * (0.75 + 0.3 * len(methods))),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axes, name in zip(grid.flat, shown, strict=False):
        for i, t_frac in enumerate(times):
            rows = table[(table["metric"] == name) & (table["t_frac"] == t_frac)].set_index("method").reindex(methods)
            y = np.arange(len(methods)) + 0.62 * ((i + 0.5) / len(times) - 0.5)
            colour = COLOURS[i % 7]
            axes.hlines(y, rows["low"], rows["high"], color=colour, lw=1)
            axes.plot(rows["value"], y, ls="", marker=MARKERS[i % 7], ms=3.5, color=colour, label=f"{t_frac:g} T")
        if name.endswith("success"):
            axes.set_xlim(-0.05, 1.05)
        axes.set(xlabel=CARD[name], yticks=range(len(methods)), yticklabels=methods)
    for axes in list(grid.flat)[len(shown) :]:
        axes.set_visible(False)
    grid[0, 0].invert_yaxis()
    grid[0, -1].legend(title="timestep", fontsize=7, title_fontsize=7.5)
    figure.suptitle("directions at matched strength; bars: 95 % over samples", fontsize=9)
    return figure


def _rescoring(table: pd.DataFrame, t_frac: float) -> Figure:
    """Heat map: rows are directions with their labels, a gap between methods; columns attributes."""
    attributes = list(table["attribute"].unique())
    rows, left, right = [], [], []
    for method, block in table.groupby("method", sort=False):
        matrix = block.pivot_table(index="direction", columns="attribute", values="score")[attributes]
        rows += [*matrix.to_numpy(), np.full(len(attributes), np.nan)]
        left += [*(f"{method} {k + 1}" for k in matrix.index), ""]
        labels = block.drop_duplicates("direction")["label"].str.replace("_", " ")
        right += [*(label.split(", ")[0] for label in labels), ""]
    values = np.stack(rows[:-1])
    limit = np.nanmax(np.abs(values)) or 1.0
    figure, axes = plt.subplots(figsize=(0.32 * len(attributes) + 5.0, 0.24 * len(values) + 1.7), layout="constrained")
    image = axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_yticks(range(len(values)), left[:-1])
    axes.set_xticks(range(len(attributes)), [a.replace("_", " ") for a in attributes], rotation=60, ha="right")
    for y, label in enumerate(right[:-1]):
        axes.text(len(attributes) - 0.4, y, label, va="center", fontsize=7.5)
    figure.colorbar(image, label="mean change / sd", pad=0.22)
    axes.set_title(f"re-scoring matrix at t = {t_frac:g} T; label (share of samples)", fontsize=9)
    return figure


def _pareto(table: pd.DataFrame) -> Figure:
    """Wanted change against collateral as the strength grows; one panel a timestep, one line a method."""
    times = list(table["t_frac"].unique())
    figure, grid = plt.subplots(
        1,
        len(times),
        figsize=(2.3 * len(times) + 0.8, 2.7),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axes, t_frac in zip(grid[0], times, strict=True):
        rows = table[table["t_frac"] == t_frac]
        for i, method in enumerate(rows["method"].unique()):
            part = rows[rows["method"] == method]
            axes.plot(part["collateral"], part["on_target"], ls="", marker=".", ms=2.5, color=COLOURS[i % 7], alpha=0.4)
            mean = part.groupby("level")[["collateral", "on_target"]].mean()
            line = np.vstack([[0, 0], mean.to_numpy()])
            axes.plot(*line.T, color=COLOURS[i % 7], marker=MARKERS[i % 7], ms=4, lw=1.3, label=method)
        axes.set(xlabel="collateral / sd", title=f"{t_frac:g} T")
    grid[0, 0].set(ylabel="change of the target / sd", xlim=(0, None), ylim=(0, None))
    grid[0, -1].legend(fontsize=7.5)
    return figure


def _timing(table: pd.DataFrame) -> Figure:
    """Which attribute an edit's effect falls on, by timestep; attributes from coarse to fine where that is known."""
    method = "local" if "local" in set(table["method"]) else table["method"].iloc[0]
    rows = table[table["method"] == method]
    matrix = rows.pivot_table(index="attribute", columns="t_frac", values="share")
    matrix = matrix[sorted(matrix.columns, reverse=True)]
    scale = rows.groupby("attribute")["scale"].first().reindex(matrix.index)
    matrix = matrix.loc[scale.sort_values(ascending=False).index]
    figure, axes = plt.subplots(
        figsize=(1.0 + 0.75 * matrix.shape[1] + 1.4, 0.24 * len(matrix) + 1.1), layout="constrained"
    )
    image = axes.imshow(matrix, cmap="viridis", vmin=0, aspect="auto")
    axes.grid(visible=False)
    axes.set_xticks(range(matrix.shape[1]), [f"{t:g} T" for t in matrix.columns])
    axes.set_yticks(range(len(matrix)), [name.replace("_", " ") for name in matrix.index])
    best = matrix.to_numpy().argmax(axis=1)
    axes.plot(best, range(len(best)), ls="", marker="o", ms=4, mfc="none", mec="white")
    figure.colorbar(image, label="share of the effect")
    axes.set_title(f"{method} directions; coarse on top; ring: best", fontsize=9)
    return figure


def _subspace(table: pd.DataFrame) -> Figure:
    """Shares of each attribute's gradient: inside the tangent space, and along the best of its axes.

    ICA sees the leading directions alone, so its gain over ``leading`` is in the table, not here.
    """
    times = list(table["t_frac"].unique())
    attributes = list(table["attribute"].unique())
    kinds = (
        ("subspace", "whole tangent space"),
        ("single", "best $v_i$"),
        ("varimax", "best after varimax"),
        ("random", "best of random axes"),
    )
    figure, grid = plt.subplots(
        1,
        len(times),
        figsize=(1.75 * len(times) + 1.6, 0.24 * len(attributes) + 1.2),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axes, t_frac in zip(grid[0], times, strict=True):
        rows = table[table["t_frac"] == t_frac].groupby("attribute").mean(numeric_only=True).reindex(attributes)
        for i, (kind, label) in enumerate(kinds):
            axes.plot(rows[kind], range(len(rows)), ls="", marker=MARKERS[i], ms=4, color=COLOURS[i], label=label)
        axes.axvline(rows["chance"].mean(), color="0.4", lw=0.9, ls=":")
        axes.set(title=f"{t_frac:g} T", xlim=(0, 1))
    grid[0, 0].set_yticks(range(len(attributes)), [name.replace("_", " ") for name in attributes])
    grid[0, 0].invert_yaxis()
    figure.supxlabel("share of the attribute's gradient (dotted: chance)", fontsize=8.5)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=7.5)
    return figure
