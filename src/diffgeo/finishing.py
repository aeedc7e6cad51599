"""A study's files in the run folder: computed and drawn, or taken from the store as they were.

A finished study is stored as its files, bytes and all, so that a run which finds it there writes the same tables and
figures. It lies under the digest of the whole package's code, the model, what reads the pictures, and every setting but
those that change no number (tracking, device, folders).
"""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from diffgeo.config import source_files
from diffgeo.data.images import list_images
from diffgeo.memory import device_name
from diffgeo.metrics.perceptual import lpips_weights
from diffgeo.models import shipped_folder
from diffgeo.models.base import weights_digest
from diffgeo.report.figures import draw, save_figure
from diffgeo.results import Result, atomic, write_result
from diffgeo.store import Record, code_version, file_digest
from diffgeo.studies import Context, run_study
from diffgeo.team import StudyDone

__all__ = ["assist", "finish", "finished"]

log = logging.getLogger(__name__)

SILENT = ("study", "scale", "tracking", "store", "device", "objective", "retries")
"""Settings that change no number of a study; its own are added by themselves."""
CODE = (
    *("noise_schedule", "memory", "feature_map", "compiled", "transposable", "jacobian", "svd", "geometry", "editing"),
    *("data", "models", "sampling", "directions", "metrics", "results", "studies"),
    *("report/charts", "report/figures", "report/formatting", "report/palette"),
    "finishing",
)
"""Code that a study's files depend on."""


def finish(name: str, context: Context, settings: Any, folder: Path) -> tuple[Result, dict[str, Path]]:
    """Execute a study and write its tables, tensors, directions and figures; or write those that the store has.

    Args:
        name: of the study.
        context: model, samples and settings; its store is asked first, and again between two items of the study.
        settings: the study's own.
        folder: the run folder.

    Returns:
        The result (only its tables and scalars where it comes from the store), and its figures, name → PNG.

    Raises:
        OutputError: the folder cannot be written.
    """
    if context.store is None:
        result, files = _computed(name, context, settings, folder)
        return result, {path.stem: path for path in files if path.suffix == ".png"}
    record, made = _found_or_made(name, context, settings, folder)
    pictures = {Path(png).stem: folder / png for png in record.facts["figures"]}
    if made is not None:
        return made, pictures
    log.info("%s: taken from the store", name)
    for key, tensor in record.tensors.items():
        with atomic(folder / key) as temporary:
            temporary.write_bytes(tensor.numpy().tobytes())
    return _stored(name, record), pictures


def assist(name: str, context: Context, settings: Any) -> None:
    """Do a study for another process of the run, which finds it in the store; nothing where it is there already."""
    with tempfile.TemporaryDirectory(prefix="diffgeo-") as folder:
        _found_or_made(name, context, settings, Path(folder))


def finished(name: str, context: Context, settings: Any) -> bool:
    """Whether the store holds this study, as :func:`finish` takes it."""
    store = context.store
    return store is not None and store.path("studies", _determinants(name, context, settings)).is_file()


def _found_or_made(name: str, context: Context, settings: Any, folder: Path) -> tuple[Record, Result | None]:
    """A study's record from the store and None; or made, with its files in ``folder``, and its result."""
    store, determinants = context.store, _determinants(name, context, settings)
    assert store is not None
    path = store.path("studies", determinants)

    def make() -> tuple[Record, Result]:
        result, files = _computed(name, context, settings, folder)
        contents = {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}
        tensors = {key: torch.from_numpy(np.frombuffer(data, np.uint8).copy()) for key, data in contents.items()}
        record = Record(tensors, {"scalars": result.scalars, "figures": _pngs(tensors)})
        if not context.interruption.requested:
            store.keep("studies", determinants, record)
        return record, result

    if (record := store.read(path)) is not None:
        return record, None
    # where it is damaged, and cannot be removed, nobody waits for it
    there = (lambda: False) if path.exists() else path.is_file
    with store.claimed(path) as mine:
        if not mine:
            with suppress(StudyDone), context.team.unless(there), context.team.ahead():
                run_study(name, context, settings)
        with suppress(StudyDone), context.team.unless(there):
            context.team.check()
            return make()
    record = store.read(path)
    return make() if record is None else (record, None)


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
        "probed_on": device_name(model.device) if getattr(cfg.svd, "probe", False) else None,
        "own metrics": [file_digest(path) for path in source_files(cfg.metric.extra)],
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
