"""A content-addressed store of results: each lies under the digest of exactly what determines it.

An entry is one safetensors file, ``STAGE/ab/DIGEST.safetensors``, with its determinants, readable, and a checksum in
its header. It is written to a temporary name and renamed, so it is there whole or not at all. Several processes may
share a store: whoever computes an entry holds its lock, and the others wait for it. An entry that fails its checksum is
reported, removed and computed again. Nothing in an entry is executed.

The store only saves time: where it cannot be written, a warning says so once and the run goes on without it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from platformdirs import user_cache_path
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from diffgeo.errors import OutputError

__all__ = ["ENVIRONMENT", "Entry", "Record", "Store", "code_version", "digest", "file_digest", "store_folder"]

log = logging.getLogger(__name__)

KEY = "diffgeo.session.store"
ENVIRONMENT = "DIFFGEO_STORE"
"""Environment variable: another folder for the store, or empty for none."""
TEMPORARY = ".tmp-"
_CHECK_EVERY = 256 * 2**20
"""Bytes written between two looks at the size of the whole store."""


@dataclass(frozen=True)
class Record:
    """What an entry holds.

    Attributes:
        tensors: name → tensor.
        facts: plain JSON.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


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


def store_folder() -> Path | None:
    """Where the store is if nobody says: :data:`ENVIRONMENT`, else the user's cache folder; None where it is off."""
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
    """

    def __init__(self, folder: str | Path, *, max_bytes: int = 20 * 10**9) -> None:
        self.folder, self.max_bytes = Path(folder).expanduser(), max_bytes
        self.hits = self.misses = 0
        self._written, self._usable = _CHECK_EVERY, True

    def fetch(
        self,
        stage: str,
        determinants: Mapping[str, Any],
        compute: Callable[[], Record],
        *,
        keep: Callable[[Record], bool] = lambda _: True,
    ) -> Record:
        """The stored record, or the computed one, which is then stored.

        Args:
            stage: kind of result, a plain word; the first folder of its path.
            determinants: all that the result depends on, as :func:`digest` takes it.
            compute: makes the record; not called where it is stored.
            keep: whether a computed record is worth storing.
        """
        path = self.path(stage, determinants)
        found = self.read(path)
        if found is not None:
            return found
        with self._locked(path):
            found = self.read(path)  # somebody else may have been quicker
            if found is None:
                self.misses += 1
                found = compute()
                if keep(found):
                    self.write(path, stage, determinants, found)
        return found

    def keep(self, stage: str, determinants: Mapping[str, Any], record: Record) -> None:
        """Store a record that was computed outside :meth:`fetch`, unless somebody was quicker."""
        path = self.path(stage, determinants)
        with self._locked(path):
            if not path.is_file():
                self.write(path, stage, determinants, record)

    @contextmanager
    def claimed(self, path: Path) -> Iterator[bool]:
        """Whether this process alone is at an entry while the block runs; True, too, where the folder is read-only."""
        lock = FileLock(path.with_suffix(".claim"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
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
            _remove(path.with_suffix(".claim"))
            lock.release()

    def path(self, stage: str, determinants: Mapping[str, Any]) -> Path:
        """Where an entry lies, or would."""
        name = digest({"stage": stage, **determinants})
        return self.folder / stage / name[:2] / f"{name}.safetensors"

    def read(self, path: Path) -> Record | None:
        """An entry's record; None where there is none, or where it is damaged: then it is removed."""
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
        """An entry's record; None where there is none, or where the system does not let us read it."""
        if not path.is_file():
            return None
        try:
            return _load(path)
        except FileNotFoundError:  # somebody pruned it meanwhile
            return None
        except OSError as error:
            log.warning("store: %s cannot be read (%s); it is computed again", path, error.strerror or error)
            return None
        except (SafetensorError, ValueError, KeyError) as error:
            log.warning("store: %s is damaged (%s); it is computed again", path, " ".join(str(error).split())[:120])
            _remove(path)
            raise _DamagedError from error

    def write(self, path: Path, stage: str, determinants: Mapping[str, Any], record: Record) -> None:
        """Store a record; where that fails, warn once and store nothing more."""
        if not self._usable:
            return
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in record.tensors.items()}
        header = {"stage": stage, "determinants": _readable(determinants), "facts": record.facts}
        header["checksum"] = _checksum(tensors, record.facts)
        temporary = path.with_name(f"{TEMPORARY}{path.stem}-{os.getpid()}.safetensors")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for left in path.parent.glob(f"{TEMPORARY}{path.stem}-*"):  # of a process that was killed: we hold the lock
                left.unlink(missing_ok=True)
            save_file(tensors, temporary, {KEY: json.dumps(header)})
            os.replace(temporary, path)
        except (OSError, SafetensorError) as error:
            _remove(temporary)
            self._usable = False
            log.warning("store: %s cannot be written (%s); this run goes on without it", self.folder, error)
            return
        self._written += path.stat().st_size
        if self._written >= _CHECK_EVERY:
            self._written = 0
            self.prune()

    def entries(self) -> Iterator[Entry]:
        """All entries, in no order."""
        for path in self.folder.glob("*/??/*.safetensors"):
            if path.name.startswith(TEMPORARY):
                continue
            try:
                facts = path.stat()
            except OSError:  # somebody removed it meanwhile
                continue
            yield Entry(path, path.parent.parent.name, facts.st_size, facts.st_mtime)

    def prune(self, max_bytes: int | None = None) -> list[Entry]:
        """Remove the entries used least recently until the store is no larger than ``max_bytes``.

        Also clears what killed processes left: temporary files whose lock nobody holds.

        Returns:
            The removed entries.
        """
        most = self.max_bytes if max_bytes is None else max_bytes
        entries = sorted(self.entries(), key=lambda entry: entry.used)
        total, removed = sum(entry.size for entry in entries), []
        for entry in entries:
            if total <= most:
                break
            _remove(entry.path)
            total -= entry.size
            removed.append(entry)
        self._clear()
        return removed

    def verify(self) -> list[Path]:
        """Read every entry, remove the damaged ones and name them; what was used least recently stays so."""
        damaged = []
        for entry in self.entries():
            try:
                self.hits += self._sound(entry.path) is not None
            except _DamagedError:
                damaged.append(entry.path)
        return damaged

    def _clear(self) -> None:
        for left in [*self.folder.glob("*/??/*.lock"), *self.folder.glob("*/??/*.claim")]:
            try:
                with FileLock(left, timeout=0):
                    _remove(left)
            except (Timeout, OSError):  # somebody holds it
                continue
        for left in self.folder.glob(f"*/??/{TEMPORARY}*"):
            name = left.name.removeprefix(TEMPORARY).rpartition("-")[0]
            try:
                with FileLock(left.with_name(f"{name}.lock"), timeout=0):
                    _remove(left)
                    _remove(left.with_name(f"{name}.lock"))
            except (Timeout, OSError):  # somebody is writing it
                continue

    @contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        """Hold an entry's lock; without one where the folder cannot be written."""
        lock = FileLock(path.with_suffix(".lock"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
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
            _remove(path.with_suffix(".lock"))
            lock.release()


def digest(value: Any) -> str:
    """SHA-256 of plain JSON, dataclasses and paths, mappings in any order; tensors count by dtype, shape and bytes.

    Raises:
        TypeError: the value holds something else.
    """
    return hashlib.sha256(json.dumps(_readable(value), sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, or of all files of a folder with their names.

    Raises:
        OutputError: it cannot be read.
    """
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    total = hashlib.sha256()
    try:
        for file in files:
            with file.open("rb") as opened:
                inner = hashlib.file_digest(opened, "sha256").hexdigest()
            total.update(f"{file.relative_to(path).as_posix()} {inner}\n".encode())
    except OSError as error:
        raise OutputError(f"cannot read {path} ({error.strerror or error})", "check its permissions") from error
    return total.hexdigest()


@cache
def code_version(*parts: str) -> str:
    """SHA-256 of source files of this package, modules or folders by name: results of other code are not ours."""
    root = Path(__file__).resolve().parents[1]
    total = hashlib.sha256()
    for part in sorted(parts):
        folder = root / part
        files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
        for file in files:
            total.update(f"{file.relative_to(root).as_posix()}\n".encode() + file.read_bytes())
    return total.hexdigest()


def _readable(value: Any) -> Any:
    """Plain JSON in which tensors stand as their digests."""
    if isinstance(value, Tensor):
        plain = value.detach().cpu().contiguous()
        head = f"{plain.dtype} {tuple(plain.shape)}"
        return f"{head} {hashlib.sha256(plain.flatten().view(torch.uint8).numpy().tobytes()).hexdigest()}"
    if is_dataclass(value) and not isinstance(value, type):
        return _readable(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _readable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_readable(one) for one in value]
    if isinstance(value, Path):
        return value.as_posix()
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"{type(value).__name__} has no digest")


def _checksum(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> str:
    return digest({"tensors": tensors, "facts": facts})


def _load(path: Path) -> Record:
    with safe_open(path, "pt") as opened:
        header = json.loads((opened.metadata() or {})[KEY])
        tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118  # not a mapping
    if _checksum(tensors, header["facts"]) != header["checksum"]:
        raise ValueError("its checksum differs")
    return Record(tensors, header["facts"])


def _remove(path: Path) -> None:
    with suppress(OSError):  # a store may be read-only
        path.unlink(missing_ok=True)
