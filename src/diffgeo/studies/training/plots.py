"""Charts of ``training``: what is measured, by the pictures that a training has seen."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from diffgeo.report.charts import Chart, Tables, curves, in_figure, timestep

_MEASURES = {
    "effective_dimension": ("training", "Effective dimension", "effective dimension"),
    "best_match": ("training", "Directions that samples share", "|cos| of the best match"),
    "share": ("training_truth", "Share of the true tangent space", "share of the span"),
}
"""Column → table, title and label."""


def charts(tables: Tables) -> list[Chart]:
    """Every measure against the pictures seen, a line per timestep, a choice per kind of data."""
    return list(_by_images(tables))


def _by_images(tables: Tables) -> Iterator[Chart]:
    for column, (name, title, label) in _MEASURES.items():
        if name not in tables:
            continue
        for (data, settings), rows in tables[name].groupby(["data", "settings"], sort=False):
            if rows["images"].nunique() > 1 and rows[column].notna().any():
                chart = _drawn(rows, f"{data}-{settings}", str(data), column, title, label)
                yield from in_figure([chart], "moments", ("measure", title))


def _drawn(rows: pd.DataFrame, of: str, data: str, column: str, title: str, label: str) -> Chart:
    seeds = rows["training_seed"].nunique()
    return curves(
        f"training-{column.replace('_', '-')}-{of.replace(' ', '-')}",
        f"{title}, trained on {data} (settings {of.rpartition('-')[2]})",
        f"Means over samples{f' of {seeds} trainings' if seeds > 1 else ''}; bands from the least to the most of them.",
        rows.dropna(subset=[column]).sort_values(["t_frac", "images"], ascending=[False, True], kind="stable"),
        x=("images", "pictures seen"),
        y=(column, label),
        by="t_frac",
        label=lambda t_frac: f"t = {timestep(t_frac)}",
        of="pictures seen",
    )
