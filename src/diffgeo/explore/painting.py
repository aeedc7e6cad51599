"""Masks that a visitor paints: the text that stands for one, what is refused, and where its edges run.

The text is short enough for an address, a request and a command line: the size, then how many pixels lie outside and
inside by turns, row by row from the top left, as in ``4x2,1,2,5`` for two pixels inside in the middle of the first row.
It begins with those outside, if only with 0 of them; there is one text for each mask.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from diffgeo.data.masks import checked_mask, checked_size
from diffgeo.errors import DataError

MAX_TEXT = 32 * 2**10
"""Characters of a mask's text, which servers still take in an address."""
_TEXT = re.compile(r"(\d{1,5})x(\d{1,5})((?:,\d{1,9})+)")
_PAINT = "paint where the edit should act, and leave the rest of the picture free"


def mask_of(text: str, height: int, width: int) -> Tensor:
    """The mask that a text stands for.

    Args:
        text: as in the module's docstring; nothing at all is a mask without a pixel.
        height: of the model's pictures, in pixels.
        width: of the model's pictures, in pixels.

    Returns:
        Boolean, shape (height, width).

    Raises:
        DataError: no such text, of another size, too long, or nothing or everything is painted.

    Example:
        >>> mask_of("4x2,1,2,5", 2, 4).int().tolist()
        [[0, 1, 1, 0], [0, 0, 0, 0]]
    """
    if not text:
        raise DataError("nothing is painted", _PAINT)
    if len(text) > MAX_TEXT:
        raise DataError(f"the painted mask's text has more than {MAX_TEXT} characters", "paint it with fewer edges")
    found = _TEXT.fullmatch(text)
    if found is None:
        raise DataError(f"{text[:20]!r} is no mask's text", "paint it on the page, whose command line has it")
    given_width, given_height = int(found[1]), int(found[2])
    checked_size("the painted mask", (given_height, given_width), (height, width))
    runs = torch.tensor([int(run) for run in found[3][1:].split(",")])
    if int(runs.sum()) != height * width or bool((runs[1:] == 0).any()):
        raise DataError(f"the runs of the mask {text[:20]!r} do not make its pixels", "paint it on the page again")
    inside = torch.arange(len(runs)) % 2 == 1
    mask = torch.repeat_interleave(inside, runs).reshape(height, width)
    try:
        return checked_mask(mask, "the painted mask")
    except DataError as error:
        raise DataError(error.what, _PAINT) from None


def text_of(mask: Tensor) -> str:
    """The text of a mask.

    Args:
        mask: boolean, shape (H, W).

    Example:
        >>> text_of(torch.tensor([[False, True, True, False], [False] * 4]))
        '4x2,1,2,5'
    """
    values, runs = torch.unique_consecutive(mask.flatten().cpu(), return_counts=True)
    first = ["0"] if bool(values[0]) else []
    return ",".join([f"{mask.shape[1]}x{mask.shape[0]}", *first, *map(str, runs.tolist())])


def outline_of(mask: Tensor) -> str:
    """The edges between inside and outside, as the path of an SVG in units of pixels.

    Args:
        mask: boolean, shape (H, W).

    Returns:
        Lines along the pixels' sides, the picture's own border not among them.
    """
    across = [f"M{x} {y}h{n}" for y, x, n in _edges(mask)]
    down = [f"M{x} {y}v{n}" for x, y, n in _edges(mask.T)]
    return "".join([*across, *down])


def _edges(mask: Tensor) -> list[tuple[int, int, int]]:
    """(row, first column, length) of the lines between a row and the one above it."""
    found = []
    for row, changed in enumerate(mask[1:] != mask[:-1], start=1):
        values, runs = torch.unique_consecutive(changed, return_counts=True)
        start = 0
        for value, run in zip(values.tolist(), runs.tolist(), strict=True):
            if value:
                found.append((row, start, run))
            start += run
    return found
