"""What a run's page shows of the study ``frequency``, beside its charts."""

from __future__ import annotations

from diffgeo.report.reading import Run
from diffgeo.report.summaries import INTERVALS, N_COLUMN, T_COLUMN, mean_column, means_of
from diffgeo.report.tables import Table, as_table


def tables(run: Run) -> list[Table]:
    """Tables for a paper."""
    table = run.table("frequency")
    assert table is not None
    means = means_of(table[table["radius"] == 0], ["t_frac"], ["low_share", "high_share"])
    columns = [
        T_COLUMN,
        mean_column("low-frequency share", "low_share"),
        mean_column("high-frequency share", "high_share"),
        N_COLUMN,
    ]
    return [as_table("table-frequency-means", "Frequencies by timestep", means, columns, note=INTERVALS)]
