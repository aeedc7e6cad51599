"""Entries of a store as files: their names, what they hold, and what in a folder is a store's."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from diffgeo.session.digests import digest

KEY = "diffgeo.store"
TEMPORARY = ".tmp-"
MARKER = ".diffgeo-store"
"""File at the top of a store that says that the folder is one."""
STAGE, PREFIX = re.compile(r"[a-z]\w*"), re.compile(r"[0-9a-f]{2}")
ENTRY = re.compile(r"([0-9a-f]{64})\.safetensors")
LOCK = re.compile(r"([0-9a-f]{64})\.(?:lock|claim)")
HALF = re.compile(re.escape(TEMPORARY) + r"([0-9a-f]{64})-\d+\.safetensors")


@dataclass(frozen=True)
class Record:
    """What an entry holds.

    Attributes:
        tensors: name → tensor.
        facts: plain JSON.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Slot:
    """A place for an entry while its lock is held.

    Attributes:
        record: the stored one; None if there is none, and then to be set by the code that computes it.
    """

    record: Record | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a store.

    Attributes:
        path: of the file.
        stage: what kind of result it is.
        size: in bytes.
        used: when it was last written or read, in seconds since 1970.
    """

    path: Path
    stage: str
    size: int
    used: float


def checksum_of(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> str:
    """The digest of what an entry holds."""
    return digest({"tensors": tensors, "facts": facts})


def load(path: Path) -> Record:
    """What an entry holds.

    Raises:
        OSError, SafetensorError, ValueError, KeyError: the file is not there, damaged, or not what was written.
    """
    with safe_open(path, "pt") as opened:
        header = json.loads((opened.metadata() or {})[KEY])
        tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118  # not a mapping
    if checksum_of(tensors, header["facts"]) != header["checksum"]:
        raise ValueError("its checksum differs")
    return Record(tensors, header["facts"])


def remove(path: Path) -> bool:
    """Whether a file is gone; it is not from a store that is read-only."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def inside(folder: Path, names: re.Pattern[str], *, files: bool = False) -> Iterator[Path]:
    """Folders (or files) in a folder whose whole name fits, links left out; none if it cannot be read."""
    try:
        with os.scandir(folder) as found:
            inside = sorted(found, key=lambda one: one.name)
    except OSError:
        return
    for one in inside:
        right = one.is_file(follow_symlinks=False) if files else one.is_dir(follow_symlinks=False)
        if right and names.fullmatch(one.name):
            yield Path(one.path)


def has_header(path: Path) -> bool | None:
    """Whether a safetensors file's header has the store's part; None if the file has no header that can be read."""
    try:
        with path.open("rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(size)) if size <= path.stat().st_size else None
    except (OSError, ValueError):
        return None
    if not isinstance(header, dict):
        return None
    about = header.get("__metadata__")
    return isinstance(about, dict) and KEY in about


def foreign(folder: Path) -> str | None:
    """What in a folder is not of a store; None of a folder that is one, could become one, or is none at all.

    With the marker, or with an entry, whatever else lies there: it is left alone.
    """
    if not folder.is_dir() or (folder / MARKER).is_file():
        return None
    other = None
    for stage in _listed(folder):
        if stage.name.startswith(".team-"):  # of processes that meet there
            continue
        if stage.is_symlink() or not stage.is_dir() or not STAGE.fullmatch(stage.name):
            other = other or stage
            continue
        for prefix in _listed(stage):
            if prefix.is_symlink() or not prefix.is_dir() or not PREFIX.fullmatch(prefix.name):
                other = other or prefix
                continue
            for path in _listed(prefix):
                name = ENTRY.fullmatch(path.name)
                if name and name[1][:2] == prefix.name and not path.is_symlink() and has_header(path):
                    return None
                if not (LOCK.fullmatch(path.name) or path.name.startswith(".tmp")):
                    other = other or path
    return None if other is None else other.relative_to(folder).as_posix()


def _listed(folder: Path) -> list[Path]:
    """What lies in a folder; nothing if it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
