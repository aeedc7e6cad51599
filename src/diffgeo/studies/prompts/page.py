"""What a run's page shows of the study ``prompts``, beside its charts."""

from __future__ import annotations

from diffgeo.report.reading import Run
from diffgeo.report.summaries import INTERVALS, T_COLUMN, p_column
from diffgeo.report.tables import Column, Table, as_table


def tables(run: Run) -> list[Table]:
    """Tables for a paper."""
    summary = run.table("prompts_similarity")
    if summary is None:
        return []
    kinds = {"fixed": "the same latent", "path": "own paths"}
    rows = summary.assign(what=summary["kind"].map(lambda k: kinds.get(k, k)))
    columns = [
        T_COLUMN,
        Column("tangent spaces", "what"),
        Column("guidance", "guidance"),
        Column("mean distance / largest", ("distance_normalized", "low", "high")),
        Column("rank correlation with similarity", "rho"),
        p_column("p (Mantel)", "p"),
        Column("prompts", "prompts"),
    ]
    return [as_table("table-prompts-means", "Prompts by timestep", rows, columns, note=INTERVALS)]
