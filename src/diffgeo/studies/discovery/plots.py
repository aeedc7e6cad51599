"""Charts of ``discovery``: singular values, and what the directions change."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from diffgeo.report.charts import Chart, Tables, curves, heat_map, in_figure, name, number, t_name, timestep
from diffgeo.report.edit_lengths import length_note
from diffgeo.report.picture_grids import Figure, picture_grid, plain
from diffgeo.results import Result

BANDS = "bands reach from the least to the most of the samples"


def charts(tables: Tables) -> list[Chart]:
    """Spectra; with a predictor of attributes also their changes."""
    table = tables["discovery"]
    deltas = [column for column in table.columns if column.startswith("delta_")]
    found = _spectra(table)
    return [*_attributes(table.dropna(subset=deltas), deltas), *found] if deltas else found


def _spectra(table: pd.DataFrame) -> list[Chart]:
    """Singular values by direction, absolute and relative to the first."""
    first = table.groupby(["t_frac", "sample"])["singular_value"].transform("max")
    rows = table.assign(number=table["direction"] + 1, relative=table["singular_value"] / first)
    along = partial(curves, x=("number", "direction i"), by="t_frac", label=t_name, of="direction")
    values = along(
        "spectrum-values",
        "Singular values of ∂h/∂x",
        f"A steep curve means that few directions carry most of the effect; {BANDS}.",
        rows,
        y=("singular_value", "σᵢ"),
        log=True,
    )
    relative = along(
        "spectrum-relative",
        "Singular values relative to the first",
        f"The lower the curve, the fewer directions matter beside the first; {BANDS}.",
        rows,
        y=("relative", "σᵢ / σ₁"),
        limits=(0, 1),
    )
    return in_figure([values, relative], "spectrum")


def _attributes(table: pd.DataFrame, deltas: list[str]) -> list[Chart]:
    """Mean size of every attribute's change by direction and timestep."""
    if table.empty:
        return []
    sizes = (
        table[deltas].abs().groupby([table["t_frac"], table["direction"]]).mean().sort_index(ascending=[False, True])
    )
    matrix = sizes.set_axis([f"{timestep(float(t))} v{d + 1}" for t, d in sizes.index]).set_axis(
        [name(column.removeprefix("delta_")) for column in deltas], axis=1
    )
    strongest = [f"{row}: {values.idxmax()} {number(float(values.max()))}" for row, values in matrix.iterrows()]
    chart = heat_map(
        "discovery-attributes",
        "What the directions change",
        "Each cell is how far an attribute moves from −γ to +γ, on average over samples and without its sign; "
        "unedited pictures score about −1 to 1.",
        f"Strongest attribute by timestep and direction. {'; '.join(strongest)}.",
        matrix,
        "mean |Δ|",
    )
    return in_figure([chart], "attributes")


EDITS = {"single": "straight steps along v", "shooting": "geodesic shooting", "guidance": "x-space guidance"}


def figures(result: Result) -> dict[str, Figure]:
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
        left.append(f"{plain(row['name'].iloc[0])}\n$v_{{{direction + 1}}}$")
        label = labels[sample, direction]
        right.append(label.replace("_", " ").replace(", ", "\n") if isinstance(label, str) else "")
    top = [f"{gamma:+.1f}" if abs(gamma) > 1e-6 else "0" for gamma in part["gamma"].unique()]
    method = part["edit_method"].iloc[0]
    title = f"{EDITS.get(method, f'edits by {method}')} at t = {t_frac:g} T; columns: γ{length_note(part)}"
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
        title=f"latent directions of {plain(first['name'].iloc[0])} as pictures",
        left=[f"{frac:g} T" for frac, _ in bases],
        top=[f"$v_{{{i + 1}}}$" for i in range(count)],
    )


def _latent_shape(result: Result) -> tuple[int, int, int]:
    """(C, H, W) of the run's latents."""
    c, h, w = result.tensors["latent_shape"].tolist()
    return int(c), int(h), int(w)
