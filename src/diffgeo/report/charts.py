"""The one chart toolkit, for files and for pages.

A chart is one Vega-Lite specification, made by Altair from a table alone. Files and page draw the very same one:

- :func:`save` puts the charts of a figure side by side, each under its title and caption, and writes PNG and SVG. It
  needs neither a browser nor the network.
- :func:`embed` gives the specification to the page, which writes title and caption as text, draws the chart as wide as
  its place, and adds what a file cannot have: zoom, and a legend that picks series. :func:`javascript` is the library
  that draws it there, once per page.

Every series differs from the others in its colour and in its marker.
"""

from __future__ import annotations

import copy
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import vl_convert

from diffgeo.metrics.statistics import mean_interval
from diffgeo.report.formatting import interval, name, number, timestep
from diffgeo.report.palette import COLOURS, DARK, HIGH, INK, LOW, MUTED, PAPER, RULE, WARNING
from diffgeo.results import atomic

__all__ = [
    "FONT",
    "Chart",
    "Tables",
    "by_time",
    "curves",
    "embed",
    "heat_map",
    "in_figure",
    "interval",
    "javascript",
    "means_by",
    "name",
    "number",
    "page_theme",
    "rows_of_points",
    "save",
    "scatter",
    "series_text",
    "strips",
    "t_name",
    "timestep",
]

Tables = Mapping[str, pd.DataFrame]
"""Tables of a run or of a study by file stem: ``discovery``, ``discovery_traversals``, …"""

FONT = "DejaVu Sans"
"""Of all files; it comes with matplotlib, so that it is there on every machine."""
WIDTH, HEIGHT = 300, 210
"""Of a chart in a file, without axes and titles, in pixels."""
_SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "triangle-left", "triangle-right")
_MARKERS = 8
"""Markers along a long line."""
_WORDED = 6
"""Points of a long series that its text alternative names."""
_TEXTED_ROWS = 40
"""Rows up to which the cells of a heat map hold their numbers."""
_TITLE, _CAPTION = 8.3, 6.1
"""Pixels that a letter takes in a title and in a caption, with some to spare."""
_LEGEND_WIDTH = 330
"""Pixels that a legend may take, which is what a phone has."""

_THEME: dict[str, Any] = {
    "font": FONT,
    "aria": False,  # the page describes every chart in words
    "view": {"stroke": None},
    "axis": {
        **dict.fromkeys(("labelColor", "titleColor"), INK),
        **dict.fromkeys(("domainColor", "tickColor"), MUTED),
        "gridColor": RULE,
        "tickSize": 4,
        "labelFontSize": 11,
        "titleFontSize": 11.5,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "labelLimit": 320,
        "labelSeparation": 6,
    },
    "axisX": {"grid": False},
    "axisQuantitative": {"tickCount": 6},
    "legend": {
        "orient": "bottom",
        "direction": "horizontal",
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "symbolSize": 60,
        "labelLimit": 300,
        "columnPadding": 14,
        "offset": 12,
        "gradientThickness": 10,
        "gradientLength": 160,
    },
    "title": {
        "anchor": "start",
        "frame": "bounds",
        "fontSize": 12.5,
        "fontWeight": "bold",
        "color": INK,
        "offset": 10,
        "subtitleFontSize": 10,
        "subtitleColor": MUTED,
        "subtitlePadding": 5,
        "subtitleLineHeight": 13,
    },
    "concat": {"spacing": 28},
}


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart of a study.

    Attributes:
        name: unique among all studies' charts; made of letters, digits, ``-`` and ``_``.
        title: what is drawn.
        caption: how to read it, with what was measured.
        alt: the numbers in words, for those who do not see the chart.
        spec: in Vega-Lite, without title and theme.
        figure: the figure that it is part of, whose file is ``STUDY_FIGURE``.
        wide: whether it needs the page's whole width.
        pick: what is picked (a timestep) and this chart's choice, among charts that the page shows one at a time.
    """

    name: str
    title: str
    caption: str
    alt: str
    spec: dict[str, Any]
    figure: str = ""
    wide: bool = False
    pick: tuple[str, str] | None = None

    @property
    def id(self) -> str:
        """Its id on the page."""
        return f"chart-{self.name}"

    @property
    def height(self) -> int:
        """About how high it is on the page, in CSS pixels, axes and legend included."""
        legends = [layer["encoding"].get("color", {}).get("legend") or {} for layer in self.spec["layer"]]
        columns = max((legend.get("columns", 0) for legend in legends), default=0)
        lines = math.ceil(len(_series(self.spec)) / columns) if columns else 0
        return int(self.spec["height"]) + (120 if self.wide else 45) + (12 + 14 * lines if lines else 0)


def in_figure(charts: Iterable[Chart], figure: str, pick: tuple[str, str] | None = None) -> list[Chart]:
    """These charts as parts of a figure."""
    return [replace(one, figure=figure, pick=pick) for one in charts]


# files and page


def save(charts: Sequence[Chart], stem: Path, *, warning: str = "") -> list[Path]:
    """Write ``stem.png`` and ``stem.svg``: the charts side by side, each under its title and caption.

    Args:
        charts: of one figure, at least one.
        stem: path without a suffix.
        warning: stands in red below the charts, if there is one to give.

    Returns:
        The two files.

    Raises:
        OutputError: the folder cannot be written.
    """
    _register_font()
    spec = _warned(_together(charts), warning)
    svg = _renumbered(vl_convert.vegalite_to_svg(spec))
    png = vl_convert.svg_to_png(svg, scale=2)
    paths = [stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")]
    for path, content in zip(paths, (png, svg.encode()), strict=True):
        with atomic(path) as temporary:
            temporary.write_bytes(content)
    return paths


def _warned(spec: dict[str, Any], warning: str) -> dict[str, Any]:
    """The specification with a line in red below it; as it is without a warning."""
    if not warning:
        return spec
    frame = {key: spec[key] for key in ("config", "background", "padding") if key in spec}
    inner = {key: value for key, value in spec.items() if key not in frame and key != "$schema"}
    title = {"text": warning, "orient": "bottom", "anchor": "start", "color": WARNING, "fontSize": 11}
    return frame | {"vconcat": [inner], "title": title}


def _renumbered(svg: str) -> str:
    """The same drawing with the ids of clips and gradients counted from 0, which Vega counts through a process."""
    order: dict[str, str] = {}

    def renumber(match: re.Match[str]) -> str:
        kind = match[2].rstrip("0123456789")
        return match[1] + order.setdefault(match[2], f"{kind}{len(order)}")

    return re.sub(r"""(id="|url\(#)((?:clip|gradient_)\d+)""", renumber, svg)


def _together(charts: Sequence[Chart]) -> dict[str, Any]:
    """One specification of several charts, with their titles; one caption and one legend if all have the same."""
    frame = {"config": _THEME, "background": "white", "padding": 10}
    if len(charts) == 1:
        return charts[0].spec | {"title": _heading(charts[0])} | frame
    columns = 2 if len(charts) == 4 else 3
    headings = [_heading(one) for one in charts]
    captions = {one.caption for one in charts}
    if len(captions) == 1:
        room = min(columns, len(charts)) * (max(int(one.spec["width"]) for one in charts) + 70)
        text = _lines(captions.pop(), int(room / _CAPTION))
        frame["title"] = {"text": text, "fontSize": 10, "fontWeight": "normal", "color": MUTED, "offset": 14}
        headings = [{"text": heading["text"]} for heading in headings]
    for start in range(0, len(charts), columns):
        _level(headings[start : start + columns])
    how = "shared" if len({str(_series(one.spec)) for one in charts}) == 1 else "independent"
    parts = [one.spec | {"title": heading} for one, heading in zip(charts, headings, strict=True)]
    return {
        "datasets": {key: rows for part in parts for key, rows in part.pop("datasets").items()},
        "concat": parts,
        "columns": columns,
        "resolve": {"scale": dict.fromkeys(("color", "shape"), how)},
        **frame,
    }


def _heading(chart: Chart) -> dict[str, list[str]]:
    """Title and caption in lines that the chart's width holds; those of a title are about equally long."""
    room = int(chart.spec["width"]) + 55
    widest = max(24, int(room / _TITLE))
    count = len(textwrap.wrap(chart.title, widest))
    fits = (width for width in range(8, widest + 1) if len(textwrap.wrap(chart.title, width)) <= count)
    return {
        "text": textwrap.wrap(chart.title, next(fits, widest)),
        "subtitle": _lines(chart.caption, max(30, int(room / _CAPTION))),
    }


def _lines(text: str, width: int) -> list[str]:
    """Lines of a caption; ``n = 50`` and ``95 %`` are not broken."""
    return textwrap.wrap(
        text.replace("n = ", "n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}").replace(" %", "\N{NO-BREAK SPACE}%"), width
    )


def _level(headings: Sequence[dict[str, list[str]]]) -> None:
    """Give the headings of a row as many lines each, so that they begin at one height."""
    most = max(sum(map(len, heading.values())) for heading in headings)
    for heading in headings:
        list(heading.values())[-1].extend([" "] * (most - sum(map(len, heading.values()))))


def _series(spec: dict[str, Any]) -> list[str]:
    """Names of the series in a chart's legend, if it has one."""
    for layer in spec["layer"]:
        colour = layer["encoding"].get("color", {})
        if colour.get("field") == "series" and colour.get("legend"):
            return list(colour["scale"]["domain"])
    return []


def embed(chart: Chart) -> dict[str, Any]:
    """The chart's specification for the page: as wide as its place, with zoom and a legend that picks series."""
    spec = copy.deepcopy(chart.spec) | {"width": "container", "autosize": {"type": "fit-x", "contains": "padding"}}
    layers = spec["layer"]
    continuous = [
        axis for axis in ("x", "y") if all(one["encoding"].get(axis, {}).get("type") != "nominal" for one in layers)
    ]
    if continuous and "rect" not in [layer["mark"]["type"] for layer in layers]:
        zoom = "wheel![event.ctrlKey || event.metaKey]"
        select = {"type": "interval", "encodings": continuous, "zoom": zoom}
        layers[0].setdefault("params", []).append({"name": "zoom", "select": select, "bind": "scales"})
    if _series(spec):
        of_series = [one for one in layers if one["encoding"].get("color", {}).get("field") == "series"]
        pick = {"name": "pick", "select": {"type": "point", "fields": ["series"]}, "bind": "legend"}
        of_series[0].setdefault("params", []).append(pick)
        for layer in of_series:
            shown = layer["mark"].pop("opacity", 1)
            layer["encoding"]["opacity"] = {"condition": {"param": "pick", "value": shown}, "value": 0.08 * shown}
    return spec


def page_theme() -> dict[str, Any]:
    """What the page needs once for all its charts: the theme, and which colour stands for which in the dark."""
    return {"config": _THEME, "dark": DARK}


@cache
def javascript() -> str:
    """The library that draws charts on the page, with all that it needs, as ``window.vegaEmbed``."""
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


@cache
def _register_font() -> None:
    found = find_spec("matplotlib")
    assert found is not None
    assert found.origin is not None
    vl_convert.register_font_directory(str(Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"))


# what charts are made of


def _data(frame: pd.DataFrame) -> alt.InlineData:
    """Rows with numbers of five digits; NaN and infinity as null."""
    rows = [{str(key): _plain(value) for key, value in row.items()} for row in frame.to_dict("records")]
    return alt.InlineData(values=rows)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value if value is None or isinstance(value, int | bool) else str(value)


def _chart(
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
    filled = [layer for layer in layers if layer.data.values]  # Vega warns of marks without data
    layered: Any = alt.layer(*(filled or layers[:1]))
    spec = layered.properties(width=width, height=height).to_dict()
    for key in ("$schema", "config"):
        spec.pop(key, None)
    return Chart(identifier, title, caption, alt_text, spec, wide=wide)


def _colour(series: Sequence[str]) -> Any:
    scale = alt.Scale(domain=list(series), range=[COLOURS[i % len(COLOURS)] for i in range(len(series))])
    return alt.Color("series:N", title=None, scale=scale, legend=_legend(series))


def _shape(series: Sequence[str]) -> Any:
    scale = alt.Scale(domain=list(series), range=[_SHAPES[i % len(_SHAPES)] for i in range(len(series))])
    return alt.Shape("series:N", title=None, scale=scale, legend=_legend(series))


def _legend(series: Sequence[str]) -> Any:
    """None for a single series; else in as many columns as a phone has room for."""
    if len(series) < 2:
        return None
    most = max(1, int(_LEGEND_WIDTH / (36 + 7 * max(map(len, series)))))
    return alt.Legend(symbolOpacity=1, columns=math.ceil(len(series) / math.ceil(len(series) / most)))


def _axis(field: str, title: str | None, limits: tuple[float, float] | None = None, **scale: Any) -> dict[str, Any]:
    """A continuous axis: title, and its range with a little room on both sides."""
    if limits:
        room = 0.02 * (limits[1] - limits[0])
        scale |= {"domain": [limits[0] - room, limits[1] + room], "nice": False}
    else:
        scale = {"padding": 8, "nice": False} | scale
    return {"shorthand": f"{field}:Q", "title": title, "scale": alt.Scale(**scale)}


def _tips(**fields: str) -> list[alt.Tooltip]:
    """Values on hover: field=title."""
    kinds = dict.fromkeys(("series", "row", "column", "text", "interval", "chance"), "N")
    return [
        alt.Tooltip(f"{field}:{kinds[field]}", title=title)
        if field in kinds
        else alt.Tooltip(f"{field}:Q", title=title, format=".3~g")
        for field, title in fields.items()
    ]


def _with_interval(points: pd.DataFrame) -> pd.DataFrame:
    """The points with their intervals in words, for hovering; Vega would print one that is not there as 0 to 0."""
    ends = points[["low", "high"]].itertuples(index=False, name=None)
    words = ["too few values" if math.isnan(low) else f"{number(low)} to {number(high)}" for low, high in ends]
    return points.assign(interval=words)


def _chance(value: float, label: str, *, along: str = "y") -> list[alt.Chart]:
    """A dotted rule with its label."""
    data = _data(pd.DataFrame({"chance": [value], "label": [label]}))
    rule: Any = alt.Chart(data).mark_rule(color=MUTED, strokeDash=[2, 3], strokeWidth=1.2)
    text: Any = alt.Chart(data).mark_text(color=MUTED, fontSize=10.5, clip=False)
    if along == "x":
        return [rule.encode(x="chance:Q")]
    words = text.mark_text(color=MUTED, fontSize=10.5, align="right", baseline="bottom", dy=-2)
    return [rule.encode(y="chance:Q"), words.encode(x=alt.value("width"), y="chance:Q", text="label:N")]


# charts


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
    parts, words = [], []
    for key, rows in table.groupby(by, sort=False):
        values = rows.groupby(x[0])[y[0]].agg(["mean", "min", "max"])
        part = values.rename_axis("x").reset_index()
        part["series"] = label(key)
        step = max(1, math.ceil(len(part) / _MARKERS))
        part["marked"] = [i % step == 0 for i in range(len(part))]
        parts.append(part)
        words.append(f"{label(key)}, {of} {series_text(values['mean'], digits)}")
    found = pd.concat(parts)
    series = list(dict.fromkeys(found["series"]))
    if log:
        found = found[found["min"] > 0]
    axis_x = alt.X(**_axis("x", x[1], along, zero=False))
    vertical = {"type": "log", "nice": False} if log else {"zero": True}
    axis_y = _axis("mean", y[1], limits, **vertical)
    if log:
        axis_y["axis"] = alt.Axis(values=_log_ticks(found), format=".5~g")
    base: Any = alt.Chart(_data(found)).encode(x=axis_x, color=_colour(series))
    layers = []
    if band:
        layers.append(
            base.mark_area(opacity=0.15, clip=True).encode(y=alt.Y(**axis_y | {"shorthand": "min:Q"}), y2="max:Q")
        )
    layers += [
        base.mark_line(strokeWidth=1.8, clip=True).encode(y=alt.Y(**axis_y)),
        base.transform_filter("datum.marked").mark_point(filled=True, size=45, opacity=1).encode(
            y=alt.Y(**axis_y), shape=_shape(series)
        ),
        base.mark_point(size=120, opacity=0, filled=True).encode(
            y=alt.Y(**axis_y), tooltip=_tips(series=" ", x=x[1], mean=y[1])
        ),
    ]  # fmt: skip
    layers += _chance(*chance) if chance else []
    return _chart(identifier, title, caption, f"Mean {y[1]} by {of}. {'. '.join(words)}.", layers)


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
    return alt.X(**_axis("x", label, zero=False, reverse=reverse, padding=14), axis=ticks)


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
    means, singles, words, named = [], [], [], False
    for line, values in lines.items():
        if "mean" in values:
            mean = values
        else:
            mean = means_by(values["y"], values["x"]).rename_axis("x").reset_index()
            singles.append(values.assign(series=line))
        named = not pd.api.types.is_numeric_dtype(mean["x"])
        mean = mean if named else mean.sort_values("x", ascending=not reverse)
        means.append(mean.assign(series=line))
        points = [
            f"{at if named else format(at, 'g')}: {interval(m, a, b)}"
            for at, m, a, b in mean[["x", "mean", "low", "high"]].itertuples(index=False, name=None)
        ]
        words.append(f"{line}, at {x} = {'; '.join(points)}")
    found, series = pd.concat(means), list(lines)
    axis_x = _places(found["x"], x) if named else _times(found["x"], x, reverse=reverse)

    def axis_y(field: str) -> Any:
        return alt.Y(**_axis(field, label, limits, **({} if limits else {"zero": True})))

    layers: list[Any] = []
    if singles:
        dots = pd.concat(singles)
        colour = _colour(series) if len(series) > 1 else alt.value(MUTED)
        base: Any = alt.Chart(_data(dots)).encode(x=axis_x, y=axis_y("y"), color=colour)
        if "sample" in dots:
            layers.append(base.mark_line(strokeWidth=0.8, opacity=0.35, clip=True).encode(detail="sample:N"))
        layers.append(
            base.mark_circle(size=16, opacity=0.45, clip=True).encode(tooltip=_tips(series=" ", x=x, y="one value"))
        )
    encoding = {"x": axis_x, "color": _colour(series)}
    base = alt.Chart(_data(_with_interval(found))).encode(**encoding)
    ends: Any = alt.Chart(_data(found.dropna(subset=["low", "high"]))).mark_rule(strokeWidth=1.4, clip=True)
    tips = _tips(series=" ", mean="mean", interval="95 % interval")
    tips.insert(1, alt.Tooltip("x:N" if named else "x:Q", title=x))
    layers += [
        ends.encode(y=axis_y("low"), y2="high:Q", **encoding),
        *([] if named else [base.mark_line(strokeWidth=1.8, clip=True).encode(y=axis_y("mean"))]),
        base.mark_point(filled=True, size=60, opacity=1, clip=True).encode(
            y=axis_y("mean"), shape=_shape(series), tooltip=tips
        ),
    ]
    layers += _chance(*chance) if chance else []
    alt_text = f"{label}, means with 95 % intervals. {'. '.join(words)}. {more}".strip()
    return _chart(identifier, title, caption, alt_text, layers)


def strips(
    identifier: str,
    title: str,
    caption: str,
    groups: Mapping[str, pd.Series],
    label: str,
    *,
    marked: str | None = None,
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
    axes = {"x": alt.X(**_axis("x", label, zero=True), axis=alt.Axis(grid=True)), "y": _rows(list(kept))}
    layers: list[Any] = [
        alt.Chart(_data(dots))
        .mark_circle(size=24, color=MUTED, opacity=0.6, clip=True)
        .encode(tooltip=_tips(row=" ", x="one value"), **axes),
        alt.Chart(_data(means))
        .mark_point(size=110, shape="diamond", filled=True, opacity=1, clip=True)
        .encode(color=alt.Color("colour:N", scale=None), tooltip=_tips(row=" ", x="mean", n="n"), **axes),
    ]
    words = [f"{group} {number(values.mean())} ({len(values)})" for group, values in kept.items()]
    alt_text = f"{label}: mean (count) by row. {'; '.join(words)}."
    return _chart(identifier, title, caption, alt_text, layers, height=24 * len(kept) + 6)


def _rows(rows: Sequence[str], **scale: Any) -> Any:
    """A vertical axis of named rows, from top to bottom."""
    axis = alt.Axis(grid=False, domain=False, ticks=False, labelPadding=6)
    return alt.Y("row:N", title=None, scale=alt.Scale(domain=list(rows), **scale), axis=axis)


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
        return alt.X(**_axis(field, label, limits, **({} if limits else {"zero": True})), axis=alt.Axis(grid=True))

    axes: dict[str, Any] = {"y": _rows(rows)}
    if apart and len(series) > 1:
        axes["y"] = _rows(rows, paddingInner=0.25)
        axes["yOffset"] = alt.YOffset("series:N", scale=alt.Scale(domain=series))
    colour, shape = _colour(series), _shape(series)
    layers: list[Any] = []
    tips = {"row": " ", "series": "", "x": label}
    if "low" in points:
        ends: Any = alt.Chart(_data(points.dropna(subset=["low", "high"]))).mark_rule(strokeWidth=1.4, clip=True)
        layers.append(ends.encode(x=axis_x("low"), x2="high:Q", color=colour, **axes))
        points = _with_interval(points)
        tips |= {"interval": "95 % interval"}
    if "null" in points:
        ticks: Any = alt.Chart(_data(points.dropna(subset=["null"]))).mark_tick(
            color=MUTED, thickness=2, size=9, clip=True
        )
        layers.append(ticks.encode(x=axis_x("null"), tooltip=_tips(row=" ", series="", null="chance"), **axes))
        if points["null"].notna().any():
            points = points.assign(chance=points["null"].map(number))
            tips["chance"] = "chance"
    tips["series"] = "at" if series[0].startswith("t = ") else " "
    layers.append(
        alt.Chart(_data(points))
        .mark_point(filled=True, size=55, opacity=1, clip=True)
        .encode(x=axis_x("x"), color=colour, shape=shape, tooltip=_tips(**tips), **axes)
    )
    layers += _chance(chance, "chance", along="x") if chance is not None else []
    step = 14 * len(series) + 12 if apart else 22
    return _chart(identifier, title, caption, alt_text, layers, height=step * len(rows))


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
    base: Any = alt.Chart(_data(cells)).encode(
        x=column,
        y=_rows(rows),
        tooltip=[*_tips(row=" ", column=""), alt.Tooltip("value:Q", title=label, format=".3~f")],
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
        places: Any = alt.Chart(_data(cells.loc[largest_of]))
        frames = places.mark_rect(filled=False, stroke=INK, strokeWidth=1.6)
        layers.append(frames.encode(x=column, y=_rows(rows)))
    height, width = 23 * len(rows), 34 * len(columns) if wide else 46 * len(columns)
    return _chart(identifier, title, caption, alt_text, layers, width=max(200, width), height=height, wide=wide)


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
        "x": alt.X(**_axis("x", x, zero=zero)),
        "y": alt.Y(**_axis("y", y, limits, **({} if limits else {"zero": zero}))),
        "color": _colour(series),
    }
    tips = _tips(**({"text": text} if text else {}), series=" ", x=x, y=y)
    dots: Any = alt.Chart(_data(points))
    marks: Any = {"filled": True, "size": 60, "opacity": 1, "clip": True}
    if lines is None:
        layers = [dots.mark_point(**marks | {"opacity": 0.85}).encode(shape=_shape(series), tooltip=tips, **axes)]
    else:
        base: Any = alt.Chart(_data(lines))
        layers = [
            dots.mark_circle(size=12, opacity=0.35, clip=True).encode(tooltip=tips, **axes),
            base.mark_line(strokeWidth=1.8, clip=True).encode(order=alt.Order("order:Q"), **axes),
            base.mark_point(**marks).encode(shape=_shape(series), tooltip=tips, **axes),
        ]
    return _chart(identifier, title, caption, alt_text, layers)


def series_text(means: pd.Series, digits: int = 3) -> str:
    """``1: 6.47; 10: 4.02; 50: 2.44``: a few points of a long series, its ends among them."""
    places = sorted({round(i) for i in np.linspace(0, len(means) - 1, min(_WORDED, len(means)))})
    return "; ".join(f"{number(float(means.index[i]))}: {number(float(means.iloc[i]), digits)}" for i in places)


def t_name(fraction: Any) -> str:
    """A timestep as a series' name."""
    return f"t = {timestep(float(fraction))}"
