"""Decoded frames as embedded pictures: a strip per direction, small enough for one file.

A strip holds the frames of one traversal side by side. Frames are kept as they are (lossless WebP) where they fit
the budget; else they are compressed, then made smaller, and last the later samples are left out, which the page says.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

Frames = np.ndarray[Any, Any]

BUDGET = 5_000_000
"""Bytes of all embedded pictures of traversals, before base64 adds a third: with all the rest below 8 MB in all."""
SMALL = 64
"""Longest side in pixels of pictures that are kept exactly if there are few, and shown with sharp pixels."""


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


def strip(frames: Frames, quality: Quality = _QUALITIES[0]) -> Strip:
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


def small_strip(frames: Frames, side: int = 128) -> Strip:
    """Frames no longer than ``side``: exact up to 64 pixels, compressed beyond."""
    return strip(frames, Quality(lossless=max(frames.shape[1:3]) <= SMALL, side=side))


def picture_uri(picture: Frames, side: int = 128) -> str:
    """One picture (H, W, 3) as a data URL, no longer than ``side``."""
    return small_strip(picture[None], side).uri


def choose_quality(strips: Sequence[Frames], budget: int = BUDGET) -> tuple[Quality, int]:
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
