"""What a run's page shows of the study ``blocks``, beside its charts."""

from __future__ import annotations

import pandas as pd

from diffgeo.report.formatting import name
from diffgeo.report.reading import Run
from diffgeo.report.summaries import INTERVALS, T_COLUMN, mean_column, means_of, means_table
from diffgeo.report.tables import Column, Table, as_table
from diffgeo.studies.blocks.gains import gains

_PAIRS = "Pairs have samples in common, so their mean has no interval. Chance is what random directions share."
_EDITS = (
    "Edits of all blocks are brought to one perceptual change. The gain is the log of an edit's precision over that of "
    f"random directions, in the mean of a sample's edits: 0.69 is twice as precise. {INTERVALS}"
)


def tables(run: Run) -> list[Table]:
    """Tables for a paper."""
    table, pairs, edits = run.table("blocks"), run.table("blocks_consistency"), run.table("blocks_edits")
    assert table is not None
    further = [] if pairs is None else [_consistency(pairs)]
    return [_blocks(table), *further, *([] if edits is None else [_edits(edits)])]


def _blocks(table: pd.DataFrame) -> Table:
    return means_table(
        "table-blocks",
        "Blocks",
        table,
        ["block", "map", "t_frac", "log_snr"],
        [
            Column("block", "block"),
            Column("map", "map", name),
            Column("depth", "depth"),
            T_COLUMN,
            Column("log-SNR", "log_snr"),
            mean_column("share of the tangent space", "tangent_share"),
            Column("chance", "chance"),
            mean_column("effective dimension", "effective_dimension"),
            mean_column("condition number", "condition"),
            mean_column("spread of log s", "log_spread"),
            mean_column("vitality", "vitality"),
            Column("channels left out", "left_out"),
        ],
    )


def _consistency(pairs: pd.DataFrame) -> Table:
    keys = ["block", "map", "t_frac", "log_snr"]
    groups = pairs.groupby(keys, sort=False)
    return as_table(
        "table-blocks-consistency",
        "Directions of h that two samples share",
        groups[["shared", "chance"]].mean().assign(pairs=groups.size()).reset_index(),
        [
            Column("block", "block"),
            Column("map", "map", name),
            T_COLUMN,
            Column("log-SNR", "log_snr"),
            Column("shared directions", "shared"),
            Column("chance", "chance"),
            Column("pairs", "pairs"),
        ],
        note=_PAIRS,
    )


def _edits(edits: pd.DataFrame) -> Table:
    keys = ["block", "t_frac"]
    means = means_of(gains(edits), keys, ["gain"], unit="samples")
    return as_table(
        "table-blocks-edits",
        "Edits along a block's directions",
        means.merge(edits.groupby(keys)[["precision", "matched"]].mean().reset_index(), on=keys),
        [
            Column("block", "block"),
            T_COLUMN,
            mean_column("gain of precision over random", "gain"),
            Column("edit precision", "precision"),
            Column("share matched", "matched"),
            Column("samples", "samples"),
        ],
        note=_EDITS,
    )
