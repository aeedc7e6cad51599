"""A content-addressed store of results: each lies under the digest of exactly what determines it.

An entry is one safetensors file, ``STAGE/ab/DIGEST.safetensors``, with its determinants, readable, and a checksum in
its header. It is written to a temporary name and renamed, so it is there whole or not at all. Several processes may
share a store: the one that computes an entry holds its lock, and the others wait for it. An entry that fails its
checksum is reported, removed and computed again. Nothing in an entry is executed.

A store holds nothing but its own, and removes nothing else. A folder with other files is refused, unless it has the
store's marker or an entry (earlier versions left no marker). Only ``DIGEST.safetensors`` in the folder of the digest's
first two digits is an entry, and it is removed only if its header is the store's. Links within a store are not
followed; the store's folder itself may be one.

The store only saves time: if it cannot be written, a warning says so once and the run goes on without it.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from platformdirs import user_cache_path
from safetensors import SafetensorError

from diffgeo.errors import ConfigError
from diffgeo.files import create, save_tensors
from diffgeo.session.digests import code_version, digest, readable
from diffgeo.session.entries import (
    ENTRY,
    HALF,
    KEY,
    LOCK,
    MARKER,
    PREFIX,
    STAGE,
    TEMPORARY,
    Entry,
    Record,
    Slot,
    checksum_of,
    foreign,
    has_header,
    inside,
    load,
    remove,
)

log = logging.getLogger(__name__)

ENVIRONMENT = "DIFFGEO_STORE"
"""Environment variable: another folder for the store, or empty for none."""
_CHECK_EVERY = 256 * 2**20
"""Bytes written between two looks at the size of the whole store."""


def store_folder() -> Path | None:
    """Where the store is by default: in :data:`ENVIRONMENT`, else the user's cache folder; None if it is off."""
    given = os.environ.get(ENVIRONMENT)
    if given is not None:
        return Path(given).expanduser() if given else None
    return user_cache_path("diffgeo", appauthor=False) / "store"


class _DamagedError(Exception):
    """An entry is not what was written."""


class Store:
    """Results by what determines them.

    Args:
        folder: where entries lie; made on first use.
        max_bytes: size above which the entries that were used least recently go.

    Raises:
        ConfigError: the folder holds other files, and nothing that says that it is a store.
    """

    def __init__(self, folder: str | Path, *, max_bytes: int = 20 * 10**9) -> None:
        self.folder, self.max_bytes = Path(os.path.expanduser(folder)), max_bytes
        self.hits = self.misses = 0
        self._written, self._usable = _CHECK_EVERY, True
        if (other := foreign(self.folder)) is not None:
            raise ConfigError(
                f"{self.folder} is no store of diffgeo, as it holds {other}",
                "name an empty or a new folder (store.path= of diffgeo, path= of diffgeo-store, or DIFFGEO_STORE)",
            )

    @contextmanager
    def slot(self, stage: str, determinants: Mapping[str, Any]) -> Iterator[Slot]:
        """Hold an entry's place: inside the block its ``record`` is there, or to be set, and then stored.

        Args:
            stage: kind of result, a plain word; the first folder of its path.
            determinants: all that the result depends on, less the code, as :func:`digest` takes it.
        """
        path = self.path(stage, determinants)
        found = self.read(path)
        if found is not None:
            yield Slot(found)
            return
        with self._locked(path):
            found = self.read(path)  # another process may have been quicker
            slot = Slot(found)
            self.misses += found is None
            yield slot
            if found is None and slot.record is not None:
                self.write(path, stage, determinants, slot.record)

    def keep(self, stage: str, determinants: Mapping[str, Any], record: Record) -> None:
        """Store a record that was computed outside :meth:`slot`, unless another process was quicker."""
        path = self.path(stage, determinants)
        with self._locked(path):
            if not path.is_file():
                self.write(path, stage, determinants, record)

    @contextmanager
    def claimed(self, path: Path) -> Iterator[bool]:
        """Whether this process alone is at an entry while the block runs; True, too, if the folder is read-only."""
        lock = FileLock(path.with_suffix(".claim"))
        try:
            self._make_room(path)
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        except OSError:
            yield True
            return
        try:
            yield True
        finally:
            remove(path.with_suffix(".claim"))
            lock.release()

    def path(self, stage: str, determinants: Mapping[str, Any]) -> Path:
        """Where an entry lies, or would: by its determinants and by the code that makes results."""
        name = digest({"stage": stage, "code": code_version(), **determinants})
        return self.folder / stage / name[:2] / f"{name}.safetensors"

    def read(self, path: Path) -> Record | None:
        """An entry's record; None if there is none, or if it is damaged: then it is removed."""
        try:
            record = self._sound(path)
        except _DamagedError:
            return None
        if record is not None:
            self.hits += 1
            with suppress(OSError):  # a store may be read-only
                os.utime(path)
        return record

    def _sound(self, path: Path) -> Record | None:
        """An entry's record; None if there is none, or if the system does not let us read it."""
        if not self._is_ours(path):
            return None
        try:
            return load(path)
        except FileNotFoundError:  # another process pruned it meanwhile
            return None
        except OSError as error:
            log.warning("store: %s cannot be read (%s); it is computed again", path, error.strerror or error)
            return None
        except (SafetensorError, ValueError, KeyError) as error:
            log.warning("store: %s is damaged (%s); it is computed again", path, " ".join(str(error).split())[:120])
            remove(path)  # `_is_ours` was asked
            raise _DamagedError from error

    def write(self, path: Path, stage: str, determinants: Mapping[str, Any], record: Record) -> None:
        """Store a record; where that fails, warn once and store nothing more."""
        if not self._usable:
            return
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in record.tensors.items()}
        determinants = {"code": code_version(), **determinants}
        header = {"stage": stage, "determinants": readable(determinants), "facts": record.facts}
        header["checksum"] = checksum_of(tensors, record.facts)
        temporary = path.with_name(f"{TEMPORARY}{path.stem}-{os.getpid()}.safetensors")
        try:
            self._make_room(path)
            for left in path.parent.glob(f"{TEMPORARY}{path.stem}-*"):  # of a process that was killed: we hold the lock
                if HALF.fullmatch(left.name):
                    left.unlink(missing_ok=True)
            create(temporary)
            save_tensors(temporary, tensors, {KEY: json.dumps(header)})
            os.replace(temporary, path)
        except (OSError, SafetensorError) as error:
            remove(temporary)
            self._usable = False
            log.warning("store: %s cannot be written (%s); this run goes on without it", self.folder, error)
            return
        self._written += path.stat().st_size
        if self._written >= _CHECK_EVERY:
            self._written = 0
            self.prune()

    def entries(self) -> Iterator[Entry]:
        """All entries, in no order."""
        for path in self._files(ENTRY):
            try:
                facts = path.stat()
            except OSError:  # another process removed it meanwhile
                continue
            yield Entry(path, path.parent.parent.name, facts.st_size, facts.st_mtime)

    def _files(self, kind: re.Pattern[str]) -> Iterator[Path]:
        """Files whose name is of a kind, each in the folder of its digest's first two digits; no links, and not by any.

        Args:
            kind: of the whole name; its first group is the digest.
        """
        for stage in inside(self.folder, STAGE):
            for prefix in inside(stage, PREFIX):
                for path in inside(prefix, kind, files=True):
                    name = kind.fullmatch(path.name)
                    if name is not None and name[1][:2] == prefix.name:
                        yield path

    def _is_ours(self, path: Path) -> bool:
        """Whether an entry's file is there, by no link, and is the store's: by its header, however damaged the rest.

        A file without any header is the store's if the folder has the marker: nothing else has such a name there.
        """
        if any(part.is_symlink() for part in (path, path.parent, path.parent.parent)) or not path.is_file():
            return False
        own = has_header(path)
        return (self.folder / MARKER).is_file() if own is None else own

    def _make_room(self, path: Path) -> None:
        """Make an entry's folder.

        Raises:
            OSError: it cannot be made, or something else is there: a link, or a file that is not the store's.
        """
        locks = [path.with_suffix(suffix) for suffix in (".lock", ".claim")]
        for part in (path.parent.parent, path.parent, path, *locks):
            if part.is_symlink():
                raise OSError(errno.ELOOP, "links are not followed", str(part))
        others = [one for one in locks if one.is_file() and one.stat().st_size]  # locks are empty
        if others or (path.exists() and not self._is_ours(path)):
            raise OSError(errno.EEXIST, "another program's file is there", str(*others or [path]))
        if not (self.folder / MARKER).is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):  # another process was quicker
                create(self.folder / MARKER)
        path.parent.mkdir(parents=True, exist_ok=True)

    def prune(self, max_bytes: int | None = None) -> list[Entry]:
        """Remove the entries used least recently until the store is no larger than ``max_bytes``.

        Also clears what killed processes left: temporary files whose lock no process holds.

        Returns:
            The removed entries; those that could not be removed are not among them.
        """
        most = self.max_bytes if max_bytes is None else max_bytes
        entries = sorted(self.entries(), key=lambda entry: entry.used)
        total, removed = sum(entry.size for entry in entries), []
        for entry in entries:
            if total <= most:
                break
            if self._is_ours(entry.path) and remove(entry.path):
                total -= entry.size
                removed.append(entry)
        self._clear()
        return removed

    def verify(self) -> list[Path]:
        """Read every entry, remove the damaged ones and name them; what was used least recently stays so.

        Returns:
            The damaged entries; those of a store that cannot be written are still there.
        """
        damaged = []
        for entry in self.entries():
            try:
                self.hits += self._sound(entry.path) is not None
            except _DamagedError:
                damaged.append(entry.path)
        return damaged

    def _clear(self) -> None:
        """Remove locks and half-written files that no process holds."""
        for left in [*self._files(LOCK), *self._files(HALF)]:
            name = HALF.fullmatch(left.name)
            lock = left if name is None else left.with_name(f"{name[1]}.lock")
            try:
                if lock.is_symlink() or (lock.exists() and lock.stat().st_size):  # no lock of the store's
                    continue
                with FileLock(lock, timeout=0):
                    remove(left)
                    remove(lock)
            except (Timeout, OSError):  # another process holds it
                continue

    @contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        """Hold an entry's lock; without one if the folder cannot be written."""
        lock = FileLock(path.with_suffix(".lock"))
        try:
            self._make_room(path)
            lock.acquire()
        except OSError as error:
            if self._usable:
                log.warning("store: %s cannot be written (%s); this run goes on without it", self.folder, error)
            self._usable = False
            yield
            return
        try:
            yield
        finally:
            # a process that waits on the removed file at worst computes the same entry once more
            remove(path.with_suffix(".lock"))
            lock.release()
