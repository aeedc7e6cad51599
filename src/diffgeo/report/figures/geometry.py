"""Figures of the geometry: consistency, curvedness, distances of tangent spaces."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from diffgeo.report.figures.style import COLOURS, MARKERS, picture_grid, plain
from diffgeo.report.lengths import length_note
from diffgeo.results import Result

__all__ = ["curvedness", "dataset_complexity", "global_consistency", "prompts", "tangent_distance"]


def global_consistency(result: Result) -> dict[str, Figure]:
    """Best matches against chance, held-out shares, and what global directions do."""
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
            title=f"global directions, held-out samples; t = {t_frac:g} T, γ = {part['gamma'].iloc[0]:.1f}"
            + length_note(part),
            left=[plain(name) for name in part["name"].unique()],
            top=top,
        )
    return figures


def _ends(frames: int) -> tuple[int, int, int]:
    """Places of −γ, 0 and +γ among a traversal's frames."""
    return 0, frames // 2, frames - 1


PATH_LABELS = {
    "lerp": "lerp",
    "slerp": "slerp",
    "shooting": "shooting",
    "pursuit": "shooting, re-aimed",
    "shooting_x": "shooting, equal steps in X",
    "geodesic": "boundary-value geodesic",
}


def curvedness(result: Result) -> dict[str, Figure]:
    """Path lengths by kind, and profiles along paths."""
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


def tangent_distance(result: Result) -> dict[str, Figure]:
    """Distances between samples and between timesteps, with the controls."""
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


def dataset_complexity(result: Result) -> dict[str, Figure]:
    """Distances between samples by t, one line a data set."""
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


def prompts(result: Result) -> dict[str, Figure]:
    """Distance against similarity of prompts at each timestep, and its mean against t."""
    table, summary = result.table, result.more_tables["similarity"]
    times = list(table["t_frac"].unique())
    measure = {"clip": "CLIP", "conditioning": "conditioning"}[table["similarity_measure"].iloc[0]]
    figure, grid = plt.subplots(
        1, len(times) + 1, figsize=(2.0 * len(times) + 2.9, 2.9), sharey=True, squeeze=False, layout="constrained"
    )
    lines = list(table[["kind", "guidance"]].drop_duplicates().itertuples(index=False, name=None))
    for i, (kind, guidance) in enumerate(lines):
        label = "one $x_t$, prompts differ" if kind == "fixed" else f"own paths, guidance {guidance:g}"
        look = {"color": COLOURS[i], "marker": MARKERS[i]}
        chosen = table[(table["kind"] == kind) & (table["guidance"] == guidance)]
        for axes, t_frac in zip(grid[0], times, strict=False):
            rows = chosen[chosen["t_frac"] == t_frac].groupby(["prompt_a", "prompt_b"])
            axes.plot(rows["similarity"].first(), rows["distance_normalized"].mean(), ls="", ms=3.5, alpha=0.8, **look)
        rows = summary[(summary["kind"] == kind) & (summary["guidance"] == guidance)].sort_values("t_frac")
        grid[0, -1].plot(rows["t_frac"], rows["distance_normalized"], ms=4, lw=1.3, label=label, **look)
    for axes, t_frac in zip(grid[0], times, strict=False):
        axes.set(title=f"{t_frac:g} T", xlabel=f"similarity ({measure})")
    grid[0, 0].set(ylabel="distance / largest possible", ylim=(0, 1))
    grid[0, -1].set(xlabel="t / T", title="mean of all pairs")
    grid[0, -1].invert_xaxis()
    figure.legend(*grid[0, -1].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7.5)
    n, samples = table["rank"].iloc[0], table["sample"].nunique()
    figure.suptitle(f"tangent spaces under pairs of prompts, n = {n}; mean of {samples} samples", fontsize=9)
    return {"similarity": figure}
