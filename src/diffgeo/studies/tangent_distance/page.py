"""What a run's page shows of the study ``tangent_distance``, beside its charts."""

from __future__ import annotations

import pandas as pd

from diffgeo.report.formatting import name, timestep
from diffgeo.report.reading import Run
from diffgeo.report.summaries import INTERVALS, mean_column, means_table
from diffgeo.report.tables import Column, Table


def tables(run: Run) -> list[Table]:
    """Tables for a paper."""
    table = run.table("tangent_distance")
    assert table is not None
    labels = {"sample": "two samples at t", "time": "one sample, two timesteps"}
    rows = table.assign(
        what=table["kind"].map(lambda k: labels.get(k, f"control: {name(k).replace(' ', ' is ')}")),
        apart=(table["t_frac_a"] - table["t_frac_b"]).abs().round(6),
        t_frac=table["t_frac_a"].where(table["kind"] == "sample"),
    )
    rows["at"] = [
        timestep(t) if pd.notna(t) else f"|t − s| = {timestep(d)}"
        for t, d in zip(rows["t_frac"], rows["apart"], strict=True)
    ]
    columns = [
        Column("between", "what"),
        Column("where", "at"),
        mean_column("distance / largest", "distance_normalized"),
        mean_column("distance / rad", "distance"),
        mean_column("soft distance / rad", "distance_soft"),
    ]
    note = f"{INTERVALS} n counts pairs, which share samples: intervals over them are too narrow."
    return [means_table("table-distance-means", "Grassmann distances", rows, ["what", "at"], columns, note)]
