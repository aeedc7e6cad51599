"""What each study can be told: a module a study, named like it, that holds one dataclass.

A module that is put here is found; there is no list to enter it in.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import is_dataclass

__all__ = ["STUDY_SCHEMAS", "schema_in"]


def schema_in(module: str) -> type:
    """The dataclass that a module defines.

    Raises:
        TypeError: it defines none, or several.
    """
    found = [
        value
        for value in vars(importlib.import_module(module)).values()
        if isinstance(value, type) and is_dataclass(value) and value.__module__ == module
    ]
    if len(found) != 1:
        raise TypeError(f"{module} defines {len(found)} dataclasses; a study has one for its settings")
    return found[0]


STUDY_SCHEMAS: dict[str, type] = {
    module.name: schema_in(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)
}
"""Study → the dataclass of its settings; ``conf/study/NAME.yaml`` fills it and ``diffgeo.studies.NAME`` runs on it."""
