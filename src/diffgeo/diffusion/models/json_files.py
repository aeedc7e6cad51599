"""JSON files of a pipeline that begin with a byte-order mark, as editors on Windows write them."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from diffgeo.errors import ModelError

__all__ = ["without_marks"]

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@contextmanager
def without_marks(folder: Path) -> Iterator[Path]:
    """The folder, or, if a JSON file of it begins with a byte-order mark, one of links with that file in plain UTF-8.

    diffusers, transformers and tokenizers read plain UTF-8 only.

    Args:
        folder: of a pipeline, with a sub-folder per part.

    Raises:
        ModelError: as within the block, the folder called by its own name; or a file is no text.
    """
    marked = {path: mark for path in (*folder.glob("*.json"), *folder.glob("*/*.json")) if (mark := _mark(path))}
    if not marked:
        yield folder
        return
    with TemporaryDirectory() as made:
        plain = Path(made)
        for path in (*folder.glob("*"), *folder.glob("*/*")):
            copy = plain / path.relative_to(folder)
            if path in marked:
                try:
                    copy.write_text(path.read_text(encoding=_MARKS[marked[path]]), encoding="utf-8")
                except ValueError as error:
                    raise ModelError(f"{path} cannot be read ({error})", "restore the file") from None
            elif path.is_dir():
                copy.mkdir()
            else:
                copy.symlink_to(path.resolve())
        try:
            yield plain
        except ModelError as error:
            own = (text.replace(str(plain), str(folder)) for text in (error.what, error.advice))
            raise type(error)(*own) from error


def _mark(path: Path) -> bytes | None:
    """The byte-order mark that a file begins with."""
    try:
        with path.open("rb") as file:
            start = file.read(3)
    except OSError:
        return None  # whoever needs it will say so
    return next((mark for mark in _MARKS if start.startswith(mark)), None)
