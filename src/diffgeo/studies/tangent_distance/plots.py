"""Charts of ``tangent_distance``: Grassmann distances between samples and between timesteps."""

from __future__ import annotations

from diffgeo.report.charts import Chart, Tables, by_time, in_figure

KINDS = {
    "time": "along a sample: x and t vary",
    "x_fixed": "x fixed, t varies",
    "t_fixed": "t fixed, x varies",
}
"""Kind of a pair of timesteps → its name in words."""


def charts(tables: Tables) -> list[Chart]:
    """Distances between samples and between timesteps, with the controls."""
    table, found = tables["tangent_distance"], []
    spaces, label = f"tangent spaces (n = {table['rank'].iloc[0]})", "distance / largest possible"
    between = table[table["kind"] == "sample"].rename(columns={"t_frac_a": "x", "distance_normalized": "y"})
    if len(between):
        found.append(
            by_time(
                "distance-samples",
                "Grassmann distance between samples",
                f"How far apart two samples' {spaces} lie at one timestep; dots are pairs. Bars resample pairs, which "
                "share samples and so are not independent.",
                {"mean over pairs": between[["x", "y"]]},
                label,
                limits=(0, 1),
            )
        )
    lines = {}
    for kind, what in KINDS.items():
        rows = table[table["kind"] == kind]
        if len(rows):
            apart = (rows["t_frac_a"] - rows["t_frac_b"]).abs().round(6)
            lines[what] = rows.assign(x=apart, y=rows["distance_normalized"])[["x", "y"]]
    if lines:
        found.append(
            by_time(
                "distance-timesteps",
                "Grassmann distance between timesteps",
                f"How far {spaces} move from one timestep to another, and whether the network's timestep or the latent "
                "moves them; dots are pairs.",
                lines,
                label,
                x="|t − s| / T",
                reverse=False,
                limits=(0, 1),
            )
        )
    return in_figure(found, "distances")
