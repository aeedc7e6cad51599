"""Figures of every study, drawn from its tables and tensors; the only module that imports matplotlib.

Colours are Okabe and Ito's, which stay apart for colour-blind readers and in print; every line also differs in its
marker.
"""

from __future__ import annotations

import logging
import math
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
        with plt.rc_context(STYLE):
            figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, not once a file
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
    return _picture_grid(rows, title=title, left=left, top=top, right=right)


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
    return _picture_grid(
        rows,
        title=f"latent directions of {_plain(first['name'].iloc[0])} as pictures",
        left=[f"{frac:g} T" for frac, _ in bases],
        top=[f"$v_{{{i + 1}}}$" for i in range(count)],
    )


def _picture_grid(
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
        rows = [
            [pictures[frame + j] for frame in of.sort_values("direction")["frame"] for j in range(3)]
            for _, of in part.groupby("held_out", sort=False)
        ]
        top = [
            f"$\\bar u_{{{k + 1}}}$\n{sign}" if sign == "0" else f"\n{sign}"
            for k in sorted(part["direction"].unique())
            for sign in ("−γ", "0", "+γ")
        ]
        figures[f"edits_{t_frac:g}T"] = _picture_grid(
            rows,
            title=f"global directions, held-out samples; t = {t_frac:g} T, γ = {part['gamma'].iloc[0]:.1f}",
            left=[_plain(name) for name in part["name"].unique()],
            top=top,
        )
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
    rows, left, right = [], [], []
    for variant, part in table.groupby("variant", sort=False):
        rows.append([pictures[0], *(pictures[1 + frame] for frame in part["frame"])])
        left.append(str(variant).replace("_", " ").replace(", ", "\n"))
        right.append("\n".join(label.split(", ")[0].replace("_", " ") for label in part.get("label", [])))
    top = ["original", *(f"$v_{{{k + 1}}}$" for k in sorted(table["direction"].unique()))]
    title = f"{_plain(table['name'].iloc[0])}: edits of equal change"
    return _picture_grid(rows, title=title, left=left, top=top, right=right)


def _plain(name: str) -> str:
    """A file's name as matplotlib should print it: a dollar sign is no mathematics."""
    return name.replace("$", r"\$")


CARD = {
    "precision": "edit precision ratio",
    "dependency_mean": "collateral / sd",
    "local_success": "local success",
    "transfer_success": "transfer success",
    "effect_disentanglement": "disentanglement of effects",
    "dci_d": "DCI disentanglement of codes",
}
"""Metrics of the scorecard that are drawn, with their labels."""


def _disentanglement(result: Result) -> dict[str, Figure]:
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
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=7.5)
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
    "disentanglement": _disentanglement,
    "dataset_complexity": _dataset_complexity,
}
"""Study → its figures."""
