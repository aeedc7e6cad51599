"""What results depend on that lies in files: files that settings name, and code of others.

Code of others is what settings name by ``_target_``, a study of another package, and the maps that it takes bases of.
All files of the outermost package count that it lies in, or its own file alone if it lies in none. This package and the
libraries of :data:`~diffgeo.session.digests.LIBRARIES` do not count again: the store's keys hold them as they are.
"""

from __future__ import annotations

import inspect
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from diffgeo.config import targets
from diffgeo.config.fields import rule_of
from diffgeo.diffusion.models import shipped_folder
from diffgeo.session.digests import LIBRARIES, file_digest

_COUNTED = {__name__.partition(".")[0], *LIBRARIES}
_PROCESS = secrets.token_hex()
"""Stands for code that lies in no file, such as what was typed into an interpreter: no other process finds it."""
_SEEN: dict[Path, tuple[dict[str, Any], str]] = {}
"""Package, or file → how its modules were loaded that were asked for, and its digest."""


def named_files(settings: Any) -> dict[str, str]:
    """Digests of the files and folders that settings name, by their path.

    The rule of a field says whether it names files (``path``). Of settings that only a ``_target_`` knows, every text
    counts that is the path of something.

    Args:
        settings: a dataclass, of dataclasses perhaps.
    """
    found = {}
    for text in filter(None, _naming(settings)):
        with suppress(OSError, RuntimeError, ValueError):  # a text that is no path: too long, or of no user's home
            for path in {Path(text).expanduser(), shipped_folder(text)}:
                if path.exists():
                    found[path.as_posix()] = file_digest(path)
    return found


def _naming(settings: Any) -> Iterator[str]:
    for one in fields(settings):
        value = getattr(settings, one.name)
        if is_dataclass(value):
            yield from _naming(value)
        elif isinstance(value, Mapping) or rule_of(one).path:
            yield from _texts(value)


def _texts(value: object) -> Iterator[str]:
    """All strings in a value, at whatever depth of its lists and dicts; keys are not values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(one)


def named_code(settings: Any) -> list[str]:
    """:func:`own_code` of all that settings name by ``_target_``.

    Args:
        settings: as plain dicts and lists.
    """
    return own_code(*targets(settings))


def own_code(*things: Any) -> list[str]:
    """Digests of the code of others that things are made of, as it was loaded.

    Args:
        things: functions, classes, and objects that are called. What wraps one is looked through: partial functions,
            decorators, networks of networks, attributes and closures.
    """
    seen: set[int] = set()
    names = {str(part.__module__) for thing in things for part in _parts(thing, seen)}
    typed = {_PROCESS} if "__main__" in names and not hasattr(sys.modules["__main__"], "__file__") else set()
    return sorted((typed | {module_digest(name) for name in names}) - {""})


def _parts(thing: Any, seen: set[int]) -> Iterator[Any]:
    """The functions and classes that a thing's calls run, as far as can be told without calling it."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    inner: list[Any] = []
    if isinstance(thing, partial):
        inner = [thing.func, *thing.args, *thing.keywords.values()]
    elif inspect.ismethod(thing):
        inner = [thing.__func__, thing.__self__]
    elif inspect.isroutine(thing) or inspect.isclass(thing):
        yield thing
        inner = [getattr(thing, "__wrapped__", None)]
        for cell in getattr(thing, "__closure__", None) or ():
            with suppress(ValueError):  # a cell that is still empty
                inner.append(cell.cell_contents)
    else:
        yield type(thing)
        inner = list(vars(thing).values()) if hasattr(thing, "__dict__") else []
        if isinstance(thing, nn.Module):
            yield from {type(part) for part in thing.modules()}
    for one in inner:
        if callable(one):
            yield from _parts(one, seen)


def module_digest(name: str) -> str:
    """Digest of the outermost package that a module lies in, or of its file.

    It is taken when a module of the package is first asked for, and again after one was loaded anew: a process runs
    what it imported, so that after an edit its results are still the old code's.

    Args:
        name: of the module, which has been imported.

    Returns:
        Empty if it counts anyway, or lies in no file.
    """
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if file is None or name.partition(".")[0] in _COUNTED:
        return ""
    whole = Path(file).resolve()
    while (whole.parent / "__init__.py").is_file():
        whole = whole.parent
    loaded = getattr(module, "__spec__", None)
    specs, found = _SEEN.get(whole, ({}, ""))
    if not found or specs.get(name, loaded) is not loaded:
        specs, found = {}, file_digest(whole)
    specs[name] = loaded
    _SEEN[whole] = specs, found
    return found
