"""The look that all charts of the page share, and their text alternatives.

Colours that depend on light or dark are CSS variables (``var(--ink)``), which the page resolves when it draws.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from diffgeo.metrics.statistics import mean_interval
from diffgeo.report.formatting import interval, number, timestep
from diffgeo.report.palette import COLOURS

__all__ = [
    "DIVERGING",
    "SEQUENTIAL",
    "Chart",
    "Tabs",
    "band",
    "bar",
    "by_time",
    "chart",
    "colour",
    "level",
    "line",
    "log_ticks",
    "means_by",
    "safe",
    "series_text",
    "strips",
    "symbol",
    "t_name",
]

_SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "triangle-left", "triangle-right")
_SHOWN = 6
"""Points of a long series that its text alternative names."""
DIVERGING = [[0, "var(--low)"], [0.5, "var(--paper)"], [1, "var(--high)"]]
SEQUENTIAL = [[0, "var(--paper)"], [1, "var(--low)"]]


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart.

    Attributes:
        id: unique in the page.
        title: what is drawn.
        reading: how to read it, in one sentence.
        alt: the numbers in words.
        figure: data and layout for Plotly, plain.
        height: in CSS pixels.
        wide: whether it needs the page's whole width (and scrolls inside its box on a phone).
    """

    id: str
    title: str
    reading: str
    alt: str
    figure: dict[str, Any]
    height: int
    wide: bool = False
    kind: str = "chart"


@dataclass(frozen=True, slots=True)
class Tabs:
    """Charts of which one is shown, picked by name.

    Attributes:
        id: unique in the page.
        label: what is picked.
        charts: by name.
    """

    id: str
    label: str
    charts: dict[str, Chart]
    kind: str = "tabs"


def colour(i: int) -> str:
    """The i-th line's colour; black follows the page's ink."""
    chosen = COLOURS[i % len(COLOURS)]
    return "var(--ink)" if chosen == "#000000" else chosen


def symbol(i: int) -> str:
    """The i-th line's marker."""
    return _SYMBOLS[i % len(_SYMBOLS)]


def safe(text: Any) -> str:
    """A name as Plotly should print it, whose texts may hold markup."""
    return html.escape(str(text), quote=False)


def chart(
    identifier: str,
    title: str,
    reading: str,
    alt: str,
    traces: Sequence[Any],
    *,
    x: dict[str, Any] | None = None,
    y: dict[str, Any] | None = None,
    height: int = 340,
    wide: bool = False,
    **layout: Any,
) -> Chart:
    """A chart of these traces.

    Args:
        identifier: unique in the page.
        title: what is drawn; also the caption's first words.
        reading: how to read it.
        alt: the numbers in words.
        traces: of Plotly.
        x: settings of the x axis; ``title`` is a text.
        y: of the y axis.
        height: in CSS pixels.
        wide: over the page's whole width.
        layout: further settings.
    """
    axis = {
        "showgrid": True,
        "gridcolor": "var(--rule)",
        "linecolor": "var(--muted)",
        "showline": True,
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": "var(--muted)",
        "automargin": True,
    }
    settings = {
        "template": None,
        "autosize": True,
        "height": height,
        "margin": {"l": 56, "r": 12, "t": 8, "b": 48},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "var(--ink)", "size": 12.5},
        "hoverlabel": {"bgcolor": "var(--raised)", "bordercolor": "var(--rule)", "font": {"color": "var(--ink)"}},
        "legend": {"orientation": "h", "x": 0, "y": -56 / (height - 90), "yanchor": "top", "xanchor": "left"},
        "xaxis": axis | {"showgrid": False} | _titled(x),
        "yaxis": axis | _titled(y),
    }
    figure = go.Figure(data=list(traces), layout=settings | layout)  # which refuses what Plotly does not know
    return Chart(identifier, title, reading, alt, _plain(figure.to_dict()), height, wide)


def _titled(axis: dict[str, Any] | None) -> dict[str, Any]:
    given = dict(axis or {})
    if "title" in given:
        given["title"] = {"text": given["title"], "standoff": 8, "font": {"size": 12.5}}
    return given


def _plain(value: Any) -> Any:
    """Lists of rounded numbers in place of arrays; NaN as null."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray | pd.Series | list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.5g}") if np.isfinite(value) else None
    return value


def band(x: Any, low: Any, high: Any, i: int) -> Any:
    """An area between two curves, pale, without a legend entry."""
    return go.Scatter(
        x=[*x, *reversed(list(x))],
        y=[*high, *reversed(list(low))],
        fill="toself",
        fillcolor=f"{colour(i)}26" if colour(i).startswith("#") else "rgba(128,128,128,0.15)",
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
    )


def level(value: float, label: str, i: int | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """A dotted horizontal line with its label, as a shape and an annotation."""
    ink = "var(--muted)" if i is None else colour(i)
    shape = {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": value,
        "y1": value,
        "line": {"color": ink, "width": 1.2, "dash": "dot"},
    }
    text = {
        "xref": "paper",
        "x": 1,
        "y": value,
        "xanchor": "right",
        "yanchor": "bottom",
        "text": label,
        "showarrow": False,
        "font": {"size": 11.5, "color": ink},
    }
    return shape, text


def means_by(values: pd.Series, by: pd.Series) -> pd.DataFrame:
    """Mean, 95 % interval and n of independent values by a key: columns ``mean``, ``low``, ``high``, ``n``."""
    rows = {key: (*mean_interval(part.to_numpy(float)), len(part.dropna())) for key, part in values.groupby(by)}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "low", "high", "n"])


def by_time(
    identifier: str,
    title: str,
    reading: str,
    lines: Sequence[tuple[str, pd.DataFrame, pd.DataFrame | None]],
    label: str,
    *,
    x: str = "t / T",
    reverse: bool = True,
    range_: tuple[float, float] | None = None,
    shapes: Iterable[tuple[dict[str, Any], dict[str, Any]]] = (),
    more: str = "",
) -> Chart:
    """Means with 95 % intervals against t / T, which runs from T to 0 as sampling does.

    Args:
        identifier: unique in the page.
        title: what is drawn.
        reading: how to read it.
        lines: (name, means of :func:`means_by`, single values with columns ``x`` and ``y``, or None).
        label: of the y axis.
        x: label of the x axis.
        reverse: whether the x axis runs from right to left.
        range_: of the y axis.
        shapes: of :func:`level`.
        more: said at the end of the text alternative.
    """
    traces: list[Any] = []
    ticks: set[float] = set()
    said = []
    for i, (line, means, single) in enumerate(lines):
        if single is not None:
            dots = {"color": "var(--muted)" if len(lines) == 1 else colour(i), "size": 4, "opacity": 0.45}
            traces.append(
                go.Scatter(
                    x=list(single["x"]), y=list(single["y"]), mode="markers", marker=dots, showlegend=False,
                    hovertemplate="%{y:.3g}<extra>one value</extra>",
                )
            )  # fmt: skip
        ordered = means.sort_index(ascending=not reverse)
        ticks |= set(ordered.index)
        error = {
            "type": "data",
            "symmetric": False,
            "array": list((ordered["high"] - ordered["mean"]).fillna(0)),
            "arrayminus": list((ordered["mean"] - ordered["low"]).fillna(0)),
            "thickness": 1.4,
            "width": 4,
        }
        traces.append(
            go.Scatter(
                x=list(ordered.index),
                y=list(ordered["mean"]),
                error_y=error,
                mode="lines+markers",
                name=safe(line),
                line={"color": colour(i), "width": 2},
                marker={"symbol": symbol(i), "size": 8},
                hovertemplate="%{x:g}: %{y:.3g}<extra>" + safe(line) + "</extra>",
            )
        )
        points = [f"{at:g}: {interval(r['mean'], r['low'], r['high'])}" for at, r in ordered.iterrows()]
        said.append(f"{line}, at {x} = {'; '.join(points)}")
    marks = list(shapes)
    axis: dict[str, Any] = {"title": x, "tickvals": sorted(ticks)}
    return chart(
        identifier,
        title,
        reading,
        f"{label}, means with 95 % intervals. {'. '.join(said)}. {more}".strip(),
        traces,
        x=axis | ({"autorange": "reversed"} if reverse else {}),
        y={"title": label} | ({"range": list(range_)} if range_ else {"rangemode": "tozero"}),
        showlegend=len(lines) > 1,
        shapes=[shape for shape, _ in marks],
        annotations=[text for _, text in marks],
    )


def strips(
    identifier: str,
    title: str,
    reading: str,
    groups: dict[str, pd.Series],
    label: str,
    *,
    marked: str | None = None,
) -> Chart:
    """One row a group: its values as dots, their mean as a large marker.

    Args:
        identifier: unique in the page.
        title: what is drawn.
        reading: how to read it.
        groups: values by name, from top to bottom.
        label: of the x axis.
        marked: the group in the first colour; all, if left out.
    """
    traces, said = [], []
    for group, values in groups.items():
        kept = values.dropna()
        main = colour(0 if marked in (None, group) else 5)
        traces += [
            go.Scatter(
                x=list(kept), y=[safe(group)] * len(kept), mode="markers", showlegend=False,
                marker={"color": "var(--muted)", "size": 5, "opacity": 0.6},
                hovertemplate="%{x:.3g}<extra>one value</extra>",
            ),
            go.Scatter(
                x=[kept.mean()], y=[safe(group)], mode="markers", showlegend=False,
                marker={"color": main, "size": 11, "symbol": "diamond"},
                hovertemplate="mean %{x:.3g}<extra>" + safe(group) + "</extra>",
            ),
        ]  # fmt: skip
        said.append(f"{group} {number(kept.mean())} ({len(kept)})")
    return chart(
        identifier,
        title,
        reading,
        f"{label}: mean (count) by row. {'; '.join(said)}.",
        traces,
        x={"title": label, "showgrid": True, "rangemode": "tozero", "zeroline": True, "zerolinecolor": "var(--muted)"},
        y={"autorange": "reversed", "showgrid": False, "type": "category", "ticklabelstandoff": 4},
        height=96 + 26 * len(groups),
    )


def line(mean: pd.Series, label: str, i: int, hover: str) -> Any:
    """A series by its index, with a few markers."""
    return go.Scatter(
        x=list(mean.index),
        y=list(mean),
        mode="lines+markers",
        name=safe(label),
        line={"color": colour(i), "width": 2},
        marker={"symbol": symbol(i), "size": 7, "maxdisplayed": 8},
        hovertemplate=f"{hover}<extra>{safe(label)}</extra>",
    )


def log_ticks(values: Iterable[float]) -> dict[str, Any]:
    """A logarithmic axis with ticks at 1, 2 and 5 times powers of ten, where the values reach."""
    positive = [v for v in values if v > 0]
    if not positive:
        return {"type": "log"}
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    steps = (1, 2, 5) if high - low <= 2 else (1,)
    ticks = [step * 10.0**power for power in range(low, high + 1) for step in steps]
    return {"type": "log", "tickvals": ticks, "ticktext": [number(t, 1) for t in ticks]}


def series_text(means: pd.Series, digits: int = 3) -> str:
    """``1: 6.47; 10: 4.02; 50: 2.44``: a few points of a long series, its ends among them."""
    places = sorted({round(i) for i in np.linspace(0, len(means) - 1, min(_SHOWN, len(means)))})
    return "; ".join(f"{number(float(means.index[i]))}: {number(float(means.iloc[i]), digits)}" for i in places)


def bar(title: str) -> dict[str, Any]:
    """A slim colour bar."""
    return {"title": {"text": title, "side": "right"}, "thickness": 10, "outlinewidth": 0, "len": 0.9}


def t_name(fraction: Any) -> str:
    """A timestep as a line's name."""
    return f"t = {timestep(float(fraction))}"
