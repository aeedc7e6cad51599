"""Pictures on a page: rows and columns of edits, and viewers with sliders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from diffgeo.report.formatting import name
from diffgeo.report.traversals import picture_uri

__all__ = ["Pictures", "Viewer", "picture_grid"]


@dataclass(frozen=True, slots=True)
class Viewer:
    """Pictures with sliders."""

    id: str
    type: str
    data: dict[str, Any]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Edited pictures in labelled rows and columns."""

    id: str
    caption: str
    columns: Sequence[str]
    rows: list[dict[str, Any]]
    pixelated: bool


def picture_grid(identifier: str, caption: str, edits: pd.DataFrame, frames: Any, original: int) -> Pictures:
    """One sample's edits: rows are directions, columns methods, the unedited picture first.

    Args:
        identifier: unique in the page.
        caption: what is shown.
        edits: columns ``method``, ``direction``, ``frame`` and ``said`` (an attribute, or missing).
        frames: (N, H, W, 3), uint8.
        original: number of the unedited picture.
    """
    methods = list(edits["method"].unique())
    at = edits.set_index(["direction", "method"])[["frame", "said"]].to_dict("index")
    rows = []
    for k in sorted(edits["direction"].unique()):
        pictures = [{"uri": picture_uri(frames[original]), "alt": "unedited", "caption": ""}]
        for method in methods:
            found = at.get((k, method))
            if found is None:
                pictures.append({"uri": "", "alt": "", "caption": "–"})
                continue
            said = "" if found["said"] is None or pd.isna(found["said"]) else name(found["said"])
            alt = f"{name(method)}, direction {k + 1}{f', moves {said} most' if said else ''}"
            pictures.append({"uri": picture_uri(frames[int(found["frame"])]), "alt": alt, "caption": said})
        rows.append({"name": f"direction {k + 1}", "pictures": pictures})
    return Pictures(identifier, caption, ["unedited", *map(name, methods)], rows, frames.shape[2] <= 64)
