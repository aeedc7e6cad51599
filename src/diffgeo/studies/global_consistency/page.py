"""What a run's page shows of the study ``global_consistency``, beside its charts."""

from __future__ import annotations

from diffgeo.report.formatting import counted
from diffgeo.report.pictures import Viewer
from diffgeo.report.reading import Run
from diffgeo.report.summaries import INTERVALS, N_COLUMN, T_COLUMN, mean_column, means_of, p_column
from diffgeo.report.tables import Column, Table, as_table
from diffgeo.report.traversals import global_edits

__all__ = ["tables", "viewer"]


def tables(run: Run) -> list[Table]:
    """Tables for a paper."""
    table = run.table("global_consistency")
    assert table is not None
    keys = ["t_frac", "method", "direction"]
    means = means_of(table, keys, ["best_match", "share"])
    once = table.drop_duplicates(keys)[[*keys, "null_best_match", "p_best_match", "p_share"]]
    means = means.merge(once, on=keys)
    means["direction"] += 1
    columns = [
        T_COLUMN,
        Column("method", "method"),
        Column("direction", "direction"),
        mean_column("best |cos|", "best_match"),
        Column("chance", "null_best_match"),
        p_column("p", "p_best_match"),
        mean_column("share in the tangent space", "share"),
        p_column("p of the share", "p_share"),
        N_COLUMN,
    ]
    return [
        as_table(
            "table-consistency-means", "Global directions on held-out samples", means, columns,
            note=f"{INTERVALS} n counts held-out samples; p is by Monte Carlo, under random subspaces.",
        )
    ]  # fmt: skip


def viewer(run: Run) -> Viewer | None:
    """Pictures under a slider; None if the run left none."""
    data = global_edits(run)
    if data is None:
        return None
    left = data["left_out"]
    note = f"{counted(left, 'further held-out sample')} would not fit into one file; tensors/ has all." if left else ""
    return Viewer("viewer-global", "global", data, note)
