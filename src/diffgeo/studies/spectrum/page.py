"""What a run's page shows of the study ``spectrum``, beside its charts."""

from __future__ import annotations

import math

import pandas as pd

from diffgeo.report.reading import Run
from diffgeo.report.summaries import INTERVALS, N_COLUMN, T_COLUMN, mean_column, means_of
from diffgeo.report.tables import Column, Table, as_table
from diffgeo.studies.spectrum.settings import KINDS


def tables(run: Run) -> list[Table]:
    """Tables for a paper."""
    table = run.table("spectrum")
    assert table is not None
    values = ["effective_dimension", "flatness", "energy_share", "singular_value_first"]
    table = table.assign(origin=table["kind"].map(KINDS))
    means = means_of(table, ["origin", "t_frac"], values)
    parts = table.groupby(["origin", "t_frac"], sort=False)
    means["half"] = [_half_energy(part) for _, part in parts]
    columns = [
        *([Column("x_t", "origin")] if means["origin"].nunique() > 1 else []),
        T_COLUMN,
        mean_column("effective dimension", "effective_dimension"),
        mean_column("σₙ / σ₁", "flatness"),
        mean_column("share of ‖J‖²", "energy_share"),
        Column("directions with half of ‖J‖²", "half"),
        mean_column("σ₁", "singular_value_first"),
        N_COLUMN,
    ]
    return [as_table("table-spectrum-means", "Spectra by timestep", means, columns, note=INTERVALS)]


def _half_energy(part: pd.DataFrame) -> str:
    """The median over samples of how many directions hold half of ‖J‖²_F; more than n if more than n do in half."""
    counts, n = part["half_energy_rank"].fillna(math.inf), part["rank"].max()
    middle = counts.median()
    return f"more than {n}" if math.isinf(middle) or math.isnan(middle) else f"{middle:.0f}"
