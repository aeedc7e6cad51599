"""Charts of ``curvedness``: lengths of paths between samples, and where on the way the tangent space turns."""

from __future__ import annotations

from diffgeo.report.charts import Chart, Tables, curves, in_figure, strips, timestep
from diffgeo.studies.curvedness.settings import PATHS

__all__ = ["charts"]


def charts(tables: Tables) -> list[Chart]:
    """Path lengths, and profiles along the paths, for each pooling."""
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
    return in_figure(found, "paths")


def _path(path: object) -> str:
    return PATHS.get(str(path), str(path))
