"""Numbers and names as the page prints them."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["counted", "in_words", "interval", "name", "number", "p_value", "timestep"]

MINUS = "\N{MINUS SIGN}"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MOST_DECIMALS = 6


def number(value: Any, digits: int = 3) -> str:
    """A number with so many significant digits: ``0.850``, ``−12.4``, ``1234``, ``2.5 × 10⁻⁷``; a dash for NaN."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    size = abs(value)
    if size == 0 or (float(value).is_integer() and size < 1e6):
        return f"{value:.0f}".replace("-", MINUS)
    if size < 1e-3 or size >= 1e6:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        times = "" if mantissa == "1" else f"{mantissa} × "
        return f"{times}10{str(int(exponent)).translate(_SUPERSCRIPT)}".replace("-", MINUS)
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    return _fixed(value, decimals)


def _fixed(value: float, decimals: int) -> str:
    rounded = round(value, decimals) + 0.0  # no −0.00
    return f"{rounded:.{decimals}f}".replace("-", MINUS)


def interval(value: float, low: float, high: float) -> str:
    """``value [low, high]``, all to the digit that the interval's width allows; without brackets where it is NaN."""
    width = high - low
    if not math.isfinite(width) or not math.isfinite(value):
        return number(value)
    if width > 0:
        decimals = 1 - math.floor(math.log10(width))
        if decimals <= _MOST_DECIMALS:
            a, b, c = (_fixed(x, max(0, decimals)) for x in (value, low, high))
            return f"{a} [{b}, {c}]"
    return f"{number(value)} [{number(low)}, {number(high)}]"


def p_value(p: float) -> str:
    """``p = 0.031``, or ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def counted(count: int, noun: str) -> str:
    """``1 sample``, ``4 samples``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def timestep(fraction: float) -> str:
    """A fraction of T: ``T``, ``0.25 T`` (with a space that does not break)."""
    return "T" if fraction == 1 else f"{fraction:g}\N{NO-BREAK SPACE}T"


def name(identifier: Any) -> str:
    """An identifier as words."""
    return str(identifier).replace("_", " ")


def in_words(seconds: float) -> str:
    """A duration as people say it: ``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{rest} s" if not minutes else f"{minutes} min {rest} s" if not hours else f"{hours} h {minutes_left} min"
