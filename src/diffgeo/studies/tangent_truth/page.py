"""What a run's page shows of the study ``tangent_truth``, beside its charts."""

from __future__ import annotations

import pandas as pd

from diffgeo.report.formatting import name
from diffgeo.report.reading import Run
from diffgeo.report.summaries import INTERVALS, N_COLUMN, T_COLUMN, mean_column, means_of
from diffgeo.report.tables import Column, Table, as_table


def tables(run: Run) -> list[Table]:
    """Tables for a paper."""
    table, axes = run.table("tangent_truth"), run.table("tangent_truth_axes")
    assert table is not None
    return [_shares(table), _factors(table), *([] if axes is None else [_axes(axes)])]


def _shares(table: pd.DataFrame) -> Table:
    keys = ["kind", "map", "n", "scale", "t_frac"]
    return as_table(
        "table-tangent-truth-shares",
        "Share of the true tangent space",
        means_of(table[table["factor"] == "span"], keys, ["log_snr", "share", "null"], unit="samples"),
        [
            Column("x_t from", "kind"),
            Column("map", "map", name),
            Column("directions", "n"),
            Column("factors", "scale"),
            T_COLUMN,
            Column("log-SNR", "log_snr"),
            mean_column("share of the span", "share"),
            Column("chance", "null"),
            Column("n", "samples"),
        ],
        note=INTERVALS,
    )


def _factors(table: pd.DataFrame) -> Table:
    single = table[(table["factor"] != "span") & (table["n"] == table["tangent_rank"])]
    return as_table(
        "table-tangent-truth-factors",
        "Share of every factor's tangent",
        means_of(single, ["kind", "map", "factor", "scale", "t_frac"], ["share"]),
        [
            Column("x_t from", "kind"),
            Column("map", "map", name),
            Column("factor", "factor", name),
            Column("scale", "scale"),
            T_COLUMN,
            mean_column("share", "share"),
            N_COLUMN,
        ],
        note=INTERVALS,
        folded=True,
    )


def _axes(axes: pd.DataFrame) -> Table:
    return as_table(
        "table-tangent-truth-axes",
        "Single directions against single factors",
        means_of(axes[axes["factor"] == "mean"], ["kind", "map", "n", "t_frac"], ["cos", "null"], unit="samples"),
        [
            Column("x_t from", "kind"),
            Column("map", "map", name),
            Column("directions", "n"),
            T_COLUMN,
            mean_column("|cos| of matched axes", "cos"),
            mean_column("of random rotations", "null"),
            Column("n", "samples"),
        ],
        note=INTERVALS,
    )
