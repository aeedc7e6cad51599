"""Charts of ``dataset_complexity``: distances between samples for models of several data sets."""

from __future__ import annotations

from diffgeo.report.charts import Chart, Tables, by_time, in_figure

__all__ = ["charts"]


def charts(tables: Tables) -> list[Chart]:
    """Distances between samples by t, one line a data set."""
    table = tables["dataset_complexity"].rename(columns={"t_frac": "x", "distance_normalized": "y"})
    chart = by_time(
        "complexity",
        "Grassmann distance between samples, by data set",
        "How far apart two samples' tangent spaces lie, for models that differ in how much varies in their data; dots "
        "are pairs.",
        {str(model): rows[["x", "y"]] for model, rows in table.groupby("data_model", sort=False)},
        "distance / largest possible",
        limits=(0, 1),
    )
    return in_figure([chart], "distances")
