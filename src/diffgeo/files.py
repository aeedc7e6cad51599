"""Writes files that have the permissions of the user's umask, as those of other programs have.

``safetensors`` by itself gives its files to their owner alone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

__all__ = ["create", "save_tensors"]


def create(path: Path) -> int:
    """Make an empty file that is not there yet.

    Returns:
        Its mode, 0o666 less the umask.

    Raises:
        OSError: it is there already (also if it is a link), or the folder cannot be written.
    """
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return stat.S_IMODE(os.fstat(handle).st_mode)
    finally:
        os.close(handle)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file; ``safetensors.torch.save_file`` gives its files to their owner alone.

    Args:
        path: of the file; one that is there keeps its mode.
        tensors: name → contiguous tensor on the CPU.
        metadata: of the file's header.

    Raises:
        OSError, SafetensorError: the file cannot be written.
    """
    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)
    save_file(dict(tensors), path, None if metadata is None else dict(metadata))
    path.chmod(mode)
