"""Checkpoints of the original projects to diffusers folders, numerically the same networks.

A checkpoint is read without executing anything in it. Its shapes tell the architecture, a :class:`Settings` tells what
they do not. Keys, shapes and values are checked before anything is written: a tensor too many, one too few or one of
another shape is an error that names it.
"""

from __future__ import annotations

from importing.architecture import Architecture
from importing.folder import RECORD, Imported, import_checkpoint
from importing.settings import PRESETS, Settings

__all__ = ["PRESETS", "RECORD", "Architecture", "Imported", "Settings", "import_checkpoint"]
