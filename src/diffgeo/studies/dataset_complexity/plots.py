"""Charts of ``dataset_complexity``: distances between samples for models of several data sets."""

from __future__ import annotations

from diffgeo.report.charts import Chart, Tables, by_time, in_figure


def charts(tables: Tables) -> list[Chart]:
    """Distances between samples by t, one line a data set; of several trainings, their means over pairs of samples."""
    table = tables["dataset_complexity"].rename(columns={"t_frac": "x", "distance_normalized": "y"})
    series, dots = ["data_model"], "pairs of samples"
    if table["training"].nunique() > 1:
        table = table.groupby(["data", "training", "x"], sort=False)["y"].mean().reset_index()
        series, dots = ["data"], "trainings, each the mean over its pairs of samples"
    chart = by_time(
        "complexity",
        "Grassmann distance between samples, by data set",
        f"How far apart two samples' tangent spaces lie, for models that differ in how much varies in their data; dots "
        f"are {dots}.",
        {str(name): rows[["x", "y"]] for (name,), rows in table.groupby(series, sort=False)},
        "distance / largest possible",
        limits=(0, 1),
    )
    return in_figure([chart], "distances")
