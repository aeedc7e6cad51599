"""What a run's page shows of the study ``curvedness``, beside its charts."""

from __future__ import annotations

from diffgeo.report.reading import Run
from diffgeo.report.summaries import INTERVALS, N_COLUMN, mean_column, means_of
from diffgeo.report.tables import Column, Table, as_table
from diffgeo.studies.curvedness.settings import PATHS

__all__ = ["tables"]


def tables(run: Run) -> list[Table]:
    """Tables for a paper."""
    table = run.table("curvedness")
    assert table is not None
    values = ["length", "length_soft", "perceptual_length", "x_length", "h_length", "miss_h"]
    means = means_of(table, ["pool", "path"], values)
    means["h"] = means["pool"].map(lambda p: "whole" if p == "none" else "pooled")
    means["label"] = means["path"].map(lambda p: PATHS.get(p, p))
    columns = [
        Column("h", "h"),
        Column("path", "label"),
        mean_column("semantic length / rad", "length"),
        mean_column("soft length / rad", "length_soft"),
        mean_column("perceptual length", "perceptual_length"),
        mean_column("length in X", "x_length"),
        mean_column("length in H", "h_length"),
        mean_column("end misses by", "miss_h"),
        N_COLUMN,
    ]
    note = f"{INTERVALS} n counts pairs of samples."
    return [as_table("table-curvedness-means", "Paths between samples", means, columns, note=note)]
