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


def _global_consistency(result: Result) -> dict[str, Figure]:
    table, overlaps = result.table, result.more_tables["overlaps"]
    figure, (match, held_out) = plt.subplots(1, 2, figsize=(7.2, 2.9), layout="constrained")
    for i, t_frac in enumerate(overlaps["t_frac"].unique()):
        rows = overlaps[overlaps["t_frac"] == t_frac]
        mean = rows.groupby(rows["direction"] + 1)["best_match"].mean()
        match.plot(
            mean, color=COLOURS[i % 7], marker=MARKERS[i % 7], markevery=5, ms=3.5, lw=1.3, label=f"{t_frac:g} T"
        )
    null, limit = table["null_best_match"].iloc[0], table["null_best_match_95"].iloc[0]
    for axes in (match, held_out):
        axes.axhline(limit, color="0.4", lw=0.9, ls=":")
    match.set(xlabel="direction i", ylabel="best |cos| in another sample", ylim=(0, 1), title="overlap of $u_i$")
    match.legend(title="timestep")
    first = table[table["direction"] == 0]
    for i, method in enumerate(table["method"].unique()):
        rows = first[first["method"] == method]
        mean = rows.groupby("t_frac")["best_match"].mean()
        held_out.plot(mean, color=COLOURS[i % 7], marker=MARKERS[i % 7], ms=4, lw=1.3, label=method)
    held_out.scatter(first["t_frac"], first["best_match"], color="0.7", s=6, zorder=0)
    held_out.set(xlabel="t / T", ylim=(0, 1), title=r"$\bar u_1$ on held-out samples; dots: samples")
    held_out.annotate(
        f"random: {null:.2f}, 95 %: {limit:.2f}",
        (0.55, limit),
        (0.55, limit + 0.02),
        xycoords=("axes fraction", "data"),
        fontsize=7.5,
        color="0.4",
    )
    held_out.invert_xaxis()
    held_out.legend(loc="lower left")
    figures = {"overlap": figure}
    if "edits" in result.more_tables:
        figures |= _global_edits(result)
    return figures


def _global_edits(result: Result) -> dict[str, Figure]:
    """Rows: held-out samples; columns: −γ, 0, +γ of every global direction; one figure a timestep."""
    edits, pictures = result.more_tables["edits"], result.tensors["frames"].permute(0, 2, 3, 1).numpy()
    figures = {}
    for t_frac in edits["t_frac"].unique():
        part = edits[edits["t_frac"] == t_frac]
        names, directions = part["name"].unique(), sorted(part["direction"].unique())
        width, height = TILE * 3 * len(directions) + 1.1, TILE * len(names) + 0.85
        figure, grid = plt.subplots(len(names), 3 * len(directions), figsize=(width, height), squeeze=False)
        figure.subplots_adjust(0.85 / width, 0.05 / height, 1 - 0.05 / width, 1 - 0.8 / height, 0.04, 0.04)
        for axes_row, name in zip(grid, names, strict=True):
            axes_row[0].set_ylabel(name.replace("$", r"\$"), rotation=0, ha="right", va="center")
            for row in part[part["name"] == name].itertuples():
                for j, axes in enumerate(axes_row[3 * row.direction : 3 * row.direction + 3]):
                    axes.imshow(pictures[row.frame + j], interpolation="nearest")
        for axes in grid.flat:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        for k in directions:
            for j, sign in enumerate(("−γ", "0", "+γ")):
                grid[0, 3 * k + j].set_title(f"$\\bar u_{{{k + 1}}}$\n{sign}" if j == 1 else f"\n{sign}", fontsize=8)
        gamma = part["gamma"].iloc[0]
        figure.suptitle(
            f"global directions on samples they were not made from; t = {t_frac:g} T, γ = {gamma:.1f}",
            fontsize=9,
            y=1 - 0.08 / height,
        )
        figures[f"edits_{t_frac:g}T"] = figure
    return figures


PATH_LABELS = {
    "lerp": "lerp",
    "slerp": "slerp",
    "shooting": "shooting",
    "pursuit": "shooting, re-aimed",
    "shooting_x": "shooting, equal steps in X",
    "geodesic": "boundary-value geodesic",
}


def _curvedness(result: Result) -> dict[str, Figure]:
    table, segments = result.table, result.more_tables["segments"]
    pools = table["pool"].unique()
    figure, grid = plt.subplots(2, len(pools), figsize=(3.9 * len(pools), 5.2), layout="constrained", squeeze=False)
    for (lengths, profiles), pool in zip(grid.T, pools, strict=True):
        rows = table[table["pool"] == pool]
        paths = list(rows["path"].unique())
        for i, path in enumerate(paths):
            part, colour = rows[rows["path"] == path], COLOURS[i % 7]
            lengths.barh(i, part["length"].mean(), color=colour, alpha=0.85, height=0.65)
            lengths.plot(part["length"], [i] * len(part), ls="", marker="o", ms=3, color="0.25")
            by = segments[(segments["pool"] == pool) & (segments["path"] == path)].groupby("position")["curvedness"]
            if path != "shooting_x":
                profiles.plot(by.mean(), color=colour, marker=MARKERS[i % 7], ms=3.5, lw=1.3, label=PATH_LABELS[path])
        lengths.set_yticks(range(len(paths)), [PATH_LABELS[p] for p in paths] if pool == pools[0] else [])
        lengths.invert_yaxis()
        lengths.set(
            xlabel="semantic path length / rad",
            title=f"{'whole h' if pool == 'none' else 'pooled h'}, n = {rows['rank'].iloc[0]}",
        )
        profiles.set(xlabel="position along the path", ylabel="curvedness of a segment / rad", ylim=(0, None))
    grid[1, 0].legend(fontsize=7.5)
    figure.suptitle(f"paths between samples at t = {table['t_frac'].iloc[0]:g} T; dots: pairs", fontsize=9)
    return {"paths": figure}


KIND_LABELS = {
    "time": "along a sample: x and t vary",
    "x_fixed": "x fixed, t varies",
    "t_fixed": "t fixed, x varies",
}


def _tangent_distance(result: Result) -> dict[str, Figure]:
    table = result.table
    figure, (samples, times) = plt.subplots(1, 2, figsize=(7.2, 2.9), layout="constrained")
    between = table[table["kind"] == "sample"]
    samples.plot(between["t_frac_a"], between["distance_normalized"], ls="", marker="o", ms=3, color="0.7")
    samples.plot(between.groupby("t_frac_a")["distance_normalized"].mean(), color=COLOURS[0], marker="o", ms=4, lw=1.5)
    samples.set(xlabel="t / T", ylabel="distance / largest possible", ylim=(0, 1), title="between samples; grey: pairs")
    samples.invert_xaxis()
    for i, (kind, label) in enumerate(KIND_LABELS.items()):
        rows = table[table["kind"] == kind]
        if len(rows):
            apart = (rows["t_frac_a"] - rows["t_frac_b"]).abs().round(6)
            mean = rows.groupby(apart)["distance_normalized"].mean()
            times.plot(mean, color=COLOURS[i], marker=MARKERS[i], ms=4, lw=1.3, label=label)
    times.set(xlabel="|t − s| / T", ylim=(0, 1), title="between timesteps")
    times.legend(fontsize=7.5)
    figure.suptitle(f"Grassmann distance of tangent spaces, n = {table['rank'].iloc[0]}", fontsize=9)
    return {"distances": figure}


def _dataset_complexity(result: Result) -> dict[str, Figure]:
    table = result.table
    figure, axes = plt.subplots(figsize=(4.2, 2.9), layout="constrained")
    for i, name in enumerate(table["data_model"].unique()):
        rows = table[table["data_model"] == name]
        axes.plot(rows["t_frac"], rows["distance_normalized"], ls="", marker=".", ms=3, color=COLOURS[i], alpha=0.35)
        mean = rows.groupby("t_frac")["distance_normalized"].mean()
        axes.plot(mean, color=COLOURS[i], marker=MARKERS[i], ms=4, lw=1.5, label=name)
    axes.set(xlabel="t / T", ylabel="distance / largest possible", ylim=(0, 1), title="between samples; dots: pairs")
    axes.invert_xaxis()
    axes.legend()
    return {"distances": figure}


def _ablation(result: Result) -> dict[str, Figure]:
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
    variants, directions = list(table["variant"].unique()), sorted(table["direction"].unique())
    width, height = TILE * (1 + len(directions)) + 3.4, TILE * len(variants) + 0.6
    figure, grid = plt.subplots(len(variants), 1 + len(directions), figsize=(width, height), squeeze=False)
    figure.subplots_adjust(1.3 / width, 0.05 / height, 1 - 2.1 / width, 1 - 0.55 / height, 0.04, 0.04)
    for axes_row, variant in zip(grid, variants, strict=True):
        rows = table[table["variant"] == variant]
        axes_row[0].imshow(pictures[0], interpolation="nearest")
        axes_row[0].set_ylabel(
            variant.replace("_", " ").replace(", ", "\n"), rotation=0, ha="right", va="center", fontsize=8
        )
        for axes, row in zip(axes_row[1:], rows.itertuples(), strict=False):
            axes.imshow(pictures[1 + row.frame], interpolation="nearest")
        for axes in axes_row:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        if "label" in rows:
            text = "\n".join(label.split(", ")[0].replace("_", " ") for label in rows["label"])
            axes_row[-1].text(1.08, 0.5, text, transform=axes_row[-1].transAxes, va="center", fontsize=7.5)
    grid[0, 0].set_title("original", fontsize=8)
    for k in directions:
        grid[0, 1 + k].set_title(f"$v_{{{k + 1}}}$", fontsize=8)
    figure.suptitle(f"{table['name'].iloc[0]}: every edit changes the picture equally", fontsize=9, y=1 - 0.06 / height)
    return figure


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
    "global_consistency": _global_consistency,
    "curvedness": _curvedness,
    "tangent_distance": _tangent_distance,
    "ablation": _ablation,
    "dataset_complexity": _dataset_complexity,
}
"""Study → its figures."""
