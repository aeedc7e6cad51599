"""Pictures on a page: rows and columns of edits, and viewers with sliders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from diffgeo.report.formatting import label, name
from diffgeo.report.traversals import picture_uri

Data = dict[str, Any]
"""What a script of the page reads, as JSON."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Pictures with sliders."""

    id: str
    type: str
    data: Data
    note: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """An embedded picture.

    Attributes:
        uri: a data URL; empty if there is no such picture.
        alt: what it shows, for readers who do not see it.
        caption: below it.
        pixelated: whether its pixels are shown sharp.
    """

    uri: str
    alt: str
    caption: str
    pixelated: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """Pictures of one direction, column by column."""

    name: str
    pictures: Sequence[Picture]


@dataclass(frozen=True, slots=True)
class Pictures:
    """Edited pictures in labelled rows and columns."""

    id: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Row]
    pixelated: bool


def picture_grid(identifier: str, caption: str, edits: pd.DataFrame, frames: Any, original: int) -> Pictures:
    """One sample's edits: rows are directions, columns methods, the unedited picture first.

    Args:
        identifier: unique in the page.
        caption: what is shown.
        edits: columns ``method``, ``direction``, ``frame`` and ``moves`` (an attribute, or missing).
        frames: (N, H, W, 3), uint8.
        original: number of the unedited picture.
    """
    methods = list(edits["method"].unique())
    at = edits.set_index(["direction", "method"])[["frame", "moves"]].to_dict("index")
    rows = []
    for k in sorted(edits["direction"].unique()):
        pictures = [Picture(picture_uri(frames[original]), "unedited", "")]
        for method in methods:
            found = at.get((k, method))
            if found is None:
                pictures.append(Picture("", "", "–"))
                continue
            moved = label(found["moves"])
            alt = f"{name(method)}, direction {k + 1}{f', moves {moved} most' if moved else ''}"
            pictures.append(Picture(picture_uri(frames[int(found["frame"])]), alt, moved))
        rows.append(Row(f"direction {k + 1}", pictures))
    return Pictures(identifier, caption, ["unedited", *map(name, methods)], rows, frames.shape[2] <= 64)
