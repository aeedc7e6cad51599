"""A study's files in the run folder: computed and drawn, or taken from the store as they were.

A finished study is stored as its files, bytes and all, so that a run which finds it there writes the same tables and
figures. It lies under the digest of the model, what reads the pictures, and every setting but those that change no
number (tracking, device, folders).
"""

from __future__ import annotations

import io
import logging
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch

from diffgeo.composition import results_depend_on
from diffgeo.convergence import Convergence
from diffgeo.diffusion.models.base import weights_digest
from diffgeo.errors import ConvergenceWarning
from diffgeo.jacobian.memory import device_name
from diffgeo.metrics.perceptual import alexnet_file
from diffgeo.report.figures import draw, save_figure
from diffgeo.results import Result, atomic, files_of, write_result
from diffgeo.session import Context
from diffgeo.session.digests import file_digest
from diffgeo.session.entries import Record
from diffgeo.session.inputs import module_digest, named_code, named_files, own_code
from diffgeo.session.processes import StudyDone
from diffgeo.studies import Study
from diffgeo.studies.shared.provenance import warn_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Finished:
    """A study that is done.

    Attributes:
        result: of the study; its tables and scalars only if it comes from the store.
        files: in the run folder.
        seconds: that it took to compute and draw, whenever that was.
        stored: whether it comes from the store.
    """

    result: Result
    files: list[Path]
    seconds: float
    stored: bool = False


Announce = Callable[[list[str]], None]
"""Is told files, relative to the run folder, before they are written there."""


def finish(study: Study, context: Context, settings: Any, folder: Path, announce: Announce) -> Finished:
    """Execute a study and write its tables, tensors, directions and figures; or write those that the store has.

    Args:
        study: the study.
        context: model, samples and settings; its store is asked first, and again between two items of the study.
        settings: the study's own.
        folder: the run folder.
        announce: is told the files.

    Raises:
        OutputError: the folder cannot be written.
    """
    if context.store is None:
        return _computed(study, context, settings, folder, announce)
    record, made = _found_or_made(study, context, settings, folder, announce)
    if made is not None:
        return made
    log.debug("%s: taken from the store", study.name)
    announce(list(record.tensors))
    for key, tensor in record.tensors.items():
        with atomic(folder / key) as temporary:
            temporary.write_bytes(tensor.numpy().tobytes())
    result, files = _stored(study.name, record), [folder / key for key in record.tensors]
    warn_of(result)
    return Finished(result, files, record.facts["seconds"], stored=True)


def assist(study: Study, context: Context, settings: Any) -> None:
    """Do a study for another process of the run, which finds it in the store; nothing if it is there already."""
    with tempfile.TemporaryDirectory(prefix="diffgeo-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the first process says it
        _found_or_made(study, context, settings, Path(folder), lambda _: None)


def finished(study: Study, context: Context, settings: Any) -> bool:
    """Whether the store holds this study, as :func:`finish` takes it."""
    store = context.store
    return store is not None and store.path("studies", _determinants(study, context, settings)).is_file()


def _found_or_made(
    study: Study, context: Context, settings: Any, folder: Path, announce: Announce
) -> tuple[Record, Finished | None]:
    """A study's record from the store and None; or made, with its files in ``folder``."""
    store, determinants = context.store, _determinants(study, context, settings)
    assert store is not None
    path = store.path("studies", determinants)

    def make() -> tuple[Record, Finished]:
        made = _computed(study, context, settings, folder, announce)
        contents = {file.relative_to(folder).as_posix(): file.read_bytes() for file in made.files}
        tensors = {key: torch.from_numpy(np.frombuffer(data, np.uint8).copy()) for key, data in contents.items()}
        facts = {
            "scalars": made.result.scalars,
            "seconds": made.seconds,
            "convergence": asdict(made.result.convergence),
        }
        record = Record(tensors, facts)
        if not context.interruption.requested:
            store.keep("studies", determinants, record)
        return record, made

    if (record := store.read(path)) is not None:
        return record, None
    # if it is damaged, and cannot be removed, no process waits for it
    there = (lambda: False) if path.exists() else path.is_file
    with store.claimed(path) as mine:
        if not mine:
            with suppress(StudyDone), context.processes.unless(there), context.processes.ahead():
                study.run(context, settings)
        with suppress(StudyDone), context.processes.unless(there):
            context.processes.check()
            return make()
    record = store.read(path)
    return make() if record is None else (record, None)


def _computed(study: Study, context: Context, settings: Any, folder: Path, announce: Announce) -> Finished:
    start = perf_counter()
    result = study.run(context, settings)
    announce(files_of(result))
    files, warning = write_result(result, folder), "" if result.convergence.complete else "not converged"
    figures = draw(study, result)
    announce([f"figures/{stem}{suffix}" for stem in figures for suffix in (".png", ".svg")])
    for stem, figure in figures.items():
        files += save_figure(figure, folder / "figures" / stem, warning=warning)
    return Finished(result, files, round(perf_counter() - start, 2))


def _stored(name: str, record: Record) -> Result:
    """Tables and scalars of a stored study."""
    tables = {
        Path(key).stem: pd.read_parquet(io.BytesIO(tensor.numpy().tobytes()))
        for key, tensor in record.tensors.items()
        if key.endswith(".parquet")
    }
    more = {stem.removeprefix(f"{name}_"): table for stem, table in tables.items() if stem != name}
    convergence = Convergence(**record.facts["convergence"])
    return Result(name, tables[name], dict(record.facts["scalars"]), more_tables=more, convergence=convergence)


def _determinants(study: Study, context: Context, settings: Any) -> dict[str, object]:
    cfg, model = context.cfg, context.model
    return {
        "study": study.name,
        "own": asdict(settings),
        "run": results_depend_on(asdict(cfg) | {"study": {}}),
        "models": [one.fingerprint for one in (model, model.inverter, model.editor)],
        "source": model.source,
        "images": context.pictures,
        "perceptual": context.perceptual.name,
        "known factors": list(context.known_factors),
        "read": _read(context, settings),
        "reader": _reader(context),
        "probed_on": device_name(model.device) if context.bases.spec.solver.measures else None,
        "own code": [*named_code(asdict(cfg)), *own_code(type(model))],
        "own study": None if study.folder is None else module_digest(study.package),
    }


def _read(context: Context, settings: Any) -> dict[str, str]:
    """Digests of the files that a study reads, beside those of the model and of the pictures, which count already."""
    cfg = context.cfg
    beside = replace(cfg, model=replace(cfg.model, path=""), data=replace(cfg.data, images=None), study={})
    found = named_files(beside) | named_files(settings)
    if context.perceptual.name == "lpips" and (alexnet := alexnet_file(cfg.metric.lpips_weights)).is_file():
        found[alexnet.as_posix()] = file_digest(alexnet)
    return found


def _reader(context: Context) -> str | None:
    """The weights of a predictor that is no local file: CLIP from the hub."""
    network = getattr(context.predictor, "model", None)
    return weights_digest(network) if isinstance(network, torch.nn.Module) else None
