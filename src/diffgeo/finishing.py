"""A study's files in the run folder: computed and drawn, or taken from the store as they were.

A finished study is stored as its files, bytes and all, so that a run which finds it there writes the same tables and
figures. It lies under the digest of the whole package's code, the model, what reads the pictures, and every setting but
those that change no number (tracking, device, folders).
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from diffgeo.data.images import list_images
from diffgeo.metrics.perceptual import lpips_weights
from diffgeo.models import shipped_folder
from diffgeo.models.base import weights_digest
from diffgeo.report.figures import draw, save_figure
from diffgeo.results import Result, atomic, write_result
from diffgeo.store import Record, code_version, file_digest
from diffgeo.studies import Context, run_study

__all__ = ["finish", "finished"]

log = logging.getLogger(__name__)

SILENT = ("study", "scale", "tracking", "store", "device")
"""Settings that change no number of a study; its own are added by themselves."""
CODE = (
    *("noise_schedule", "feature_map", "jacobian", "svd", "geometry", "editing", "data", "models", "sampling"),
    *("directions", "metrics", "results", "report/figures", "report/palette", "studies", "finishing"),
)
"""Code that a study's files depend on."""


def finish(name: str, context: Context, settings: Any, folder: Path) -> tuple[Result, dict[str, Path]]:
    """Execute a study and write its tables, tensors, directions and figures; or write those that the store has.

    Args:
        name: of the study.
        context: model, samples and settings; its store is asked first.
        settings: the study's own.
        folder: the run folder.

    Returns:
        The result (only its tables and scalars where it comes from the store), and its figures, name → PNG.

    Raises:
        OutputError: the folder cannot be written.
    """
    store, computed = context.store, []

    def compute() -> Record:
        result, files = _computed(name, context, settings, folder)
        computed.append(result)
        bytes_of = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
        tensors = {key: torch.from_numpy(np.frombuffer(data, np.uint8).copy()) for key, data in bytes_of.items()}
        return Record(tensors, {"scalars": result.scalars, "figures": _pngs(tensors), "complete": _complete(context)})

    if store is None:
        record = compute()
    else:
        record = store.fetch("studies", _determinants(name, context, settings), compute, keep=_is_complete)
    pictures = {Path(png).stem: folder / png for png in record.facts["figures"]}
    if computed:
        return computed[0], pictures
    log.info("%s: taken from the store", name)
    for key, tensor in record.tensors.items():
        with atomic(folder / key) as temporary:
            temporary.write_bytes(tensor.numpy().tobytes())
    return _stored(name, record), pictures


def finished(name: str, context: Context, settings: Any) -> Callable[[], bool]:
    """A question, cheap to ask: whether the store holds this study, as :func:`finish` takes it."""
    if context.store is None:
        return lambda: False
    return context.store.path("studies", _determinants(name, context, settings)).is_file


def _computed(name: str, context: Context, settings: Any, folder: Path) -> tuple[Result, list[Path]]:
    result = run_study(name, context, settings)
    files = write_result(result, folder)
    for stem, figure in draw(result).items():
        files += save_figure(figure, folder / "figures" / stem)
    return result, files


def _stored(name: str, record: Record) -> Result:
    """Tables and scalars of a stored study."""
    tables = {
        Path(key).stem: pd.read_parquet(io.BytesIO(tensor.numpy().tobytes()))
        for key, tensor in record.tensors.items()
        if key.endswith(".parquet")
    }
    more = {stem.removeprefix(f"{name}_"): table for stem, table in tables.items() if stem != name}
    return Result(name, tables[name], dict(record.facts["scalars"]), more_tables=more)


def _pngs(files: dict[str, Any]) -> list[str]:
    return [key for key in files if key.startswith("figures/") and key.endswith(".png")]


def _complete(context: Context) -> bool:
    return not context.interruption.requested


def _is_complete(record: Record) -> bool:
    return bool(record.facts["complete"])


def _determinants(name: str, context: Context, settings: Any) -> dict[str, Any]:
    cfg, model = context.cfg, context.model
    images = [] if cfg.data.images is None else list_images(cfg.data.images)
    return {
        "code": code_version(*CODE),
        "study": name,
        "own": asdict(settings),
        "run": {key: value for key, value in asdict(cfg).items() if key not in SILENT},
        "models": [one.fingerprint for one in (model, model.inverter, model.editor)],
        "source": model.source,
        "images": [[path.name, file_digest(path)] for path in images],
        "perceptual": context.perceptual.name,
        "read": {path.as_posix(): file_digest(path) for path in _files(context, settings)},
        "reader": _reader(context),
    }


def _files(context: Context, settings: Any) -> Iterator[Path]:
    """Files and folders, beside the model and the pictures, whose contents a study depends on."""
    cfg = context.cfg
    named = [getattr(cfg.predictor, "path", None), cfg.model.predictor, cfg.metric.identity]
    named += [*getattr(settings, "files", ()), *getattr(settings, "models", ())]
    if context.perceptual.name == "lpips":
        named.append(str(lpips_weights(cfg.metric.lpips_weights)))
    for one in filter(None, named):
        for path in (Path(one).expanduser(), shipped_folder(one)):
            if path.exists():
                yield path
                break


def _reader(context: Context) -> str | None:
    """The weights of a predictor that is no local file: CLIP from the hub."""
    network = getattr(context.predictor, "model", None)
    return weights_digest(network) if isinstance(network, torch.nn.Module) else None
