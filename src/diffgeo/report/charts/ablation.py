"""Charts of ``ablation``: what other directions and edits cost at equal strength."""

from __future__ import annotations

from diffgeo.report.charts.toolkit import Chart, Tables, in_figure, name, number, strips, timestep

__all__ = ["charts"]

DAMAGE = {
    "precision": ("Edit precision", "target change / mean other change"),
    "clipped_change": ("Colours at their limits", "more colours at their limits (share)"),
    "chroma_change": ("Chroma", "more chroma"),
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
