"""What a run's page shows of the study ``spectrum``, beside its charts."""

from __future__ import annotations

from diffgeo.report.reading import Run
from diffgeo.report.summaries import INTERVALS, N_COLUMN, T_COLUMN, mean_column, means_of
from diffgeo.report.tables import Table, as_table

__all__ = ["tables"]


def tables(run: Run) -> list[Table]:
    """Tables for a paper."""
    table = run.table("spectrum")
    assert table is not None
    means = means_of(table, ["t_frac"], ["effective_dimension", "flatness", "half_energy_rank", "singular_value_first"])
    columns = [
        T_COLUMN,
        mean_column("effective dimension", "effective_dimension"),
        mean_column("σₙ / σ₁", "flatness"),
        mean_column("directions with half of the energy", "half_energy_rank"),
        mean_column("σ₁", "singular_value_first"),
        N_COLUMN,
    ]
    return [as_table("table-spectrum-means", "Spectra by timestep", means, columns, note=INTERVALS)]
