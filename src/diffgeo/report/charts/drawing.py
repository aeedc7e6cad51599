"""Charts as files, and as the page takes them."""

from __future__ import annotations

import copy
import re
import textwrap
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import vl_convert

from diffgeo.report.charts.chart import Chart, Spec, series_of
from diffgeo.report.charts.theme import THEME
from diffgeo.report.palette import DARK, MUTED, WARNING
from diffgeo.results import atomic

_TITLE, _CAPTION = 8.3, 6.1
"""Pixels that a letter takes in a title and in a caption, with some to spare."""


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


def _warned(spec: Spec, warning: str) -> Spec:
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


def _together(charts: Sequence[Chart]) -> Spec:
    """One specification of several charts, with their titles; one caption and one legend if all have the same."""
    frame = {"config": THEME, "background": "white", "padding": 10}
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
    how = "shared" if len({str(series_of(one.spec)) for one in charts}) == 1 else "independent"
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


def embed(chart: Chart) -> Spec:
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
    if series_of(spec):
        of_series = [one for one in layers if one["encoding"].get("color", {}).get("field") == "series"]
        pick = {"name": "pick", "select": {"type": "point", "fields": ["series"]}, "bind": "legend"}
        of_series[0].setdefault("params", []).append(pick)
        for layer in of_series:
            shown = layer["mark"].pop("opacity", 1)
            layer["encoding"]["opacity"] = {"condition": {"param": "pick", "value": shown}, "value": 0.08 * shown}
    return spec


def page_theme() -> Spec:
    """What the page needs once for all its charts: the theme, and which colour stands for which in the dark."""
    return {"config": THEME, "dark": DARK}


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
