"""What charts are made of: data, axes, colours, marks, values on hover."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from diffgeo.report.charts.chart import Chart, Spec
from diffgeo.report.charts.theme import HEIGHT, SHAPES, WIDTH
from diffgeo.report.formatting import number
from diffgeo.report.palette import COLOURS, MUTED

_LEGEND_WIDTH = 330
"""Pixels that a legend may take, which is what a phone has."""


def data(frame: pd.DataFrame) -> alt.InlineData:
    """Rows with numbers of five digits; NaN and infinity as null."""
    rows = [{str(key): _plain(value) for key, value in row.items()} for row in frame.to_dict("records")]
    return alt.InlineData(values=rows)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value if value is None or isinstance(value, int | bool) else str(value)


def layered_chart(
    identifier: str,
    title: str,
    caption: str,
    alt_text: str,
    layers: Sequence[alt.Chart],
    *,
    width: int = WIDTH,
    height: int = HEIGHT,
    wide: bool = False,
) -> Chart:
    """A chart of layers that are drawn on one another, with its texts.

    Args:
        identifier: name of the chart.
        title: what is drawn.
        caption: how to read it.
        alt_text: the numbers in words.
        layers: from the lowest; those without data are left out.
        width: in a file, in pixels.
        height: of the drawing, in pixels.
        wide: whether it needs the page's whole width.
    """
    filled = [layer for layer in layers if layer.data.values]  # Vega warns of marks without data
    layered: Any = alt.layer(*(filled or layers[:1]))
    spec = layered.properties(width=width, height=height).to_dict(validate=False)  # its parts were, when they were made
    for key in ("$schema", "config"):
        spec.pop(key, None)
    return Chart(identifier, title, caption, alt_text, spec, wide=wide)


def colour_of(series: Sequence[str]) -> Any:
    """A colour per series, named in the legend."""
    scale = alt.Scale(domain=list(series), range=[COLOURS[i % len(COLOURS)] for i in range(len(series))])
    return alt.Color("series:N", title=None, scale=scale, legend=_legend(series))


def shape_of(series: Sequence[str]) -> Any:
    """A marker per series, named in the legend."""
    scale = alt.Scale(domain=list(series), range=[SHAPES[i % len(SHAPES)] for i in range(len(series))])
    return alt.Shape("series:N", title=None, scale=scale, legend=_legend(series))


def _legend(series: Sequence[str]) -> Any:
    """None for a single series; else in as many columns as a phone has room for."""
    if len(series) < 2:
        return None
    most = max(1, int(_LEGEND_WIDTH / (36 + 7 * max(map(len, series)))))
    return alt.Legend(symbolOpacity=1, columns=math.ceil(len(series) / math.ceil(len(series) / most)))


def continuous(field: str, title: str | None, limits: tuple[float, float] | None = None, **scale: Any) -> Spec:
    """A continuous axis: title, and its range with a little room on both sides."""
    if limits:
        room = 0.02 * (limits[1] - limits[0])
        scale |= {"domain": [limits[0] - room, limits[1] + room], "nice": False}
    else:
        scale = {"padding": 8, "nice": False} | scale
    return {"shorthand": f"{field}:Q", "title": title, "scale": alt.Scale(**scale)}


def tips_of(**fields: str) -> list[alt.Tooltip]:
    """Values on hover: field=title."""
    kinds = dict.fromkeys(("series", "row", "column", "text", "interval", "chance"), "N")
    return [
        alt.Tooltip(f"{field}:{kinds[field]}", title=title)
        if field in kinds
        else alt.Tooltip(f"{field}:Q", title=title, format=".3~g")
        for field, title in fields.items()
    ]


def with_interval(points: pd.DataFrame) -> pd.DataFrame:
    """The points with their intervals in words, for hovering; Vega would print one that is not there as 0 to 0."""
    ends = points[["low", "high"]].itertuples(index=False, name=None)
    words = ["too few values" if math.isnan(low) else f"{number(low)} to {number(high)}" for low, high in ends]
    return points.assign(interval=words)


def chance_rule(value: float, label: str, *, along: str = "y") -> list[alt.Chart]:
    """A dotted rule with its label."""
    place = data(pd.DataFrame({"chance": [value], "label": [label]}))
    rule: Any = alt.Chart(place).mark_rule(color=MUTED, strokeDash=[2, 3], strokeWidth=1.2)
    text: Any = alt.Chart(place).mark_text(color=MUTED, fontSize=10.5, clip=False)
    if along == "x":
        return [rule.encode(x="chance:Q")]
    words = text.mark_text(color=MUTED, fontSize=10.5, align="right", baseline="bottom", dy=-2)
    return [rule.encode(y="chance:Q"), words.encode(x=alt.value("width"), y="chance:Q", text="label:N")]


def named_rows(rows: Sequence[str], **scale: Any) -> Any:
    """A vertical axis of named rows, from top to bottom."""
    axis = alt.Axis(grid=False, domain=False, ticks=False, labelPadding=6)
    return alt.Y("row:N", title=None, scale=alt.Scale(domain=list(rows), **scale), axis=axis)
