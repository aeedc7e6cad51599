"""What a study returns, how it reaches the disk (whole or not at all), and which files of a run folder are the run's.

A run folder may be used again, and may hold files of the user's. ``run.json`` lists the files of the run (``files``),
and those that an earlier run left there (``earlier``) until they are removed: only listed files are ever removed.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from diffgeo.convergence import Convergence
from diffgeo.diffusion.direction_files import Directions, save_directions
from diffgeo.errors import OutputError
from diffgeo.files import create, save_tensors
from diffgeo.run_folders import FOLDERS

Row = dict[str, Any]
"""A row of a table while it is made: value by column."""

TEMPORARY = ".tmp-"
_HALF = re.compile(re.escape(TEMPORARY) + r".+-[0-9a-f]{8}(\.\w+)?")


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one study.

    Attributes:
        study: its name; every file carries it.
        table: tidy, one row per measured thing, with the settings that produced it.
        scalars: headline numbers, name → value.
        tensors: what does not fit a table (pictures, bases), name → tensor.
        directions: direction sets, name → set, written as ``directions/NAME.safetensors``.
        more_tables: further tidy tables, name → table, written as STUDY_NAME.
        convergence: of the local bases that the study used.
    """

    study: str
    table: pd.DataFrame
    scalars: dict[str, float] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    more_tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    directions: dict[str, Directions] = field(default_factory=dict)
    convergence: Convergence = field(default_factory=Convergence)

    def tables(self) -> dict[str, pd.DataFrame]:
        """All tables by file stem, the main one first."""
        return {self.study: self.table, **{f"{self.study}_{k}": v for k, v in self.more_tables.items()}}


def frames_of(pictures: Tensor) -> Tensor:
    """Pictures in [−1, 1] as files have them, uint8."""
    return ((pictures.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Write to a temporary file beside ``path`` and rename it at the end; its mode is what the umask says.

    Yields:
        The temporary path, with the suffix of ``path``.

    Raises:
        OutputError: the folder or the file cannot be written (read-only, disk full); nothing is left behind.
    """
    temporary = path.with_name(f"{TEMPORARY}{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    made = False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = create(temporary)
        made = True
        yield temporary
        os.chmod(temporary, mode)  # some writers replace the file
        os.replace(temporary, path)
    except BaseException as error:
        if made:
            temporary.unlink(missing_ok=True)
        if _is_write_failure(error):
            raise OutputError(
                f"cannot write {path} ({_reason(error)})",
                "free some space or choose another folder with hydra.run.dir=",
            ) from error
        raise


def clear_temporary(folder: Path) -> None:
    """Remove what :func:`atomic` left in a run folder when its process was killed; nothing by a link."""
    for place in (folder, *(folder / name for name in FOLDERS)):
        if place.is_dir() and (place == folder or not place.is_symlink()):
            for left in place.iterdir():
                if _HALF.fullmatch(left.name) and left.is_file():
                    with suppress(OSError):
                        left.unlink(missing_ok=True)


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, in which no spreadsheet takes a text (a file's name, say) for a formula.

    Texts that begin with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return get an apostrophe in front, unless they
    are numbers (OWASP, CSV injection); Parquet has them as they are.

    Args:
        table: any.
        path: of the file.
    """
    texts = [column for column in table if not pd.api.types.is_numeric_dtype(table[column])]
    table.assign(**{str(column): table[column].map(_inert) for column in texts}).to_csv(path, index=False)


def _inert(cell: object) -> object:
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def write_result(result: Result, folder: Path) -> list[Path]:
    """Tables as Parquet and CSV, tensors and directions as safetensors, each kind in its folder under ``folder``.

    Returns:
        The files, in the order written.

    Raises:
        OutputError: as :func:`atomic`.
    """
    written = []
    for stem, table in result.tables().items():
        for suffix in (".parquet", ".csv"):
            path = folder / "tables" / f"{stem}{suffix}"
            with atomic(path) as temporary:
                if suffix == ".csv":
                    write_csv(table, temporary)
                else:
                    table.to_parquet(temporary, index=False)
            written.append(path)
    if result.tensors:
        path = folder / "tensors" / f"{result.study}.safetensors"
        with atomic(path) as temporary:
            save_tensors(temporary, {k: v.contiguous().cpu() for k, v in result.tensors.items()})
        written.append(path)
    for name, directions in result.directions.items():
        path = folder / "directions" / f"{name}.safetensors"
        with atomic(path) as temporary:
            save_directions(temporary, directions)
        written.append(path)
    return written


def files_of(result: Result) -> list[str]:
    """What :func:`write_result` will write, relative to the run folder."""
    tables = [f"tables/{stem}{suffix}" for stem in result.tables() for suffix in (".parquet", ".csv")]
    tensors = [f"tensors/{result.study}.safetensors"] if result.tensors else []
    return [*tables, *tensors, *(f"directions/{name}.safetensors" for name in result.directions)]


def _is_write_failure(error: BaseException) -> bool:
    # safetensors reports a full disk as its own error, with the system's text
    return isinstance(error, OSError) or type(error).__name__ == "SafetensorError"


def _reason(error: BaseException) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
