"""Charts of points: values by row, and one quantity against another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from diffgeo.report.charts.chart import Chart, Spec
from diffgeo.report.charts.parts import (
    chance_rule,
    colour_of,
    continuous,
    data,
    layered_chart,
    named_rows,
    shape_of,
    tips_of,
    with_interval,
)
from diffgeo.report.formatting import number
from diffgeo.report.palette import COLOURS, MUTED


def strips(
    identifier: str, title: str, caption: str, groups: Mapping[str, pd.Series], label: str, *, marked: str | None = None
) -> Chart:
    """One row a group: its values as dots, their mean as a large diamond.

    Args:
        identifier: name of the chart.
        title: what is drawn.
        caption: how to read it.
        groups: values by name, from top to bottom.
        label: of the x axis.
        marked: the group in the first colour; all, if left out.
    """
    kept = {group: values.dropna() for group, values in groups.items()}
    dots = pd.DataFrame([{"row": group, "x": value} for group, values in kept.items() for value in values])
    means = pd.DataFrame(
        [
            {"row": group, "x": values.mean(), "n": len(values), "colour": COLOURS[0 if marked in (None, group) else 5]}
            for group, values in kept.items()
            if len(values)
        ]
    )
    axes = {"x": alt.X(**continuous("x", label, zero=True), axis=alt.Axis(grid=True)), "y": named_rows(list(kept))}
    layers: list[Any] = [
        alt.Chart(data(dots))
        .mark_circle(size=24, color=MUTED, opacity=0.6, clip=True)
        .encode(tooltip=tips_of(row=" ", x="one value"), **axes),
        alt.Chart(data(means))
        .mark_point(size=110, shape="diamond", filled=True, opacity=1, clip=True)
        .encode(color=alt.Color("colour:N", scale=None), tooltip=tips_of(row=" ", x="mean", n="n"), **axes),
    ]
    words = [f"{group} {number(values.mean())} ({len(values)})" for group, values in kept.items()]
    alt_text = f"{label}: mean (count) by row. {'; '.join(words)}."
    return layered_chart(identifier, title, caption, alt_text, layers, height=24 * len(kept) + 6)


def rows_of_points(
    identifier: str,
    title: str,
    caption: str,
    alt_text: str,
    points: pd.DataFrame,
    label: str,
    *,
    limits: tuple[float, float] | None = None,
    apart: bool = True,
    chance: float | None = None,
) -> Chart:
    """Named rows, in each a point per series with its interval, and a grey tick for what chance gives.

    Args:
        identifier: name of the chart.
        title: what is drawn.
        caption: how to read it.
        alt_text: the numbers in words.
        points: columns ``row``, ``series``, ``x``; ``low``, ``high`` and ``null`` if they are known.
        label: of the x axis.
        limits: of the x axis.
        apart: whether a row's series lie one under another.
        chance: what chance gives in all rows: a dotted rule.
    """
    rows, series = list(dict.fromkeys(points["row"])), list(dict.fromkeys(points["series"]))

    def axis_x(field: str) -> Any:
        return alt.X(**continuous(field, label, limits, **({} if limits else {"zero": True})), axis=alt.Axis(grid=True))

    axes: Spec = {"y": named_rows(rows)}
    if apart and len(series) > 1:
        axes["y"] = named_rows(rows, paddingInner=0.25)
        axes["yOffset"] = alt.YOffset("series:N", scale=alt.Scale(domain=series))
    colour, shape = colour_of(series), shape_of(series)
    layers: list[Any] = []
    tips = {"row": " ", "series": "", "x": label}
    if "low" in points:
        ends: Any = alt.Chart(data(points.dropna(subset=["low", "high"]))).mark_rule(strokeWidth=1.4, clip=True)
        layers.append(ends.encode(x=axis_x("low"), x2="high:Q", color=colour, **axes))
        points = with_interval(points)
        tips |= {"interval": "95 % interval"}
    if "null" in points:
        ticks: Any = alt.Chart(data(points.dropna(subset=["null"]))).mark_tick(
            color=MUTED, thickness=2, size=9, clip=True
        )
        layers.append(ticks.encode(x=axis_x("null"), tooltip=tips_of(row=" ", series="", null="chance"), **axes))
        if points["null"].notna().any():
            points = points.assign(chance=points["null"].map(number))
            tips["chance"] = "chance"
    tips["series"] = "at" if series[0].startswith("t = ") else " "
    layers.append(
        alt.Chart(data(points))
        .mark_point(filled=True, size=55, opacity=1, clip=True)
        .encode(x=axis_x("x"), color=colour, shape=shape, tooltip=tips_of(**tips), **axes)
    )
    layers += chance_rule(chance, "chance", along="x") if chance is not None else []
    step = 14 * len(series) + 12 if apart else 22
    return layered_chart(identifier, title, caption, alt_text, layers, height=step * len(rows))


def scatter(
    identifier: str,
    title: str,
    caption: str,
    alt_text: str,
    points: pd.DataFrame,
    x: str,
    y: str,
    *,
    lines: pd.DataFrame | None = None,
    limits: tuple[float, float] | None = None,
    text: str = "",
) -> Chart:
    """Points of several series, and a line per series through given ones.

    Args:
        identifier: name of the chart.
        title: what is drawn.
        caption: how to read it.
        alt_text: the numbers in words.
        points: columns ``series``, ``x``, ``y``; small and pale if there are lines.
        x: label of the x axis.
        y: label of the y axis.
        lines: the same columns, in the order in which each line runs.
        limits: of the y axis.
        text: title on hover of a column ``text``, if the points have one.
    """
    of_series = points if lines is None else lines
    series = list(dict.fromkeys(of_series["series"]))
    zero = lines is not None
    axes = {
        "x": alt.X(**continuous("x", x, zero=zero)),
        "y": alt.Y(**continuous("y", y, limits, **({} if limits else {"zero": zero}))),
        "color": colour_of(series),
    }
    tips = tips_of(**({"text": text} if text else {}), series=" ", x=x, y=y)
    dots: Any = alt.Chart(data(points))
    marks: Any = {"filled": True, "size": 60, "opacity": 1, "clip": True}
    if lines is None:
        layers = [dots.mark_point(**marks | {"opacity": 0.85}).encode(shape=shape_of(series), tooltip=tips, **axes)]
    else:
        base: Any = alt.Chart(data(lines))
        layers = [
            dots.mark_circle(size=12, opacity=0.35, clip=True).encode(tooltip=tips, **axes),
            base.mark_line(strokeWidth=1.8, clip=True).encode(order=alt.Order("order:Q"), **axes),
            base.mark_point(**marks).encode(shape=shape_of(series), tooltip=tips, **axes),
        ]
    return layered_chart(identifier, title, caption, alt_text, layers)
