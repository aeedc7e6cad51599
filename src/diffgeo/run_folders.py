"""Folders of runs: new ones, and which files in a used one are a run's own, as its ``run.json`` tells.

Imports nothing heavy: a run that is refused before torch is loaded asks what an earlier one left.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock, Timeout

from diffgeo.errors import OutputError

FOLDERS = ("tables", "figures", "tensors", "directions")
"""Folders of a run folder in which studies write their files."""
_KINDS = {"tables": (".parquet", ".csv"), "figures": (".png", ".svg"), "tensors": (".safetensors",)}
"""Kinds of the files whose names begin with those of studies, by folder."""
LOCK = ".run.lock"
"""Held while a run writes into its folder."""
PAGE = "report.html"
"""The page of a run."""


def new_folder(folder: Path) -> Path:
    """Make a folder that was not there; if it was, the same with -2, -3 and so on.

    Of several processes that ask at once, each gets one of its own.

    Returns:
        The folder that was made.

    Raises:
        OSError: it cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    made, number = folder, 1
    while True:
        try:
            made.mkdir()
        except FileExistsError:
            number += 1
            made = folder.with_name(f"{folder.name}-{number}")
        else:
            return made


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Have a run folder to oneself while the block runs; blocks of one process may be nested.

    On a file system without locks, or that cannot be written (which the run meets soon enough), nothing is held.

    Args:
        folder: of the run, or of the sweep; made if it is not there.

    Raises:
        OutputError: another process holds it.
    """
    lock = FileLock(folder / LOCK, timeout=0, is_singleton=True)
    outermost = not lock.is_locked
    mine = True
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise OutputError(
            f"another run is writing into {folder}", "choose another folder (hydra.run.dir=, hydra.sweep.dir=, or out=)"
        ) from None
    except (OSError, NotImplementedError):
        mine = False
    try:
        yield
    finally:
        if mine and outermost:
            with suppress(OSError):
                (folder / LOCK).unlink(missing_ok=True)
        if mine:
            lock.release()


def earlier_files(folder: Path, studies: Collection[str]) -> list[str]:
    """Files of studies that an earlier run left in a run folder.

    Args:
        folder: of the run.
        studies: that are to write there.

    Raises:
        OutputError: files are in the way that another program wrote.
    """
    path = folder / "run.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        facts = None
    except (OSError, ValueError):
        facts = {}
    if not is_manifest(facts) and (facts is not None or (folder / PAGE).exists()):
        other = path if facts is not None else folder / PAGE
        raise OutputError(f"{other} is not of a run of diffgeo", "choose another folder with hydra.run.dir=")
    ours = [] if facts is None else [str(file) for file in (*facts.get("files", ()), *facts.get("earlier", ()))]
    for part, kinds in _KINDS.items():
        for file in sorted((folder / part).glob("*")):
            if file.suffix in kinds and _is_of(file.stem, studies) and file.relative_to(folder).as_posix() not in ours:
                raise in_the_way(file)
    return ours


def in_the_way(file: Path) -> OutputError:
    """The error of a file that a run would replace, and that no run wrote."""
    return OutputError(
        f"{file} is in the way, and no run of diffgeo tells of it",
        "move it, or choose another folder with hydra.run.dir=",
    )


def is_manifest(facts: Any) -> bool:
    """Whether what a ``run.json`` holds is of a run of diffgeo."""
    return isinstance(facts, dict) and isinstance(facts.get("settings"), dict) and "status" in facts


def belongs(facts: Mapping[str, Any], file: str) -> bool:
    """Whether a file of a run folder is of the run that its ``run.json`` tells of.

    Args:
        facts: what ``run.json`` holds.
        file: such as ``tables/discovery.parquet``.
    """
    return file in facts.get("files", ())


def _is_of(stem: str, studies: Iterable[str]) -> bool:
    """Whether a file is called as studies call theirs."""
    return any(stem == study or stem.startswith(f"{study}_") for study in studies)


def remove(folder: Path, files: Sequence[str], places: Sequence[str] = FOLDERS, key: str = "hydra.run.dir=") -> None:
    """Remove files of an earlier run, or report; what lies elsewhere than it writes, or behind a link, stays.

    Args:
        folder: of the run.
        files: as its list has them, relative to the folder.
        places: folders within it that they may lie in; an empty text is the folder itself.
        key: of the setting that names the folder.

    Raises:
        OutputError: one cannot be removed.
    """
    for file in files:
        path, parts = folder / file, PurePosixPath(file).parts
        if "/".join(parts[:-1]) not in places or parts[-1:] in ((), ("..",)) or path.parent.is_symlink():
            continue
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot remove {path} of an earlier run ({error.strerror or error})",
                f"choose another folder with {key}",
            ) from error
