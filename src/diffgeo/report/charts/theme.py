"""How all charts look, in files and on pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffgeo.report.palette import INK, MUTED, RULE

FONT = "DejaVu Sans"
"""Of all files; it comes with matplotlib, so that it is there on every machine."""
WIDTH, HEIGHT = 300, 210
"""Of a chart in a file, without axes and titles, in pixels."""
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "triangle-left", "triangle-right")

THEME: Mapping[str, Any] = {
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
