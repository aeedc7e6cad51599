r"""Captions of FactorFaces, and what they claim.

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

import torch
from torch import Tensor

from diffgeo.data.factor_faces import FACTOR_NAMES, FACTORS
from diffgeo.errors import ShapeError

__all__ = ["VOCABULARY", "Claim", "caption", "prompted_values"]


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

_GLUE = ("a", "an", "and", "drawing", "front", "in", "looking", "of", "on", "picture", "portrait", "turned", "with")
VOCABULARY: tuple[str, ...] = tuple(sorted({w for k, v in WORDS.items() for w in (k, *v) if w} | set(_GLUE)))
"""Every word of every caption."""

_PARTS = (
    ("skin", "skin_tone"),
    ("mouth", "mouth_opening"),
    ("eyes", "eye_opening"),
    ("brows", "brow_angle"),
    ("glasses", "glasses"),
    ("freckles", "freckles"),
)
_HEADS = ("portrait of a", "picture of a", "drawing of a", "a")
_CHOICES = len(FACTORS) + 40
"""Uniform numbers that one caption consumes: one to keep each factor, the others for wordings and orders."""


def prompted_values(prompt: str) -> Claims:
    """What a prompt claims, in the order of its words; words outside :data:`VOCABULARY` claim nothing.

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


def caption(factors: Tensor, generator: torch.Generator | None = None) -> list[str]:
    """A caption for each portrait, in words and order drawn at random.

    Each caption names every factor that has a clear word with a probability of its own, drawn uniformly from
    [0.2, 1], so that short prompts and full descriptions both occur.

    Args:
        factors: z, shape (n, 14), in the order of :data:`~diffgeo.data.factor_faces.FACTORS`; any device.
        generator: source of randomness; the global one of the CPU when None.

    Returns:
        n captions, such as ``portrait of a smiling face with long red hair and glasses, blue background``.

    Raises:
        ShapeError: factors is not (n, 14).
    """
    if factors.ndim != 2 or factors.shape[1] != len(FACTORS):
        raise ShapeError(f"factors have shape {tuple(factors.shape)}", f"expected (n, {len(FACTORS)})")
    device = generator.device if generator is not None else torch.device("cpu")
    chances = torch.rand(len(factors), _CHOICES + 1, generator=generator, device=device)
    keep = chances[:, :1] * 0.8 + 0.2 > chances[:, 1 : 1 + len(FACTORS)]
    rows = zip(factors.tolist(), keep.tolist(), chances[:, 1 + len(FACTORS) :].tolist(), strict=True)
    return [_compose(z, kept, chance) for z, kept, chance in rows]


_Tests = tuple[tuple[int, float, float], ...]
_SAYABLE: dict[tuple[str, str], list[tuple[str, _Tests]]] = {}
"""(noun, factor) → its modifiers whose first claim is that factor, with (column, lowest, highest) of each claim."""

for _noun, _meanings in WORDS.items():
    for _modifier, _claims in _meanings.items():
        _tests = tuple((FACTOR_NAMES.index(claim.factor), *claim.clear) for claim in _claims)
        _SAYABLE.setdefault((_noun, _claims[0].factor), []).append((_modifier, _tests))


def _compose(z: list[float], keep: list[bool], chances: list[float]) -> str:
    kept_values = {name: value for name, value, kept in zip(FACTOR_NAMES, z, keep, strict=True) if kept}
    chance = iter(chances)

    def word(noun: str, factor: str) -> str | None:
        """A word before ``noun`` that is clearly true and mentions ``factor``, unless the factor is left out."""
        if factor not in kept_values:
            return None
        fit = [
            modifier
            for modifier, tests in _SAYABLE[noun, factor]
            if all(low <= z[column] <= high for column, low, high in tests)
        ]
        return fit[int(next(chance) * len(fit))] if fit else None

    hair = [word("hair", factor) for factor in ("hair_length", "hair_lightness", "hair_hue")]
    parts = [" ".join([*filter(None, hair), "hair"])] if any(hair) else []
    for noun, factor in _PARTS:
        if (modifier := word(noun, factor)) is not None:
            parts.append(f"{modifier} {noun}".strip())
    if (modifier := word("beard", "beard")) is not None:
        shaven = modifier in ("no", "without") and next(chance) < 0.3
        parts.append("shaven chin" if shaven else f"{modifier} beard".strip())

    mood = ""
    if "smile" in kept_values and abs(z[FACTOR_NAMES.index("smile")]) >= 0.3:
        options = ("smiling", "happy", "smile") if kept_values["smile"] > 0 else ("frowning", "sad", "frown")
        mood = options[int(next(chance) * 3)]
    if mood in ("smile", "frown"):
        parts.append(mood)
        mood = ""
    width = word("face", "face_width") or ""
    side = ""
    if "yaw" in kept_values and abs(kept_values["yaw"]) >= 0.3:
        verb = "looking" if next(chance) < 0.5 else "turned"
        side = f"{verb} {'right' if kept_values['yaw'] > 0 else 'left'}"
    colour = word("background", "background_hue")
    parts = [part for _, part in sorted((next(chance), part) for part in parts)]

    if next(chance) < 0.2:  # a list of tags
        tags = [*parts, mood, f"{width} face" if width else "", side, f"{colour} background" if colour else ""]
        tags = [tag for _, tag in sorted((next(chance), tag) for tag in tags if tag)]
        return ", ".join(tags) or "face"
    text = " ".join(filter(None, [_HEADS[int(next(chance) * len(_HEADS))], mood, width, "face", side]))
    if parts:
        parts = sorted((_article(part) for part in parts), key=lambda part: part.startswith("without"))  # those last
        listed = ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else parts[0]
        text += f" {listed}" if listed.startswith("without") else f" with {listed}"
    if colour:
        place = next(chance)
        if place < 0.5:
            text += f", {colour} background"
        else:
            text += f" {'on' if place < 0.75 else 'in front of'} {_article(f'{colour} background')}"
    return text


def _article(part: str) -> str:
    """``open mouth`` → ``an open mouth``; plurals and masses stay."""
    if part.startswith(("no ", "without ")) or part.split()[-1] not in (
        "mouth",
        "beard",
        "chin",
        "smile",
        "frown",
        "background",
    ):
        return part
    return f"an {part}" if part[0] in "aeio" else f"a {part}"
