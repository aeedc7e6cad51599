"""Exploring a model by hand: a picture, its directions, what they do. The page is :mod:`.app`, on
:mod:`.serving`.

The names below are imported on first use, so that a command line is refused before torch is imported.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffgeo.explore.parts import Card, Choice, EditedPicture, LatentDirections, Picture
    from diffgeo.explore.session import Explorer
    from diffgeo.explore.uploads import picture_of

__all__ = ["Card", "Choice", "EditedPicture", "Explorer", "Picture", "LatentDirections", "picture_of"]

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # which Gradio reads when it is imported


def __getattr__(name: str) -> Any:
    if name in __all__:
        home = {"picture_of": "uploads", "Explorer": "session"}.get(name, "parts")
        return getattr(importlib.import_module(f"diffgeo.explore.{home}"), name)
    raise AttributeError(f"module 'diffgeo.explore' has no attribute {name!r}")
