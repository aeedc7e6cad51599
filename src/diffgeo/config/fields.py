"""A setting: its default, what it may be, and what depends on it, written once at its field.

Schemas stay plain dataclasses, which OmegaConf reads; the rest is metadata of their fields. Pydantic or annotated-types
would name the ranges as well, but what a user reads (``allowed: null, or 1 or more``), the range of every item of a
list, and what the store's keys leave out would still be written here, around a further import.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Collection, Sequence
from dataclasses import Field as DataclassField
from dataclasses import field, fields
from typing import Any, Literal

from omegaconf import MISSING

from diffgeo.errors import ConfigError, DataError, DiffgeoError
from diffgeo.ranges import Affects, Rule

_KEY = "setting"


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
    scheduled: bool = False,
    path: Literal["", "always", "perhaps"] = "",
    absent: type[DiffgeoError] = DataError,
    rule: Rule | None = None,
) -> Any:
    """A field of a schema; what a value may be is said by ``rule``, or by the parts of a :class:`Rule`, as those are.

    A list or dict as default is copied, a class is called. Without a default, a value must be given.
    ``II("scale.rank")`` follows another setting.
    """
    rule = rule or Rule(
        affects, ge, gt, le, lt, tuple(choices), items, distinct, fits, allowed, scheduled, path, absent
    )
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


def check_fields(settings: Any, prefix: str, only: Collection[str] | None = None) -> None:
    """Check the range of every field of a dataclass, then what its own method ``check()`` checks across them.

    Args:
        settings: an instance; fields that are dataclasses themselves are left alone.
        prefix: of its keys, such as ``study.ablation.``.
        only: fields to check; all if None.

    Raises:
        ConfigError: a value is out of its range.
        DiffgeoError: a file or folder that it names is not there, of the class that its rule says.
    """
    hints = typing.get_type_hints(type(settings))
    for one in (one for one in fields(settings) if only is None or one.name in only):
        value, rule = getattr(settings, one.name), rule_of(one)
        nullable = type(None) in typing.get_args(hints[one.name])
        if not (value is None and nullable) and not rule.admits(value):
            raise refusal(f"{prefix}{one.name}", value, rule.in_words(nullable=nullable) or "finite numbers")
        for path in rule.missing(value):
            allowed = f"allowed: {rule.allowed}" if rule.allowed else "give a file or folder that is there"
            raise rule.absent(f"{prefix}{one.name}={path} does not exist", allowed)
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
