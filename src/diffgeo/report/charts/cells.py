"""Charts of cells: a matrix in colours."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from diffgeo.report.charts.chart import Chart
from diffgeo.report.charts.parts import data, layered_chart, named_rows, tips_of
from diffgeo.report.palette import HIGH, INK, LOW, PAPER

_TEXTED_ROWS = 40
"""Rows up to which the cells of a heat map hold their numbers."""


def heat_map(
    identifier: str,
    title: str,
    caption: str,
    alt_text: str,
    matrix: pd.DataFrame,
    label: str,
    *,
    signed: bool = False,
    framed: bool = False,
    decimals: int = 1,
    wide: bool = True,
) -> Chart:
    """A matrix as coloured cells with their numbers.

    Args:
        identifier: name of the chart.
        title: what is drawn.
        caption: how to read it.
        alt_text: the numbers in words.
        matrix: its index and columns are printed as they are.
        label: of the colours.
        signed: whether values have a sign, and 0 lies in the middle of the colours.
        framed: whether a frame marks the largest cell of each row.
        decimals: of the numbers in the cells.
        wide: whether it needs the page's whole width.
    """
    rows, columns = [str(row) for row in matrix.index], [str(column) for column in matrix.columns]
    cells = pd.DataFrame({"row": np.repeat(rows, len(columns)), "column": np.tile(columns, len(rows))})
    cells["value"] = matrix.to_numpy(float).ravel()
    largest = float(cells["value"].abs().max())
    most = largest if largest > 0 else 1.0  # all 0, or none known
    scale = alt.Scale(
        domain=[-most, 0, most] if signed else [0, most],
        range=[LOW, PAPER, HIGH] if signed else [PAPER, LOW],
        interpolate="rgb",
    )
    long = max(map(len, columns)) > 6
    axis = alt.Axis(orient="bottom", domain=False, ticks=False, labelAngle=-45 if long else 0, labelPadding=4)
    column = alt.X("column:N", title=None, sort=None, scale=alt.Scale(domain=columns), axis=axis)
    base: Any = alt.Chart(data(cells)).encode(
        x=column,
        y=named_rows(rows),
        tooltip=[*tips_of(row=" ", column=""), alt.Tooltip("value:Q", title=label, format=".3~f")],
    )
    legend = alt.Legend(title=label, orient="right", direction="vertical", titleOrient="right", titleLimit=300)
    layers = [
        base.mark_rect(stroke=PAPER, strokeWidth=2).encode(color=alt.Color("value:Q", scale=scale, legend=legend))
    ]
    if len(rows) <= _TEXTED_ROWS:
        text = alt.Text("value:Q", format=f".{decimals}f")
        layers.append(base.mark_text(fontSize=10, color=INK).encode(text=text))
    if framed:
        largest_of = cells.dropna().groupby("row", sort=False)["value"].idxmax()
        places: Any = alt.Chart(data(cells.loc[largest_of]))
        frames = places.mark_rect(filled=False, stroke=INK, strokeWidth=1.6)
        layers.append(frames.encode(x=column, y=named_rows(rows)))
    height, width = 23 * len(rows), 34 * len(columns) if wide else 46 * len(columns)
    return layered_chart(identifier, title, caption, alt_text, layers, width=max(200, width), height=height, wide=wide)
