"""What the schemas' docstrings say of every setting: the one source of the help pages and of the manual."""

from __future__ import annotations

import inspect
import re
import types
import typing
from dataclasses import MISSING, fields
from functools import cache
from typing import Any

from omegaconf import MISSING as MANDATORY

_ENTRY = re.compile(r"(\w+): (.*)")
_SECTION = re.compile(r"[A-Z]\w+:$")


def headline(schema: type) -> str:
    """The first paragraph of a schema's docstring, as one line."""
    return " ".join((inspect.getdoc(schema) or "").partition("\n\n")[0].split())


@cache
def documented(schema: type) -> dict[str, str]:
    """The description of every field of a schema, each one line, from the sections ``Attributes:`` and ``Args:``.

    Args:
        schema: a dataclass; its bases that are dataclasses are read, too, and its own words come before theirs.

    Returns:
        Field → description, in the order of the fields. A field that no docstring describes is not there.
    """
    found: dict[str, str] = {}
    for base in reversed(schema.__mro__):
        if "__dataclass_fields__" in vars(base):
            found |= _entries(inspect.cleandoc(vars(base).get("__doc__") or ""))
    names = [field.name for field in fields(schema)]
    return {name: found[name] for name in names if name in found}


def _entries(doc: str) -> dict[str, str]:
    """Entries of ``Attributes:`` and ``Args:`` in a docstring; a line that is indented further continues its entry."""
    entries: dict[str, list[str]] = {}
    inside, current = False, None
    for line in doc.splitlines():
        if _SECTION.match(line):
            inside = line in ("Attributes:", "Args:")
        elif inside and line.strip():
            entry = _ENTRY.match(line.strip()) if line.startswith("    ") and line[4] != " " else None
            if entry:
                current = entries.setdefault(entry[1], [])
                current.append(entry[2])
            elif current is not None:
                current.append(line.strip())
    return {name: " ".join(lines) for name, lines in entries.items()}


def kind_of(schema: type, field: str) -> str:
    """The type of a field as the command line takes it: ``int``, ``text or null``, ``list of float``."""
    if field == "images":  # a union that Hydra's schemas cannot hold
        return "text, list of text or null"
    return _kind(typing.get_type_hints(schema)[field])


def _kind(hint: Any) -> str:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if one is type(None) else _kind(one) for one in inner)
    if origin is list:
        return f"list of {_kind(inner[0])}"
    if origin is dict:
        return "mapping" if inner[1] is Any else f"mapping to {_kind(inner[1])}"
    return {str: "text", bool: "true or false", Any: "any"}.get(hint) or hint.__name__


def default_of(schema: type, field: str) -> Any:
    """A field's own default; ``???``, as Hydra writes it, where a value must be given."""
    own = next(f for f in fields(schema) if f.name == field)
    value = own.default_factory() if own.default_factory is not MISSING else own.default
    return MANDATORY if value is MISSING else value
