"""What a run's page shows of the study ``dataset_complexity``, beside its charts."""

from __future__ import annotations

from diffgeo.report.reading import Run
from diffgeo.report.summaries import INTERVALS, N_COLUMN, T_COLUMN, mean_column, means_of
from diffgeo.report.tables import Column, Table, as_table


def tables(run: Run) -> list[Table]:
    """Tables for a paper."""
    table = run.table("dataset_complexity")
    assert table is not None
    means = means_of(table, ["data_model", "t_frac"], ["distance_normalized", "distance"])
    columns = [
        Column("model", "data_model"),
        T_COLUMN,
        mean_column("distance / largest", "distance_normalized"),
        mean_column("distance / rad", "distance"),
        N_COLUMN,
    ]
    note = f"{INTERVALS} n counts pairs, which share samples: intervals over them are too narrow."
    return [as_table("table-complexity-means", "Distances between samples", means, columns, note=note)]
