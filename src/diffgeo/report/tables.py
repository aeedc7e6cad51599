"""Tables of the page: what is shown, what sorts, and what is copied into a paper."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from diffgeo.report.formatting import counted, interval, number
from diffgeo.report.metric_names import MEANINGS

ROWS = 400
"""Rows that are shown of a long table; the file has all."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: what is printed, what it sorts by, and what a CSV file holds (one value, or value, low and high).

    ``unfolds`` are further sentences, each with its heading or none, which a reader opens and no copy has.
    """

    text: str
    sort: float | str
    csv: list[str]
    number: bool
    style: str = ""
    title: str = ""
    unfolds: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table of the page.

    Attributes:
        heading: as printed.
        source: the column of the data frame; three of them for a value with its interval.
        show: how a value is printed; numbers with three significant digits if left out.
        style: a value's CSS class.
        explain: what a value means, for its tooltip.
        unfolds: the column of the data frame with what a text cell unfolds, see :class:`Cell`.
    """

    heading: str
    source: str | tuple[str, str, str]
    show: Callable[[Any], str] | None = None
    style: Callable[[Any], str] | None = None
    explain: Callable[[Any], str] | None = None
    unfolds: str | None = None

    @property
    def sources(self) -> list[str]:
        """Names in a CSV file."""
        return [self.source] if isinstance(self.source, str) else list(self.source)

    def cell(self, row: dict[Any, Any]) -> Cell:
        """The cell of one row."""
        values = [row[key] for key in self.sources]
        value, csv = values[0], [_csv(v) for v in values]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if len(values) == 3:
            few = " (too few)" if math.isfinite(value) and math.isnan(values[1]) else ""
            return Cell(interval(*values) + few, float(value), csv, number=True)
        if self.show is not None:
            order = float(value) if is_number else str(value)
            style, title = (f(value) if f else "" for f in (self.style, self.explain))
            return Cell(self.show(value), order, csv, number=False, style=style, title=title)
        if is_number:
            return Cell(number(value), float(value), csv, number=True)
        more = row[self.unfolds] if self.unfolds else ()
        style = self.style(value) if self.style else ""
        return Cell(_text(value), str(value), csv, number=False, style=style, unfolds=more)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the page.

    Attributes:
        id: unique in the page.
        caption: what it holds.
        columns: left to right.
        rows: of cells.
        note: what was left out, or how to read it.
        folded: whether it opens on demand.
        total: rows that there are, shown or not.
        glossary: what names in it mean.
    """

    id: str
    caption: str
    columns: Sequence[Column]
    rows: list[list[Cell]]
    note: str = ""
    folded: bool = False
    kind: str = "table"
    total: int = 0
    glossary: Mapping[str, str] = field(default_factory=dict)

    @property
    def count(self) -> str:
        """How many rows are shown, and of how many if there are more."""
        shown = counted(len(self.rows), "row")
        return shown if self.total <= len(self.rows) else f"{shown} of {self.total}"


def as_table(
    identifier: str,
    caption: str,
    frame: pd.DataFrame,
    columns: Sequence[Column],
    *,
    note: str = "",
    folded: bool = False,
    total: int | None = None,
    glossary: Mapping[str, str] | None = None,
) -> Table:
    """A table of these columns, those that the frame lacks left out.

    Args:
        identifier: unique in the page.
        caption: what it holds.
        frame: its rows, of which the first :data:`ROWS` are shown.
        columns: left to right.
        note: how to read it.
        folded: whether it opens on demand.
        total: rows from which those of the frame were chosen; the frame's own if left out.
        glossary: what names in it mean; that of its headings, if their columns are known metrics, if left out.
    """
    known = [column for column in columns if set(column.sources) <= set(frame.columns)]
    rows = [[column.cell(row) for column in known] for row in frame.head(ROWS).to_dict("records")]
    total = len(frame) if total is None else total
    if glossary is None:
        glossary = {one.heading: MEANINGS[one.sources[0]] for one in known if one.sources[0] in MEANINGS}
    return Table(identifier, caption, known, rows, note, folded, total=total, glossary=glossary)


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _csv(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value)
