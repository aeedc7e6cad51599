"""Charts of ``ablation``: what other directions and edits cost at equal strength."""

from __future__ import annotations

from diffgeo.report.charts import Chart, Tables, in_figure, name, number, strips, timestep
from diffgeo.report.picture_grids import Figure, picture_grid, plain
from diffgeo.results import Result

DAMAGE = {
    "residual_change": ("Denoising residual", "larger denoising residual"),
    "off_data": ("Distance from the data", "distance from the nearest portrait (root mean square)"),
    "precision": ("Edit precision", "target change / mean other change"),
    "clipped_change": ("Colours at their limits", "more colours at their limits (share)"),
    "chroma_change": ("Chroma", "more chroma"),
    "noise_change": ("High-frequency power", "more power beyond half of Nyquist (share)"),
}
"""Column → title and label."""


def charts(tables: Tables) -> list[Chart]:
    """Each variant against the local directions, at equal strength."""
    table, found = tables["ablation"], []
    strength = f"{name(table['perceptual_measure'].iloc[0])} {number(float(table['change_wanted'].iloc[0]), 2)}"
    caption = (
        f"All edits change the picture equally ({strength}), at {timestep(float(table['t_frac'].iloc[0]))}; dots are "
        "edits, diamonds means, local directions in dark blue."
    )
    for column, (title, label) in DAMAGE.items():
        if column in table and table[column].notna().any():
            groups = {name(variant): part[column] for variant, part in table.groupby("variant", sort=False)}
            found.append(strips(f"ablation-{column}", title, caption, groups, label, marked="local"))
    return in_figure(found, "damage")


def figures(result: Result) -> dict[str, Figure]:
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
    return {"edits": picture_grid(rows, title=title, left=left, top=top, right=right)}
