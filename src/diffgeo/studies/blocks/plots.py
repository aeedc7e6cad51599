"""Charts of ``blocks``: what every block of the network sees, by its depth."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from diffgeo.report.charts import Chart, Tables, curves, in_figure, name, timestep
from diffgeo.report.formatting import number
from diffgeo.studies.blocks.gains import gains

_DEPTH = ("depth", "depth (share of the network's multiply-adds)")
_MEASURES = {
    "tangent_share": ("Share of the true tangent space", "share of the span"),
    "effective_dimension": ("Effective dimension", "effective dimension"),
    "log_spread": ("How far from an isometry?", "spread of log s"),
    "condition": ("Condition number", "s₁ / sₙ"),
    "vitality": ("How much the network needs the block", "change of x̂0 without it"),
}
"""Column → title and label."""
Times = dict[float, str]
"""Fraction of T → how its timestep is called."""


def charts(tables: Tables) -> list[Chart]:
    """Where h is: every measure by depth, a line per timestep; the maps of a block compared, a line per map."""
    table = tables["blocks"]
    first = table[table["map"] == table["map"].iloc[0]]
    own = table.drop_duplicates("t_frac")
    snr = dict(zip(own["t_frac"], own["log_snr"], strict=True))
    times = {t_frac: f"{timestep(t_frac)} (log-SNR {number(one, 2)})" for t_frac, one in snr.items()}
    return [*_by_depth(first, times), *_consistency(tables, times), *_gains(tables, first, times), *_maps(table, times)]


def _drawn(rows: pd.DataFrame, times: Times, column: str, title: str, label: str) -> list[Chart]:
    """A measure by depth, a line per timestep, as one of the choices of the figure ``depth``."""
    chart = curves(
        f"blocks-{column.replace('_', '-')}",
        title,
        f"A point per block ({', '.join(_names(rows))}), in the order of the network; bands from the least to the most "
        "of the samples.",
        rows.dropna(subset=[column]).sort_values("t_frac", ascending=False, kind="stable"),
        x=_DEPTH,
        y=(column, label),
        by="t_frac",
        label=lambda t_frac: f"t = {times[t_frac]}",
        of="depth",
    )
    return in_figure([chart], "depth", ("measure", title))


def _names(rows: pd.DataFrame) -> list[str]:
    return list(rows.sort_values("depth")["block"].unique())


def _by_depth(table: pd.DataFrame, times: Times) -> Iterator[Chart]:
    for column, words in _MEASURES.items():
        if table[column].notna().any():
            yield from _drawn(table, times, column, *words)


def _consistency(tables: Tables, times: Times) -> Iterator[Chart]:
    """How far pairs of samples share their directions of h."""
    if "blocks_consistency" in tables:
        pairs = tables["blocks_consistency"]
        pairs = pairs[pairs["map"] == pairs["map"].iloc[0]]
        yield from _drawn(pairs, times, "shared", "Directions of h that two samples share", "share")


def _gains(tables: Tables, table: pd.DataFrame, times: Times) -> Iterator[Chart]:
    """Precision of edits along a block's directions over that of random ones, in the mean of a sample's edits."""
    if "blocks_edits" not in tables:
        return
    gained = gains(tables["blocks_edits"])
    rows = gained.assign(depth=gained["block"].map(table.groupby("block")["depth"].first()))
    yield from _drawn(rows, times, "gain", "Edits: precision over that of random directions", "log ratio")


def _maps(table: pd.DataFrame, times: Times) -> Iterator[Chart]:
    """The share of the tangent space (or the effective dimension) by depth, a line per map, a choice per timestep."""
    if table["map"].nunique() < 2:
        return
    column = "tangent_share" if table["tangent_share"].notna().any() else "effective_dimension"
    for t_frac, rows in table.groupby("t_frac", sort=False):
        chart = curves(
            f"blocks-maps-{t_frac:g}",
            "What of a block is h?",
            f"A point per block; t = {times[t_frac]}.",  # type: ignore[index]
            rows.dropna(subset=[column]),
            x=_DEPTH,
            y=(column, _MEASURES[column][1]),
            by="map",
            label=name,
            of="depth",
        )
        yield from in_figure([chart], "maps", ("t", times[t_frac]))  # type: ignore[index]
