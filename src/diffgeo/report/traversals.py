"""Decoded frames as embedded pictures: a strip a direction, small enough for one file.

A strip holds the frames of one traversal side by side. Pictures are kept as they are (lossless WebP) where they fit
the budget; else they are compressed, then made smaller, and last the later samples are left out, which the page says.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from diffgeo.report.formatting import name, timestep
from diffgeo.report.reading import Run

__all__ = [
    "BUDGET",
    "SMALL",
    "Quality",
    "Strip",
    "choose_quality",
    "global_edits",
    "picture_uri",
    "small_strip",
    "strip",
    "traversals",
]

Pictures = np.ndarray[Any, Any]

BUDGET = 5_000_000
"""Bytes of all embedded pictures of traversals, before base64 adds a third: with all the rest below 8 MB in all."""
SMALL = 64
"""Longest side in pixels of pictures that are kept exactly where there are few, and shown with sharp pixels."""
_DIRECTIONS = 240
"""Directions that are shown as pictures; beyond that none is."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How pictures are embedded.

    Attributes:
        lossless: exact, or at WebP's quality 85.
        side: longest side in pixels; larger pictures are made smaller.
    """

    lossless: bool = True
    side: int | None = None


_QUALITIES = (
    Quality(),
    Quality(lossless=False),
    *(Quality(lossless=False, side=side) for side in (384, 256, 192, 128, SMALL)),
)
_TRIED = 6
"""Strips that are encoded to foresee the size of all."""


@dataclass(frozen=True, slots=True)
class Strip:
    """Frames side by side.

    Attributes:
        data: the WebP file.
        count: frames.
        width: of a frame, in pixels.
        height: of a frame, in pixels.
    """

    data: bytes
    count: int
    width: int
    height: int

    @property
    def uri(self) -> str:
        """The strip as a data URL."""
        return f"data:image/webp;base64,{base64.b64encode(self.data).decode()}"


def strip(frames: Pictures, quality: Quality = _QUALITIES[0]) -> Strip:
    """Encode frames (n, H, W, 3), uint8, as one picture."""
    count, height, width, _ = frames.shape
    image = Image.fromarray(np.ascontiguousarray(frames.transpose(1, 0, 2, 3).reshape(height, count * width, 3)))
    longest = max(height, width)
    if quality.side is not None and longest > quality.side:
        height, width = (max(1, round(x * quality.side / longest)) for x in (height, width))
        # frame by frame, or neighbours would bleed into each other
        small = [Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS) for frame in frames]
        image = Image.new("RGB", (count * width, height))
        for i, one in enumerate(small):
            image.paste(one, (i * width, 0))
    data = io.BytesIO()
    image.save(data, "WEBP", lossless=quality.lossless, quality=85, method=4)
    return Strip(data.getvalue(), count, width, height)


def small_strip(frames: Pictures, side: int = 128) -> Strip:
    """Frames no longer than ``side``: exact up to 64 pixels, compressed beyond."""
    return strip(frames, Quality(lossless=max(frames.shape[1:3]) <= SMALL, side=side))


def picture_uri(picture: Pictures, side: int = 128) -> str:
    """One picture (H, W, 3) as a data URL, no longer than ``side``."""
    return small_strip(picture[None], side).uri


def choose_quality(strips: Sequence[Pictures], budget: int = BUDGET) -> tuple[Quality, int]:
    """The best quality at which the strips fit the budget, foreseen from a few of them.

    Args:
        strips: frames of every strip, each (n, H, W, 3).
        budget: bytes for all.

    Returns:
        (quality, how many strips fit at it: all, or as many of the first as the smallest pictures allow).
    """
    if not strips:
        return _QUALITIES[0], 0
    chosen = sorted({round(i) for i in np.linspace(0, len(strips) - 1, min(_TRIED, len(strips)))})
    each = 0.0
    for quality in _QUALITIES:
        each = float(np.mean([len(strip(strips[i], quality).data) for i in chosen]))
        if each * len(strips) <= budget:
            return quality, len(strips)
    return _QUALITIES[-1], max(1, int(budget / each))


def traversals(run: Run, budget: int = BUDGET) -> dict[str, Any] | None:
    """What the page needs to show the traversals of ``discovery``.

    Returns:
        ``width``, ``height``, ``times`` and ``samples`` to pick from, ``attributes`` by name, and ``cards``: for every
        sample and timestep (``"0/999"``), one card a direction with its γ, strip, label, σ and attributes by frame.
        ``left_out`` counts samples that did not fit. None where the run has no frames.
    """
    table, directions, pictures = run.table("discovery_traversals"), run.table("discovery"), run.pictures("discovery")
    if table is None or directions is None or pictures is None or len(pictures) < len(table):
        return None
    samples = list(table["sample"].unique())
    groups = dict(iter(table.groupby(["sample", "t", "direction"], sort=False)))
    quality, fit = choose_quality([pictures[part["frame"]] for part in groups.values()], budget)
    per_sample = len(groups) / len(samples)
    shown = samples[: max(1, int(fit / per_sample))]
    facts: dict[Any, Any] = directions.set_index(["sample", "t", "direction"]).to_dict("index")
    attributes = [c.removeprefix("delta_") for c in directions.columns if c.startswith("delta_")]
    cards: dict[str, list[dict[str, Any]]] = {}
    first: Strip | None = None
    for key, part in groups.items():
        sample, t, direction = part[["sample", "t", "direction"]].iloc[0]
        if sample not in shown:
            continue
        encoded = strip(pictures[part["frame"]], quality)
        first = first or encoded
        row = facts[key]
        card = {
            "direction": int(direction) + 1,
            "gammas": [round(g, 4) for g in part["gamma"]],
            "strip": encoded.uri,
            "label": _label(row.get("label")),
            "sigma": round(float(row["singular_value"]), 4),
            "values": [[round(v, 3) for v in values] for values in part[attributes].to_numpy().tolist()],
        }
        cards.setdefault(f"{sample}/{t}", []).append(card)
    _add_directions(run, cards)
    times = table[["t_frac", "t"]].drop_duplicates()
    named = table.drop_duplicates("sample").set_index("sample")["name"]
    assert first is not None
    return {
        "width": first.width,
        "height": first.height,
        "pixelated": first.width <= SMALL,
        "lossless": quality.lossless and first.width == pictures.shape[2],
        "times": [{"t": int(t), "label": timestep(f)} for f, t in times.itertuples(index=False)],
        "samples": [{"key": str(s), "name": str(named[s])} for s in shown],
        "left_out": len(samples) - len(shown),
        "attributes": [name(a) for a in attributes],
        "cards": cards,
    }


def _add_directions(run: Run, cards: dict[str, list[dict[str, Any]]]) -> None:
    """The latent directions themselves, as small pictures, where the run kept its bases and they are not too many."""
    if sum(map(len, cards.values())) > _DIRECTIONS:
        return
    for place, of in cards.items():
        sample, t = map(int, place.split("/"))
        found = run.directions(sample, t, max(card["direction"] for card in of))
        for card in of if found is not None else ():
            assert found is not None
            if card["direction"] <= len(found):
                card["itself"] = picture_uri(found[card["direction"] - 1], side=SMALL)


def global_edits(run: Run, budget: int = BUDGET // 4) -> dict[str, Any] | None:
    """The same for global directions: one slider a direction that moves all held-out samples at once."""
    table, pictures = run.table("global_consistency_edits"), run.pictures("global_consistency")
    if table is None or pictures is None:
        return None
    if "frames" not in table:
        table = table.assign(frames=3)  # written by versions that kept the ends and the middle

    def film(row: Any) -> Pictures:
        found: Pictures = pictures[int(row["frame"]) : int(row["frame"]) + int(row["frames"])]
        return found

    groups = [part.sort_values("held_out") for _, part in table.groupby(["t", "direction"], sort=False)]
    frames = [film(row) for part in groups for row in part.to_dict("records")]
    quality, fit = choose_quality(frames, budget)
    held_out = table["held_out"].nunique()
    most = max(1, min(held_out, fit * held_out // len(frames)))
    cards: dict[str, list[dict[str, Any]]] = {}
    first: Strip | None = None
    for part in groups:
        items = []
        for row in part.head(most).to_dict("records"):
            encoded = strip(film(row), quality)
            first = first or encoded
            items.append({"name": str(row["name"]), "strip": encoded.uri, "label": _label(row["label"])})
        gamma, count = float(part["gamma"].iloc[0]), int(part["frames"].iloc[0])
        gammas = [round(x, 4) for x in np.linspace(-gamma, gamma, count).tolist()]
        card = {"direction": int(part["direction"].iloc[0]) + 1, "gammas": gammas, "items": items}
        cards.setdefault(str(part["t"].iloc[0]), []).append(card)
    times = table[["t_frac", "t"]].drop_duplicates()
    assert first is not None
    return {
        "width": first.width,
        "height": first.height,
        "pixelated": first.width <= SMALL,
        "times": [{"t": int(t), "label": timestep(f)} for f, t in times.itertuples(index=False)],
        "left_out": held_out - most,
        "cards": cards,
    }


def _label(label: Any) -> str:
    return "" if label is None or pd.isna(label) else name(label)
