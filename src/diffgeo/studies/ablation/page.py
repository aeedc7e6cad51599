"""What a run's page shows of the study ``ablation``, beside its charts."""

from __future__ import annotations

from diffgeo.report.formatting import name, timestep
from diffgeo.report.pictures import Pictures, picture_grid
from diffgeo.report.reading import Run
from diffgeo.report.summaries import INTERVALS, T_COLUMN, mean_columns, means_table
from diffgeo.report.tables import Column, Table

_VARIANT = Column("variant", "variant", name)
_COSTS = ("residual_change", "off_data", "clipped_change", "chroma_change", "contrast_change", "noise_change")


def tables(run: Run) -> list[Table]:
    """Tables for a paper."""
    table = run.table("ablation")
    assert table is not None
    columns = [
        _VARIANT,
        *mean_columns("precision", "off_target", *_COSTS, "gamma", "x_change"),
        Column("share matched", "matched"),
    ]
    note = f"{INTERVALS} n counts edits; edits of one sample are not independent."
    found = [means_table("table-ablation-means", "Variants at equal strength", table, ["variant"], columns, note)]
    if (long := run.table("ablation_equal_length")) is not None:
        columns = [_VARIANT, *mean_columns("x_change", "cosine", "change", *_COSTS)]
        note = f"Decoded without clipping x̂0; the cosine is that of x′ − x with the direction. {note}"
        found.append(means_table("table-ablation-length", "Variants at equal length", long, ["variant"], columns, note))
    if (times := run.table("ablation_times")) is not None:
        measures = mean_columns("change", "precision", "residual_change", "off_data")
        columns = [T_COLUMN, _VARIANT, *measures, Column("share matched", "matched")]
        note = f"All edits of a timestep change the picture equally. {INTERVALS} n counts edits."
        caption, keys = "Variants at equal strength, by timestep", ["t_frac", "variant"]
        found.append(means_table("table-ablation-times", caption, times, keys, columns, note))
    return found


def pictures(run: Run) -> list[Pictures]:
    """The first sample, edited by every variant, all changed equally."""
    table, frames = run.table("ablation"), run.pictures("ablation")
    if table is None or frames is None:
        return []
    mine = table[table["sample"] == table["sample"].iloc[0]]
    caption = f"{mine['name'].iloc[0]}: edits of equal change, at {timestep(float(mine['t_frac'].iloc[0]))}"
    edits = mine.assign(method=mine["variant"], frame=mine["frame"] + 1, moves=mine.get("attribute"))
    return [picture_grid("pictures-ablation", caption, edits, frames, original=0)]
