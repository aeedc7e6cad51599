"""Charts of lines: a quantity along directions or timesteps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from diffgeo.metrics.statistics import mean_interval
from diffgeo.report.charts.chart import Chart
from diffgeo.report.charts.parts import (
    chance_rule,
    colour_of,
    continuous,
    data,
    layered_chart,
    shape_of,
    tips_of,
    with_interval,
)
from diffgeo.report.charts.theme import WIDTH
from diffgeo.report.formatting import interval, number, timestep
from diffgeo.report.palette import MUTED

_MARKERS = 8
"""Markers along a long line."""
_WORDED = 6
"""Points of a long series that its text alternative names."""


def curves(
    identifier: str,
    title: str,
    caption: str,
    table: pd.DataFrame,
    *,
    x: tuple[str, str],
    y: tuple[str, str],
    by: str,
    label: Any,
    of: str,
    band: bool = True,
    log: bool = False,
    limits: tuple[float, float] | None = None,
    along: tuple[float, float] | None = None,
    chance: tuple[float, str] | None = None,
    digits: int = 3,
) -> Chart:
    """A line per series: the mean of a quantity over samples, in a band from the least to the most of them.

    Args:
        identifier: name of the chart.
        title: what is drawn.
        caption: how to read it.
        table: a row per measured value.
        x: column along which lines run, and its label.
        y: column of the quantity, and its label.
        by: column that tells the series apart.
        label: of a series, from a value of ``by``.
        of: how the text alternative calls the x axis (``direction``).
        band: whether the band is drawn.
        log: whether the y axis is logarithmic; values of 0 or less are then left out.
        limits: of the y axis.
        along: limits of the x axis.
        chance: what chance gives, and its label: a dotted rule.
        digits: of the numbers in words.
    """
    found, means = _summarised(table, x[0], y[0], by, label)
    texts = [f"{one}, {of} {series_text(values, digits)}" for one, values in means.items()]
    series = list(dict.fromkeys(found["series"]))
    if log:
        found = found[found["min"] > 0]
    axis_y = continuous("mean", y[1], limits, **({"type": "log", "nice": False} if log else {"zero": True}))
    if log:
        axis_y["axis"] = alt.Axis(values=_log_ticks(found), format=".5~g")
    axis_x = alt.X(**continuous("x", x[1], along, zero=False))
    base = alt.Chart(data(found)).encode(x=axis_x, color=colour_of(series))
    tips = tips_of(series=" ", x=x[1], mean=y[1])
    layers = _lines(base, axis_y, shape_of(series), tips, band=band)
    layers += chance_rule(*chance) if chance else []
    return layered_chart(identifier, title, caption, f"Mean {y[1]} by {of}. {'. '.join(texts)}.", layers)


def _lines(base: Any, axis_y: dict[str, Any], shape: Any, tips: Any, *, band: bool) -> list[Any]:
    """Band, lines, their markers, and what the pointer finds along them."""
    mean = alt.Y(**axis_y)
    low = alt.Y(**axis_y | {"shorthand": "min:Q"})
    bands = [base.mark_area(opacity=0.15, clip=True).encode(y=low, y2="max:Q")] if band else []
    return [
        *bands,
        base.mark_line(strokeWidth=1.8, clip=True).encode(y=mean),
        base.transform_filter("datum.marked").mark_point(filled=True, size=45, opacity=1).encode(y=mean, shape=shape),
        base.mark_point(size=120, opacity=0, filled=True).encode(y=mean, tooltip=tips),
    ]


def _summarised(
    table: pd.DataFrame, x: str, y: str, by: str, label: Callable[[Any], str]
) -> tuple[pd.DataFrame, dict[str, pd.Series]]:
    """Mean, least and most of y over samples, along x and by series; and the means of each series."""
    parts, means = [], {}
    for key, rows in table.groupby(by, sort=False):
        values = rows.groupby(x)[y].agg(["mean", "min", "max"])
        part = values.rename_axis("x").reset_index().assign(series=label(key))
        step = max(1, math.ceil(len(part) / _MARKERS))
        parts.append(part.assign(marked=[i % step == 0 for i in range(len(part))]))
        means[label(key)] = values["mean"]
    return pd.concat(parts), means


def _log_ticks(found: pd.DataFrame) -> list[float]:
    """Powers of ten between the values; 2 and 5 times these too, if the range is short."""
    if found.empty:
        return []
    low, high = math.floor(math.log10(found["min"].min())), math.ceil(math.log10(found["max"].max()))
    steps = (1, 2, 5) if high - low <= 2 else (1,)
    return [float(f"{step * 10.0**power:.6g}") for power in range(low, high + 1) for step in steps]


def means_by(values: pd.Series, by: pd.Series) -> pd.DataFrame:
    """Mean, 95 % interval and n of independent values by a key: columns ``mean``, ``low``, ``high``, ``n``."""
    rows = {key: (*mean_interval(part.to_numpy(float)), len(part.dropna())) for key, part in values.groupby(by)}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "low", "high", "n"])


def _places(values: pd.Series[Any], label: str) -> Any:
    """An axis of names, slanted if they are long."""
    places = list(dict.fromkeys(values))
    angle = 0 if 7 * sum(map(len, places)) < WIDTH else -30
    return alt.X("x:N", title=label, scale=alt.Scale(domain=places), axis=alt.Axis(labelAngle=angle))


def _times(values: pd.Series[Any], label: str, *, reverse: bool) -> Any:
    """An axis of numbers with a tick at every value."""
    ticks = alt.Axis(values=sorted({float(f"{at:.5g}") for at in values}), format=".5~g", labelOverlap=True)
    return alt.X(**continuous("x", label, zero=False, reverse=reverse, padding=14), axis=ticks)


def by_time(
    identifier: str,
    title: str,
    caption: str,
    lines: Mapping[str, pd.DataFrame],
    label: str,
    *,
    x: str = "t / T",
    reverse: bool = True,
    limits: tuple[float, float] | None = None,
    chance: tuple[float, str] | None = None,
    more: str = "",
) -> Chart:
    """Means with 95 % intervals against t / T, which runs from T to 0 as sampling does, and dots for single values.

    Args:
        identifier: name of the chart.
        title: what is drawn.
        caption: how to read it.
        lines: by name: single values in columns ``x`` and ``y``, joined by thin lines if a column ``sample`` says
            which belong together; or means in columns ``x``, ``mean``, ``low``, ``high``.
        label: of the y axis.
        x: label of the x axis; places along it that are no numbers are printed as they are, without lines between.
        reverse: whether the x axis runs from right to left.
        limits: of the y axis.
        chance: what chance gives, and its label: a dotted rule.
        more: the end of the text alternative.
    """
    means, singles, named = _means_and_singles(lines, ascending=not reverse)
    words = [_in_words(line, one, x, named=named) for line, one in zip(lines, means, strict=True)]
    found, series = pd.concat(means), list(lines)
    axis_x = _places(found["x"], x) if named else _times(found["x"], x, reverse=reverse)

    def axis_y(field: str) -> Any:
        return alt.Y(**continuous(field, label, limits, **({} if limits else {"zero": True})))

    layers: list[Any] = []
    if singles:
        dots = pd.concat(singles)
        colour = colour_of(series) if len(series) > 1 else alt.value(MUTED)
        base: Any = alt.Chart(data(dots)).encode(x=axis_x, y=axis_y("y"), color=colour)
        if "sample" in dots:
            layers.append(base.mark_line(strokeWidth=0.8, opacity=0.35, clip=True).encode(detail="sample:N"))
        tips = tips_of(series=" ", x=x, y="one value")
        layers.append(base.mark_circle(size=16, opacity=0.45, clip=True).encode(tooltip=tips))
    encoding = {"x": axis_x, "color": colour_of(series)}
    base = alt.Chart(data(with_interval(found))).encode(**encoding)
    ends: Any = alt.Chart(data(found.dropna(subset=["low", "high"]))).mark_rule(strokeWidth=1.4, clip=True)
    tips = tips_of(series=" ", mean="mean", interval="95 % interval")
    tips.insert(1, alt.Tooltip("x:N" if named else "x:Q", title=x))
    layers += [
        ends.encode(y=axis_y("low"), y2="high:Q", **encoding),
        *([] if named else [base.mark_line(strokeWidth=1.8, clip=True).encode(y=axis_y("mean"))]),
        base.mark_point(filled=True, size=60, opacity=1, clip=True).encode(
            y=axis_y("mean"), shape=shape_of(series), tooltip=tips
        ),
    ]
    layers += chance_rule(*chance) if chance else []
    alt_text = f"{label}, means with 95 % intervals. {'. '.join(words)}. {more}".strip()
    return layered_chart(identifier, title, caption, alt_text, layers)


def _means_and_singles(
    lines: Mapping[str, pd.DataFrame], *, ascending: bool
) -> tuple[list[pd.DataFrame], list[pd.DataFrame], bool]:
    """Means by line, single values of the lines that have some, and whether places along x are names."""
    means, singles, named = [], [], False
    for line, values in lines.items():
        if "mean" in values:
            mean = values
        else:
            mean = means_by(values["y"], values["x"]).rename_axis("x").reset_index()
            singles.append(values.assign(series=line))
        named = not pd.api.types.is_numeric_dtype(mean["x"])
        mean = mean if named else mean.sort_values("x", ascending=ascending)
        means.append(mean.assign(series=line))
    return means, singles, named


def _in_words(line: str, mean: pd.DataFrame, x: str, *, named: bool) -> str:
    """The means of a line with their intervals, place by place."""
    points = [
        f"{at if named else format(at, 'g')}: {interval(m, a, b)}"
        for at, m, a, b in mean[["x", "mean", "low", "high"]].itertuples(index=False, name=None)
    ]
    return f"{line}, at {x} = {'; '.join(points)}"


def series_text(means: pd.Series, digits: int = 3) -> str:
    """``1: 6.47; 10: 4.02; 50: 2.44``: a few points of a long series, its ends among them."""
    places = sorted({round(i) for i in np.linspace(0, len(means) - 1, min(_WORDED, len(means)))})
    return "; ".join(f"{number(float(means.index[i]))}: {number(float(means.iloc[i]), digits)}" for i in places)


def t_name(fraction: Any) -> str:
    """A timestep as a series' name."""
    return f"t = {timestep(float(fraction))}"
