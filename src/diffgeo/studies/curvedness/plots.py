"""Charts of ``curvedness``: lengths of paths between samples, and where on the way the tangent space turns."""

from __future__ import annotations

import numpy as np
import pandas as pd

from diffgeo.report.charts import Chart, Tables, curves, in_figure, means_by, number, rows_of_points, strips, timestep
from diffgeo.studies.curvedness.settings import METRICS, PATHS


def charts(tables: Tables) -> list[Chart]:
    """Path lengths, profiles along the paths, and flatness ratios in every metric, for each pooling."""
    table, found = tables["curvedness"], []
    when = timestep(float(table["t_frac"].iloc[0]))
    for pool, rows in table.groupby("pool", sort=False):
        what = "whole h" if pool == "none" else "pooled h"
        found.append(
            strips(
                f"curvedness-length-{pool}",
                f"Semantic path length, {what}",
                f"How much the tangent space (n = {rows['rank'].iloc[0]}) turns along each path between two samples "
                f"at {when}; dots are pairs, diamonds means.",
                {_path(path): part["length"] for path, part in rows.groupby("path", sort=False)},
                "semantic path length / rad",
            )
        )
        if "curvedness_segments" in tables:
            segments = tables["curvedness_segments"]
            found.append(
                curves(
                    f"curvedness-profile-{pool}",
                    f"Curvedness along the paths, {what}",
                    f"Where on the way the tangent space turns at {when}: 0 is the first sample, 1 the second; means "
                    "over pairs.",
                    segments[segments["pool"] == pool],
                    x=("position", "position along the path"),
                    y=("curvedness", "curvedness of a segment / rad"),
                    by="path",
                    label=_path,
                    of="position",
                    band=False,
                    along=(0, 1),
                )
            )
    flatness = _flatness(tables["curvedness_flatness"]) if "curvedness_flatness" in tables else []
    return [*in_figure(found, "paths"), *in_figure(flatness, "flatness")]


def _flatness(table: pd.DataFrame) -> list[Chart]:
    """R of every path, a point per metric."""
    made = []
    for pool, rows in table.groupby("pool", sort=False):
        what = "whole h" if pool == "none" else "pooled h"
        points = []
        for (path, metric), part in rows.groupby(["path", "metric"], sort=False):
            [(mean, low, high, _)] = means_by(np.log10(part["flatness_ratio"]), part["metric"]).to_numpy()
            points.append({"row": _path(path), "series": METRICS[str(metric)], "x": mean, "low": low, "high": high})
        words = [f"{one['row']} in {one['series']} {number(one['x'])}" for one in points]
        made.append(
            rows_of_points(
                f"curvedness-flatness-{pool}",
                f"Flatness ratio of paths made in {what}",
                "Energy of a path over that of the straight line between the images of its ends, in four pullback "
                "metrics, as a power of ten: 0 (dotted) if the metric is flat along the path. Means over pairs.",
                f"log₁₀ of the flatness ratio by path and metric: {'; '.join(words)}.",
                pd.DataFrame(points),
                "log₁₀ R",
                chance=0.0,
            )
        )
    return made


def _path(path: object) -> str:
    return PATHS.get(str(path), str(path))
