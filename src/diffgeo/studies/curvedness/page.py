"""What a run's page shows of the study ``curvedness``, beside its charts."""

from __future__ import annotations

import pandas as pd

from diffgeo.report.reading import Run
from diffgeo.report.summaries import INTERVALS, N_COLUMN, mean_column, means_of
from diffgeo.report.tables import Column, Table, as_table
from diffgeo.studies.curvedness.settings import METRICS, PATHS

STRAYS = {
    "attribute_deviation": "attributes stray by",
    "z_deviation": "factors stray by",
    "off_data": "off the data by",
}
"""Column → its heading."""


def tables(run: Run) -> list[Table]:
    """Tables for a paper."""
    table = run.table("curvedness")
    assert table is not None
    values = ["length", "length_soft", "perceptual_length", *STRAYS, "x_length", "h_length", "miss_h"]
    means = _named(means_of(table, ["pool", "path"], values))
    columns = [
        Column("h", "pooling"),
        Column("path", "label"),
        mean_column("semantic length / rad", "length"),
        mean_column("soft length / rad", "length_soft"),
        mean_column("perceptual length", "perceptual_length"),
        *(mean_column(heading, column) for column, heading in STRAYS.items()),
        mean_column("length in X", "x_length"),
        mean_column("length in H", "h_length"),
        mean_column("end misses by", "miss_h"),
        N_COLUMN,
    ]
    note = f"{INTERVALS} n counts pairs of samples."
    found = [as_table("table-curvedness-means", "Paths between samples", means, columns, note=note)]
    flatness = run.table("curvedness_flatness")
    return found if flatness is None else [*found, _flatness(flatness)]


def _flatness(table: pd.DataFrame) -> Table:
    """R of every path, the metrics side by side."""
    wide = table.pivot_table(index=["pool", "path", "pair"], columns="metric", values="flatness_ratio", sort=False)
    means = _named(means_of(wide.reset_index(), ["pool", "path"], list(METRICS)))
    columns = [
        Column("made in h", "pooling"),
        Column("path", "label"),
        *(mean_column(f"R in {label}", metric) for metric, label in METRICS.items()),
        N_COLUMN,
    ]
    note = (
        f"{INTERVALS} R is the energy of the path over that of the straight line between the images of its ends: 1 if "
        "the metric is flat along it and the pace even, more if the path bends or hurries. n counts pairs of samples."
    )
    return as_table("table-curvedness-flatness", "Flatness ratio R, by metric", means, columns, note=note)


def _named(means: pd.DataFrame) -> pd.DataFrame:
    """With pooling and path in words."""
    return means.assign(
        pooling=means["pool"].map(lambda pool: "whole" if pool == "none" else "pooled"),
        label=means["path"].map(lambda path: PATHS.get(path, path)),
    )
