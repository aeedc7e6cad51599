"""A run at work: samples, latents, bases, edits and pictures, each computed once and kept in the store.

The names below are imported on first use: command lines ask this package which process they are before torch is there.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffgeo.session.context import Context
    from diffgeo.session.samples import Sample

__all__ = ["Context", "Sample"]

_HOME = {"Context": "context", "Sample": "samples"}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
