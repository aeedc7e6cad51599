"""Numbers and names as the page prints them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

MINUS = "\N{MINUS SIGN}"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MOST_DECIMALS = 6
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)


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
    """``value [low, high]``, all to the digit that the interval's width allows; without brackets if it is NaN."""
    return intervals([(value, low, high)])[0]


def intervals(estimates: Sequence[tuple[float, float, float]]) -> list[str]:
    """Several estimates of one quantity (value, low, high), all to the digit that the narrowest interval allows.

    Where none has an interval: to three digits of the largest, if the smallest keeps one of its own then.
    """
    needed = [_decimals(*one) for one in estimates]
    known = [decimals for decimals in needed if decimals is not None]
    return [_estimate(one, max(known) if known else _common([one[0] for one in estimates])) for one in estimates]


def _common(values: Sequence[float]) -> int | None:
    """Decimals for values without intervals; None if one number of them does not suit all."""
    orders = [math.floor(math.log10(abs(value))) for value in values if math.isfinite(value) and value]
    decimals = 2 - max(orders, default=0)
    whole = all(float(value).is_integer() for value in values if math.isfinite(value))
    suits = len(values) > 1 and orders and not whole and decimals >= 0 and min(orders) >= -decimals
    return decimals if suits else None


def _decimals(value: float, low: float, high: float) -> int | None:
    """Decimals that show two digits of an interval's width; None if it has none."""
    width = high - low
    if not math.isfinite(width) or not math.isfinite(value):
        return None
    # of an interval without width, three digits of its value
    return 1 - math.floor(math.log10(width)) if width > 0 else 2 - math.floor(math.log10(abs(value) or 1))


def _estimate(one: tuple[float, float, float], decimals: int | None) -> str:
    value, low, high = one
    if decimals is None or not math.isfinite(value):
        return number(value)
    largest = max(abs(x) for x in one if math.isfinite(x))
    if largest >= 1e-3 or largest == 0:
        places = min(max(0, decimals), _MOST_DECIMALS)
        texts, times = [_fixed(x, places) if math.isfinite(x) else number(x) for x in one], ""
    else:  # one power of ten for all
        exponent = math.floor(math.log10(largest))
        places = min(max(0, decimals + exponent), _MOST_DECIMALS)
        texts = [_fixed(x * 10.0**-exponent, places) for x in one]
        times = f" × 10{str(exponent).translate(_SUPERSCRIPT)}"
    if not math.isfinite(high - low):
        return f"{texts[0]}{times}"
    return f"{texts[0]} [{texts[1]}, {texts[2]}]{times}"


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


def label(text: Any) -> str:
    """An automatic label as a text, ``hair lightness +`` with the sign on the name's line; empty if there is none."""
    if not isinstance(text, str):
        return ""
    return name(text).replace(" +", "\N{NO-BREAK SPACE}+").replace(f" {MINUS}", f"\N{NO-BREAK SPACE}{MINUS}")


def moment(iso: str) -> str:
    """A date and time as people write it: ``1 December 2026, 10:07``; as it is if it is none."""
    try:
        found = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    return f"{found.day} {_MONTHS[found.month - 1]} {found:%Y, %H:%M}"


def in_words(seconds: float) -> str:
    """A duration as people say it: ``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{rest} s" if not minutes else f"{minutes} min {rest} s" if not hours else f"{hours} h {minutes_left} min"


def time_left(seconds: float | None) -> str:
    """An estimate, no finer than it can be: ``a few seconds left``, ``about 50 s left``; empty without one."""
    if seconds is None:
        return ""
    if seconds < 10:
        return "a few seconds left"
    coarse = 5 * round(seconds / 5) if seconds < 100 else 60 * round(seconds / 60)
    return f"about {in_words(coarse).removesuffix(' 0 s').removesuffix(' 0 min')} left"
