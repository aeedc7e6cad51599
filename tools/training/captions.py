"""Captions of FactorFaces, in words and order drawn at random; :mod:`diffgeo.data.captions` says what words claim."""

from __future__ import annotations

import torch
from torch import Tensor

from diffgeo.data.captions import WORDS
from diffgeo.data.factor_faces import FACTOR_NAMES, FACTORS
from diffgeo.errors import ShapeError

__all__ = ["VOCABULARY", "caption"]

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
