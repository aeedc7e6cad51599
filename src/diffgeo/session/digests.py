"""Digests: of values and of files, and of the code that a result depends on.

A key of the store is the digest of everything that determines the result. Equal digests mean equal values, of equal
types where classes are concerned.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffgeo.errors import OutputError

NO_RESULTS = (
    *("__main__", "api", "cli", "explore", "runner/console", "runner/dry_run", "runner/durations"),
    *(
        f"report/{name}"
        for name in ("page", "findings", "pictures", "reading", "summaries", "tables", "traversals", "verdicts")
    ),
    *("report/comparison", "report/runs", "studies/*/findings", "studies/*/page"),
)
"""Modules and folders of this package that compute nothing that is stored: command lines, runs from Python, explorer,
and what pages and comparisons of runs make of tables that are there. ``*`` stands for any study."""
LIBRARIES = (
    *("torch", "torchvision", "diffusers", "transformers", "onnxruntime", "lpips"),
    *("numpy", "scipy", "pandas", "scikit-learn", "torchmetrics"),
    *("matplotlib", "pillow", "altair", "vl-convert-python", "pyarrow"),
)
"""Packages whose versions results depend on, as far as installed: networks, numbers, files of figures and tables."""


def digest(value: Any) -> str:
    """SHA-256 of plain JSON, dataclasses and paths, mappings in any order.

    Tensors count by dtype, shape and bytes, dataclasses by their class and fields.

    Raises:
        TypeError: the value holds something else.
    """
    return hashlib.sha256(json.dumps(readable(value), sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, or of all files of a folder with their names, less what Python keeps of modules there.

    Raises:
        OutputError: it cannot be read.
    """
    files = (
        [path]
        if path.is_file()
        else sorted(p for p in path.rglob("*") if p.is_file() and p.parent.name != "__pycache__")
    )
    total = hashlib.sha256()
    try:
        for file in files:
            with file.open("rb") as opened:
                inner = hashlib.file_digest(opened, "sha256").hexdigest()
            total.update(f"{file.relative_to(path).as_posix()} {inner}\n".encode())
    except OSError as error:
        raise OutputError(f"cannot read {path} ({error.strerror or error})", "check its permissions") from error
    return total.hexdigest()


def makes_no_results(file: Path) -> bool:
    """Whether a file is of :data:`NO_RESULTS`.

    Args:
        file: relative to the package's folder.
    """
    places = [place.as_posix() for place in (file.with_suffix(""), *file.parents)]
    return any(fnmatchcase(place, part) for part in NO_RESULTS for place in places)


@cache
def code_version(package: Path | None = None) -> str:
    """SHA-256 of the code that makes results, which every entry's name holds: results of other code are not ours.

    That is this package less :data:`NO_RESULTS`, and the versions of the libraries that compute.

    Args:
        package: a folder with a copy of it; its own if None.
    """
    root = Path(__file__).resolve().parents[1] if package is None else package
    total = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        name = file.relative_to(root)
        if not makes_no_results(name):
            total.update(f"{name.as_posix()} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    for library in LIBRARIES:
        with suppress(PackageNotFoundError):
            total.update(f"{library} {version(library)}\n".encode())
    return total.hexdigest()


def readable(value: Any) -> Any:
    """Plain JSON in which tensors stand as their digests."""
    if isinstance(value, Tensor):
        plain = value.detach().cpu().contiguous()
        head = f"{plain.dtype} {tuple(plain.shape)}"
        return f"{head} {hashlib.sha256(plain.flatten().view(torch.uint8).numpy().tobytes()).hexdigest()}"
    if is_dataclass(value) and not isinstance(value, type):
        # two classes with equal fields are two things: solvers, say
        name = f"{type(value).__module__}.{type(value).__qualname__}"
        return {"class": name, "fields": {f.name: readable(getattr(value, f.name)) for f in fields(value)}}
    if isinstance(value, Mapping):
        return {str(key): readable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [readable(one) for one in value]
    if isinstance(value, Path):
        return value.as_posix()
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"{type(value).__name__} has no digest")
