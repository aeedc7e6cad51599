"""What a run's page shows of the study ``ablation``, beside its charts."""

from __future__ import annotations

import pandas as pd

from diffgeo.report.formatting import name, timestep
from diffgeo.report.pictures import Pictures, picture_grid
from diffgeo.report.reading import Run
from diffgeo.report.summaries import INTERVALS, N_COLUMN, T_COLUMN, mean_column, means_of
from diffgeo.report.tables import Column, Table, as_table


def tables(run: Run) -> list[Table]:
    """Tables for a paper."""
    table = run.table("ablation")
    assert table is not None
    costs = ["residual_change", "off_data", "clipped_change", "chroma_change", "noise_change"]
    values = ["precision", "off_target", *costs, "gamma", "x_change", "matched"]  # runs of earlier versions lack some
    means = means_of(table.assign(matched=table["matched"].astype(float)), ["variant"], values)
    columns = [
        Column("variant", "variant", name),
        mean_column("edit precision", "precision"),
        mean_column("off-target change", "off_target"),
        mean_column("denoising residual", "residual_change"),
        mean_column("distance from the data", "off_data"),
        mean_column("colours at their limits", "clipped_change"),
        mean_column("chroma", "chroma_change"),
        mean_column("high-frequency power", "noise_change"),
        mean_column("γ", "gamma"),
        mean_column("‖x′ − x‖", "x_change"),
        Column("share matched", "matched"),
        N_COLUMN,
    ]
    note = f"{INTERVALS} n counts edits; edits of one sample are not independent."
    found = [as_table("table-ablation-means", "Variants at equal strength", means, columns, note=note)]
    long = run.table("ablation_equal_length")
    if long is not None:
        means = means_of(long, ["variant"], ["x_change", "change", *costs])
        columns = [
            Column("variant", "variant", name),
            mean_column("‖x′ − x‖", "x_change"),
            mean_column("perceptual change", "change"),
            mean_column("denoising residual", "residual_change"),
            mean_column("distance from the data", "off_data"),
            mean_column("colours at their limits", "clipped_change"),
            mean_column("chroma", "chroma_change"),
            mean_column("high-frequency power", "noise_change"),
            N_COLUMN,
        ]
        note = f"Decoded without clipping x̂0. {note}"
        found.append(as_table("table-ablation-length", "Variants at equal length", means, columns, note=note))
    times = run.table("ablation_times")
    return found if times is None else [*found, _by_time(times)]


def _by_time(table: pd.DataFrame) -> Table:
    """What variants cost at every timestep."""
    values = ["change", "precision", "residual_change", "off_data", "matched"]
    means = means_of(table.assign(matched=table["matched"].astype(float)), ["t_frac", "variant"], values)
    columns = [
        T_COLUMN,
        Column("variant", "variant", name),
        mean_column("perceptual change", "change"),
        mean_column("edit precision", "precision"),
        mean_column("denoising residual", "residual_change"),
        mean_column("distance from the data", "off_data"),
        Column("share matched", "matched"),
        N_COLUMN,
    ]
    note = f"All edits of a timestep change the picture equally. {INTERVALS} n counts edits."
    return as_table("table-ablation-times", "Variants at equal strength, by timestep", means, columns, note=note)


def pictures(run: Run) -> list[Pictures]:
    """The first sample, edited by every variant, all changed equally."""
    table, frames = run.table("ablation"), run.pictures("ablation")
    if table is None or frames is None:
        return []
    mine = table[table["sample"] == table["sample"].iloc[0]]
    caption = f"{mine['name'].iloc[0]}: edits of equal change, at {timestep(float(mine['t_frac'].iloc[0]))}"
    edits = mine.assign(method=mine["variant"], frame=mine["frame"] + 1, moves=mine.get("attribute"))
    return [picture_grid("pictures-ablation", caption, edits, frames, original=0)]
