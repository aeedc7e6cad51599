"""What a run's page shows of the study ``greyness``, beside its chart."""

from __future__ import annotations

from diffgeo.report.reading import Run
from diffgeo.report.summaries import INTERVALS, N_COLUMN, T_COLUMN, mean_column, means_of
from diffgeo.report.tables import Table, as_table


def tables(run: Run) -> list[Table]:
    """The mean over samples at each timestep."""
    by_sample = run.table("greyness").groupby(["sample", "t_frac"], as_index=False)["greyness"].mean()
    means = means_of(by_sample, ["t_frac"], ["greyness"])
    columns = [T_COLUMN, mean_column("greyness", "greyness"), N_COLUMN]
    return [as_table("table-greyness-means", "Greyness by timestep", means, columns, note=INTERVALS)]
