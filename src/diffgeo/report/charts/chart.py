"""One chart: its specification and its texts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

Tables = Mapping[str, pd.DataFrame]
"""Tables of a run or of a study by file stem."""
Spec = dict[str, Any]
"""A specification in Vega-Lite, or a part of one."""


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
    spec: Spec
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
        lines = math.ceil(len(series_of(self.spec)) / columns) if columns else 0
        return int(self.spec["height"]) + (120 if self.wide else 45) + (12 + 14 * lines if lines else 0)


def in_figure(charts: Iterable[Chart], figure: str, pick: tuple[str, str] | None = None) -> list[Chart]:
    """These charts as parts of a figure."""
    return [replace(one, figure=figure, pick=pick) for one in charts]


def series_of(spec: Spec) -> list[str]:
    """Names of the series in a chart's legend, if it has one."""
    for layer in spec["layer"]:
        colour = layer["encoding"].get("color", {})
        if colour.get("field") == "series" and colour.get("legend"):
            return list(colour["scale"]["domain"])
    return []
