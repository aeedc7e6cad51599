"""A setting: its default, what it may be, and what depends on it, written once at its field.

Schemas stay plain dataclasses, which OmegaConf reads; the rest is metadata of their fields. Pydantic or annotated-types
would name the ranges as well, but what a user reads (``allowed: null, or 1 or more``), the range of every item of a
list, and what the store's keys leave out would still be written here, around a further import.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import Field as DataclassField
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from omegaconf import MISSING

from diffgeo.errors import ConfigError

__all__ = ["Affects", "Rule", "check_fields", "refusal", "rule_of", "setting"]

Affects = Literal["nothing", "session", "results", "model"]
"""What depends on a setting:

* ``nothing``: no number, and nothing that is loaded (where a run is tracked, for instance);
* ``session``: no number, but what a process has loaded and hands from run to run (the device, the store);
* ``results``: numbers, computed from the same model, latents and bases;
* ``model``: the model, what reads its pictures, its latents or bases, and by them the numbers.
"""
_KEY = "setting"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a setting may be, and what depends on it.

    Attributes:
        affects: None is what its group affects, ``results`` if that says nothing either.
        ge: least value; of every item, if the setting is a list, and so are the other bounds and the choices.
        gt: bound that values lie above.
        le: largest value.
        lt: bound that values lie below.
        choices: possible values.
        items: fewest items of a list.
        distinct: whether a list holds each item once.
        fits: a further condition, worded by ``allowed``.
        allowed: the range in words; made from the bounds if empty. "null" is put before it if the type allows it.
    """

    affects: Affects | None = None
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    choices: tuple[str, ...] = ()
    items: int = 0
    distinct: bool = False
    fits: Callable[[Any], bool] | None = None
    allowed: str = ""

    def admits(self, value: Any) -> bool:
        """Whether a value is in the range; numbers that are not finite never are."""
        if isinstance(value, list):
            many = len(value) >= self.items and (
                not self.distinct or all(x not in value[:i] for i, x in enumerate(value))
            )
            return many and all(map(self._admits_one, value)) and (self.fits is None or self.fits(value))
        return self._admits_one(value) and (self.fits is None or self.fits(value))

    def _admits_one(self, value: Any) -> bool:
        if self.choices and value not in self.choices:
            return False
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True
        return (
            (isinstance(value, int) or math.isfinite(value))
            and (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )

    def in_words(self, *, nullable: bool = False) -> str:
        """The range, as a sentence on what is allowed goes on; empty if every value of the type is."""
        words = self.allowed or self._choices() or self._bounds()
        if self.distinct and not self.allowed:
            words = f"{words}, each once".lstrip(", ")
        return f"null, or {words}" if nullable and words else words

    def _choices(self) -> str:
        return f"{'any of ' if self.items or self.distinct else ''}{', '.join(self.choices)}" if self.choices else ""

    def _bounds(self) -> str:
        if self.gt == 0 and self.le is None and self.lt is None:
            return "a positive number"
        low = f"{self.ge:g}" if self.ge is not None else "" if self.gt is None else f"above {self.gt:g}"
        high = f"to {self.le:g}" if self.le is not None else "" if self.lt is None else f"below {self.lt:g}"
        if self.ge is not None and self.lt is None:
            return f"{low} {high or 'or more'}"
        return f"{low}, {high}".strip(", ")


def setting(
    default: Any = MISSING,
    *,
    affects: Affects | None = None,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: Sequence[str] = (),
    items: int = 0,
    distinct: bool = False,
    fits: Callable[[Any], bool] | None = None,
    allowed: str = "",
) -> Any:
    """A field of a schema.

    Args:
        default: its value unless one is given; a list or dict is copied, a class is called. Without one, a value
            must be given. ``II("scale.rank")`` follows another setting.
        affects: as :class:`Rule` has it, and so are the others.
        ge: least value.
        gt: bound below.
        le: largest value.
        lt: bound above.
        choices: possible values.
        items: fewest items.
        distinct: each item once.
        fits: a further condition.
        allowed: the range in words.
    """
    rule = Rule(affects, ge, gt, le, lt, tuple(choices), items, distinct, fits, allowed)
    if isinstance(default, type):
        return field(default_factory=default, metadata={_KEY: rule})
    if isinstance(default, list | dict):
        return field(default_factory=lambda: default.copy(), metadata={_KEY: rule})
    return field(default=default, metadata={_KEY: rule})


def rule_of(one: DataclassField[Any]) -> Rule:
    """The rule of a field; one that every value meets for a field that was made without :func:`setting`."""
    found = one.metadata.get(_KEY, _ANY)
    assert isinstance(found, Rule)
    return found


_ANY = Rule()


def check_fields(settings: Any, prefix: str) -> None:
    """Check the range of every field of a dataclass, then what its own method ``check()`` checks across them.

    Args:
        settings: an instance; fields that are dataclasses themselves are left alone.
        prefix: of its keys, such as ``study.ablation.``.

    Raises:
        ConfigError: a value is out of its range.
    """
    hints = typing.get_type_hints(type(settings))
    for one in fields(settings):
        value, rule = getattr(settings, one.name), rule_of(one)
        nullable = type(None) in typing.get_args(hints[one.name])
        if not (value is None and nullable) and not rule.admits(value):
            raise refusal(f"{prefix}{one.name}", value, rule.in_words(nullable=nullable) or "finite numbers")
    if isinstance(own := getattr(settings, "check", None), types.MethodType):
        own()


def refusal(key: str, value: Any, allowed: str) -> ConfigError:
    """The error that a setting out of its range raises.

    Args:
        key: of the setting.
        value: that it has.
        allowed: what it may be, in words.
    """
    shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else value
    return ConfigError(f"{key}={shown} is not possible", f"allowed: {allowed}")
