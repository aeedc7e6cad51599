"""What a run's page shows of the study ``greyness``, beside its chart."""

from __future__ import annotations

from diffgeo.report.reading import Run
from diffgeo.report.summaries import T_COLUMN, mean_column, means_table
from diffgeo.report.tables import Table


def tables(run: Run) -> list[Table]:
    """The mean over samples at each timestep."""
    by_sample = run.table("greyness").groupby(["sample", "t_frac"], as_index=False)["greyness"].mean()
    columns = [T_COLUMN, mean_column("greyness", "greyness")]
    return [means_table("table-greyness-means", "Greyness by timestep", by_sample, ["t_frac"], columns)]
