"""What a run's page shows of the study ``frequency``, beside its charts."""

from __future__ import annotations

from diffgeo.report.reading import Run
from diffgeo.report.summaries import T_COLUMN, mean_column, means_table
from diffgeo.report.tables import Table


def tables(run: Run) -> list[Table]:
    """Tables for a paper."""
    table = run.table("frequency")
    assert table is not None
    shares = [mean_column(f"{band}-frequency share", f"{band}_share") for band in ("low", "high")]
    first = table[table["radius"] == 0]
    return [means_table("table-frequency-means", "Frequencies by timestep", first, ["t_frac"], [T_COLUMN, *shares])]
