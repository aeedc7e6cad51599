r"""What captions and prompts claim of FactorFaces.

A caption names some of the factors z of a portrait in words. Every word claims that a factor lies in a cell,

    low < z < high,

and the cells of words that exclude each other meet at a common boundary (``long hair`` claims hair_length > 0,
``short hair`` < 0). A word is used only if it is clearly true, in the cell less a margin, so that no model is taught
from doubtful pictures; a picture on which the word is to be found counts when it lies in the cell.

Colours are the ones that a viewer would give to the renderer's hues. The background runs once around the circle from 0
to 295 degrees at low saturation. Hair runs from 349 over 0 to 54 degrees, and its middle is brown when dark, orange
when light; its end is olive when dark, blond when light. So these words claim a hue and a lightness.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

__all__ = ["WORDS", "Claim", "prompted_values"]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a word says about one factor.

    Attributes:
        factor: its name.
        low: the value lies above this (−∞ at the end of the range: a predictor may overshoot it) …
        high: … and below this.
        clear: the word is used of renders whose factor lies in this closed interval.
    """

    factor: str
    low: float
    high: float
    clear: tuple[float, float]

    def holds(self, value: Tensor) -> Tensor:
        """Whether each value lies in the cell, elementwise."""
        return (value > self.low) & (value < self.high)


Claims = tuple[Claim, ...]


def _below(factor: str, boundary: float, clear: float) -> Claims:
    return (Claim(factor, -math.inf, boundary, (-1.0, clear)),)


def _above(factor: str, boundary: float, clear: float) -> Claims:
    return (Claim(factor, boundary, math.inf, (clear, 1.0)),)


def _between(factor: str, low: float, high: float, margin: float) -> Claims:
    return (Claim(factor, low, high, (low + margin, high - margin)),)


def _hues(names: Sequence[str], degrees: Sequence[float], margin: float) -> dict[str, Claims]:
    """Background cells between hues in degrees (as many as names, less one); the renderer has 147.6 (1 + z)."""
    z = [d / 147.6 - 1 for d in degrees]
    cells = {names[0]: _below("background_hue", z[0], z[0] - margin)}
    for name, low, high in zip(names[1:-1], z[:-1], z[1:], strict=True):
        cells[name] = _between("background_hue", low, high, margin)
    return cells | {names[-1]: _above("background_hue", z[-1], z[-1] + margin)}


_DARK, _LIGHT = _below("hair_lightness", 0, -0.3), _above("hair_lightness", 0, 0.3)
_RED, _MIDDLE, _GOLD = (
    _below("hair_hue", -0.3, -0.4),
    _between("hair_hue", -0.3, 0.4, 0.1),
    _above("hair_hue", 0.4, 0.5),
)
_SMILE, _FROWN = _above("smile", 0, 0.3), _below("smile", 0, -0.3)
_NARROW, _WIDE = _below("face_width", 0, -0.3), _above("face_width", 0, 0.3)
_PALE = _below("skin_tone", 0, -0.3)
_BEARD, _SHAVEN = _above("beard", -0.2, 0.2), _below("beard", -0.2, -0.6)  # between them: stubble, never named
_WORN, _BARE = _above("glasses", 0, 1), _below("glasses", 0, -1)
_FRECKLES, _CLEAR = _above("freckles", -0.2, 0.2), _below("freckles", -0.2, -0.6)

WORDS: Mapping[str, Mapping[str, Claims]] = {
    "background": _hues(
        ("red", "orange", "yellow", "green", "turquoise", "blue", "purple"), (24, 49, 75, 160, 200, 245), 0.03
    ),
    "skin": {"light": _PALE, "pale": _PALE, "dark": _above("skin_tone", 0, 0.3)},
    "hair": {
        "short": _below("hair_length", 0, -0.3),
        "long": _above("hair_length", 0, 0.3),
        "dark": _DARK,
        "light": _LIGHT,
        "red": _RED,
        "brown": _MIDDLE + _DARK,
        "orange": _MIDDLE + _LIGHT,
        "ginger": _MIDDLE + _LIGHT,
        "olive": _GOLD + _DARK,
        "blond": _GOLD + _LIGHT,
    },
    "face": {"narrow": _NARROW, "thin": _NARROW, "wide": _WIDE, "broad": _WIDE},
    "mouth": {"open": _above("mouth_opening", -0.1, 0.2), "closed": _below("mouth_opening", -0.1, -0.4)},
    "eyes": {"wide": _above("eye_opening", 0, 0.3), "narrow": _below("eye_opening", 0, -0.3)},
    "brows": {"angry": _above("brow_angle", 0, 0.3), "worried": _below("brow_angle", 0, -0.3)},
    "glasses": {"": _WORN, "no": _BARE, "without": _BARE},
    "beard": {"": _BEARD, "full": _BEARD, "no": _SHAVEN, "without": _SHAVEN},
    "chin": {"shaven": _SHAVEN},
    "freckles": {"": _FRECKLES, "no": _CLEAR, "without": _CLEAR},
    "smile": {"": _SMILE},
    "smiling": {"": _SMILE},
    "happy": {"": _SMILE},
    "frown": {"": _FROWN},
    "frowning": {"": _FROWN},
    "sad": {"": _FROWN},
    "left": {"": _below("yaw", 0, -0.3)},
    "right": {"": _above("yaw", 0, 0.3)},
}
"""Word → what it claims with each word that may stand before it (``""``: alone)."""


def prompted_values(prompt: str) -> Claims:
    """What a prompt claims, in the order of its words; words outside :data:`WORDS` claim nothing.

    >>> [(c.factor, c.low) for c in prompted_values("a face with long blond hair")]
    [('hair_length', 0), ('hair_hue', 0.4), ('hair_lightness', 0)]
    """
    words = re.findall(r"[a-z]+", prompt.lower())
    found: dict[Claim, None] = {}
    for i, word in enumerate(words):
        meanings = WORDS.get(word, {})
        start = i
        while start and words[start - 1] in meanings:
            start -= 1
        if start == i:
            found |= dict.fromkeys(meanings.get("", ()))
        for modifier in words[start:i]:
            found |= dict.fromkeys(meanings[modifier])
    return tuple(found)
