"""What a run's page shows of the study ``blocks``, beside its charts."""

from __future__ import annotations

from diffgeo.report.formatting import name
from diffgeo.report.reading import Run
from diffgeo.report.summaries import INTERVALS, N_COLUMN, T_COLUMN, mean_column, means_of
from diffgeo.report.tables import Column, Table, as_table

__all__ = ["tables"]

_VALUES = ("tangent_share", "effective_dimension", "log_spread", "vitality")


def tables(run: Run) -> list[Table]:
    """A table for a paper."""
    table = run.table("blocks")
    assert table is not None
    keys = ["block", "map", "t_frac", "log_snr"]
    return [
        as_table(
            "table-blocks",
            "Blocks",
            means_of(table, keys, [*_VALUES, "chance", "depth", "left_out"]),
            [
                Column("block", "block"),
                Column("map", "map", name),
                Column("depth", "depth"),
                T_COLUMN,
                Column("log-SNR", "log_snr"),
                mean_column("share of the tangent space", "tangent_share"),
                Column("chance", "chance"),
                mean_column("effective dimension", "effective_dimension"),
                mean_column("spread of log s", "log_spread"),
                mean_column("vitality", "vitality"),
                Column("channels left out", "left_out"),
                N_COLUMN,
            ],
            note=INTERVALS,
        )
    ]
