"""Charts of ``spectrum``: effective dimension and flatness by timestep."""

from __future__ import annotations

from diffgeo.report.charts import Chart, Tables, by_time, in_figure

__all__ = ["charts"]

QUANTITIES = {
    "effective_dimension": ("Effective dimension", "effective dimension"),
    "flatness": ("Flatness of the spectrum", "σₙ / σ₁"),
}
"""Column → title and label."""


def charts(tables: Tables) -> list[Chart]:
    """Effective dimension and flatness against t."""
    table = tables["spectrum"]
    caption = (
        f"Of the leading n = {table['rank'].iloc[0]} directions. Thin lines are samples; the thick line is their mean "
        "with its 95 % interval."
    )
    found = []
    for column, (title, label) in QUANTITIES.items():
        values = table.rename(columns={"t_frac": "x", column: "y"})[["x", "y", "sample"]]
        found.append(by_time(f"spectrum-{column}", title, caption, {"mean over samples": values}, label))
    return in_figure(found, "summary")
