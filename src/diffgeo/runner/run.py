"""One run: load, execute every study of the list, write, mirror.

The run folder holds ``tables/`` (Parquet and CSV), ``figures/`` (PNG and SVG), ``tensors/`` (safetensors),
``run.json`` (:mod:`diffgeo.runner.manifest`), Hydra's ``.hydra/config.yaml``, the log, and ``report.html``, a page made
of all that however the run ended.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path

from diffgeo.composition import check
from diffgeo.config import Config, Plain
from diffgeo.errors import ConvergenceWarning, DataError
from diffgeo.results import clear_temporary
from diffgeo.runner.console import Story
from diffgeo.runner.durations import expected
from diffgeo.runner.finish import assist, finish
from diffgeo.runner.helpers import helpers
from diffgeo.runner.manifest import manifest_of
from diffgeo.runner.prepare import prepare
from diffgeo.runner.tracking import run_name, tracking
from diffgeo.session import Context
from diffgeo.session.processes import is_first
from diffgeo.session.progress import Interruption
from diffgeo.studies import study_named
from diffgeo.studies.shared.provenance import asked_times


def execute(
    cfg: Config, folder: Path, earlier: Context | None = None, *, began: float | None = None
) -> tuple[dict[str, dict[str, float]], Context]:
    """Run the studies that ``cfg.study`` lists.

    Args:
        cfg: typed settings.
        folder: the run folder.
        earlier: context of an earlier run in this process; its model, latents and bases are used again where the
            settings that they depend on are the same.
        began: when the user started it, on the clock of :func:`time.perf_counter`; now if None.

    Returns:
        Scalars by study, and the context. A process that only helps the first one writes nothing, and has no scalars.

    Raises:
        DataError: no study measured anything.
        DiffgeoError: anything else that a user can mend; tables written until then stay.
        Ended: Ctrl-C, SIGTERM or SIGHUP, after the finished samples were written.
    """
    scalars: dict[str, dict[str, float]] = {}
    interruption = Interruption()
    if not is_first():
        return scalars, _help(cfg, interruption, earlier)
    with quiet(), manifest_of(cfg, folder, scalars, began) as manifest:
        facts = manifest.facts
        check(cfg)
        clear_temporary(folder)
        context = prepare(cfg, interruption, earlier)
        facts["model"] = {
            "name": context.model.name,
            "source": context.model.source,
            "digest": context.model.digest,
            **context.model.conditioning,
        }
        facts["device"] = str(context.model.device)
        facts["processes"] = context.processes.size
        facts["samples"] = [sample.name for sample in context.samples]
        facts["times"] = _times(context)
        mirror = replace(cfg.tracking, name=cfg.tracking.name or run_name(context.model.name, list(cfg.study)))
        with (
            tracking(mirror, folder, asdict(cfg)) as tracker,
            manifest.ending(tracker),
            interruption.listening(),
            context.model.held(),
        ):
            manifest.clear_earlier()
            seconds = expected(context, folder)
            story = Story(folder, facts, seconds, context.processes.size)
            alone = not any(one != 0 for one in seconds.values())  # the store has all studies
            with nullcontext() if alone else helpers(context.processes, execute, cfg, folder):
                for name, settings in cfg.study.items():
                    study = study_named(name)
                    story.begin(study)
                    with context.display.headed(story.progress):
                        done = finish(study, context, settings, folder, manifest.announce)
                    scalars[name] = done.result.scalars
                    manifest.add(name, done)
                    tracker.log_result(done.result, {path.stem: path for path in done.files if path.suffix == ".png"})
                    story.tell(study, done)
                    interruption.stop_if_requested()
            story.end(manifest.seconds)
            if not any(story.measured.values()):
                raise DataError("nothing was measured: no study left a row", "the log says why each of them did not")
    return scalars, context


def _help(cfg: Config, interruption: Interruption, earlier: Context | None) -> Context:
    """Work through the studies beside the first process, which finds in the store what was computed here."""
    with quiet():
        check(cfg)
        context = prepare(cfg, interruption, earlier)
        with interruption.listening():
            for name in context.processes.from_both_ends(list(cfg.study)):
                assist(study_named(name), context, cfg.study[name])
                interruption.stop_if_requested()
    return context


def _times(context: Context) -> Plain:
    """The timesteps that a run uses, by the names of what was asked for, for ``run.json``."""
    schedule, times = context.model.schedule, dict[str, int]()
    for settings in context.cfg.study.values():
        times |= asked_times(context, settings)
    known = {name: (t, schedule.fraction(t), schedule.log_snr(t)) for name, t in times.items()}
    return {
        name: {"t": t, "t_frac": t_frac, "log_snr": snr if math.isfinite(snr) else None}
        for name, (t, t_frac, snr) in known.items()
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Send warnings to the log, less those of libraries about their own future."""
    formatted = warnings.formatwarning

    def worded(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if issubclass(category, ConvergenceWarning):
            return str(message)
        return formatted(message, category, filename, lineno, line)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"(torch|diffusers)\b")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.formatwarning = worded
        logging.captureWarnings(True)
        try:
            yield
        finally:
            logging.captureWarnings(False)
            warnings.formatwarning = formatted
