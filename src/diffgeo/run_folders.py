"""Folders of runs: new ones, and which files in a used one are a run's own, as its ``run.json`` tells.

Imports nothing heavy: a run that is refused before torch is loaded asks what an earlier one left.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from diffgeo.errors import OutputError

__all__ = ["FOLDERS", "PAGE", "belongs", "earlier_files", "listed", "new_folder", "remove"]

FOLDERS = ("tables", "figures", "tensors", "directions")
"""Folders of a run folder in which studies write their files."""
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


def earlier_files(folder: Path) -> list[str]:
    """Files of studies that an earlier run left in a run folder.

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
    return [] if facts is None else listed(folder, facts)


def is_manifest(facts: Any) -> bool:
    """Whether what a ``run.json`` holds is of a run of diffgeo."""
    return isinstance(facts, dict) and isinstance(facts.get("settings"), dict) and "status" in facts


def belongs(facts: Mapping[str, Any], file: str) -> bool:
    """Whether a file of a run folder is of the run that its ``run.json`` tells of.

    Args:
        facts: what ``run.json`` holds; if it lists no files (of an earlier version), a study's name decides.
        file: such as ``tables/discovery.parquet``.
    """
    if "files" in facts:
        return file in facts["files"]
    studies = (facts.get("settings") or {}).get("study") or {}
    stem = PurePosixPath(file).stem
    return any(stem == study or stem.startswith(f"{study}_") for study in studies)


def listed(folder: Path, facts: Mapping[str, Any]) -> list[str]:
    """Files that a run, and those before it, left in a run folder, as its ``run.json`` tells.

    Runs of earlier versions listed no files: there a table, figure or tensor of one of the run's studies counts if it
    lies there as those versions wrote it (tables as Parquet and CSV, figures as PNG and SVG). Their ``directions/``
    have no study's name, and stay.
    """
    if "files" in facts:
        named = [*facts["files"], *facts.get("earlier", ())]
    else:
        named = []
        for part, kinds in (
            ("tables", (".parquet", ".csv")),
            ("figures", (".png", ".svg")),
            ("tensors", (".safetensors",)),
        ):
            for path in sorted((folder / part).glob(f"*{kinds[0]}")):
                if belongs(facts, path.name) and all(path.with_suffix(kind).is_file() for kind in kinds):
                    named += [f"{part}/{path.stem}{kind}" for kind in kinds]
    return [str(file) for file in named]


def remove(folder: Path, files: Sequence[str]) -> None:
    """Remove files of an earlier run from the folders of studies; others, and what lies behind a link, stay.

    Raises:
        OutputError: one cannot be removed.
    """
    for file in files:
        parts, path = PurePosixPath(file).parts, folder / file
        if len(parts) == 2 and parts[0] in FOLDERS and parts[1] != ".." and not path.parent.is_symlink():
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise OutputError(
                    f"cannot remove {path} of an earlier run ({error.strerror or error})",
                    "choose another folder with hydra.run.dir=",
                ) from error
