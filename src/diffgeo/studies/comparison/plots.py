"""Charts of ``comparison``: what each method's edits do at equal change."""

from __future__ import annotations

from typing import Any

import pandas as pd

from diffgeo.report.charts import Chart, Tables, in_figure, name, number, strips, timestep
from diffgeo.report.picture_grids import Figure, picture_grid, plain
from diffgeo.results import Result

MEASURES = {
    "precision": ("Edit precision", "target change / mean other change"),
    "ssim": ("Structural similarity", "SSIM with the unedited picture"),
    "locality": ("Outside the mask", "share of the change outside the mask"),
    "off_data": ("Distance from the data", "distance from the nearest portrait (root mean square)"),
}
"""Column → title and label."""


def charts(tables: Tables) -> list[Chart]:
    """A row per method, at equal perceptual change, and at equal change inside the mask."""
    table, found = tables["comparison"], []
    at = timestep(float(table["t_frac"].iloc[0]))
    strength = f"{name(table['perceptual_measure'].iloc[0])} {number(float(table['change_wanted'].iloc[0]), 2)}"
    caption = f"All edits change the picture equally ({strength}), at {at}; dots are edits, diamonds means."
    for column, (title, label) in MEASURES.items():
        if column in table and table[column].notna().any():
            groups = {name(method): part[column] for method, part in table.groupby("method", sort=False)}
            found.append(strips(f"comparison-{column}", title, caption, groups, label, marked="loco"))
    charts = in_figure(found, "measures")
    if (inside := tables.get("comparison_inside")) is not None:
        caption = f"All edits change the picture equally inside the mask, at {at}; dots are edits, diamonds means."
        groups = {name(method): part["spill"] for method, part in inside.groupby("method", sort=False)}
        label = "change outside / change inside (root mean square per pixel)"
        charts += in_figure([strips("comparison-spill", "Spill", caption, groups, label, marked="loco")], "spill")
    if (target := tables.get("comparison_target")) is not None and target["matched"].any():
        wanted, size = name(target["wanted"].iloc[0]), float(target["change_wanted"].iloc[0])
        reached = target[target["matched"]]
        parts = {method: reached[reached["method"] == method]["change"] for method in target["method"].unique()}
        groups = {name(method): values for method, values in parts.items() if len(values)}
        caption = (
            f"All edits move {wanted} by {number(size, 2)} standard deviations, at {at}; dots are the "
            f"{len(reached)} of {len(target)} edits that reach this, diamonds means."
        )
        label = f"perceptual change ({name(target['perceptual_measure'].iloc[0])})"
        chart = strips("comparison-target", "What the same effect costs", caption, groups, label, marked="loco")
        charts += in_figure([chart], "target")
    return charts


def figures(result: Result) -> dict[str, Figure]:
    """The first sample: rows are methods, columns the original and every direction, all changed equally."""
    table = result.table[result.table["sample"] == result.table["sample"].iloc[0]]
    pictures = result.tensors["frames"].permute(0, 2, 3, 1).numpy()
    original = int(table["frame"].min()) - 1
    rows, left, right = [], [], []
    for method, part in table.groupby("method", sort=False):
        rows.append([pictures[original], *(pictures[frame] for frame in part["frame"])])
        left.append(str(method).replace("_", " "))
        right.append("\n".join(attribute.replace("_", " ") for attribute in part["attribute"]))
    top = ["original", *(f"$v_{{{k + 1}}}$" for k in sorted(table["direction"].unique()))]
    title = f"{plain(table['name'].iloc[0])}: edits of equal change"
    found = {"edits": picture_grid(rows, title=title, left=left, top=top, right=right)}
    if (composed := result.more_tables.get("composed")) is not None:
        found["composed"] = _composed(composed, result.tensors["composed"].permute(0, 2, 3, 1).numpy())
    return found


def _composed(table: pd.DataFrame, pictures: Any) -> Figure:
    """The first sample: rows are methods, columns the original, the edit in each mask, and all at once."""
    mine = table[table["sample"] == table["sample"].iloc[0]]
    original, rows, left = int(mine["frame"].min()) - 1, [], []
    for method, part in mine.groupby("method", sort=False):
        rows.append([pictures[i] for i in (original, *part["frame"], part["frame_all"].iloc[0])])
        left.append(str(method).replace("_", " "))
    top = [words.replace(" ", "\n") for words in ("original", *map(name, mine["mask"].unique()), "all together")]
    return picture_grid(rows, title=f"{plain(mine['name'].iloc[0])}: edits in several masks", left=left, top=top)
