"""Mirror a run to Weights & Biases; the only module that imports wandb.

The run folder is the record, W&B a mirror of it: offline unless told otherwise.
"""

from __future__ import annotations

import glob
import logging
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from diffgeo.config import Plain, TrackingConfig
from diffgeo.errors import ConfigError
from diffgeo.report import formatting
from diffgeo.results import Result

log = logging.getLogger(__name__)

_LONGEST = 120
"""Characters of a run's name; W&B takes 128."""
NOT_CONVERGED = "not converged"
"""Tag of a run some of whose local bases missed their tolerance."""
_NAMED = 3
"""Studies that a run's name lists."""


def run_name(model: str, studies: Sequence[str]) -> str:
    """What a run is called in W&B unless ``tracking.name`` says: ``factor faces: discovery, spectrum``."""
    shown = list(studies) if len(studies) <= _NAMED + 1 else [*studies[:_NAMED], f"{len(studies) - _NAMED} more"]
    return _shortened(f"{formatting.name(model)}: {', '.join(map(formatting.name, shown))}")


def job_name(overrides: Sequence[str], fixed: Sequence[str] = ()) -> str:
    """What a job of a sweep is called: the words of its command line, first those that differ from job to job."""
    swept = [word for word in overrides if word not in fixed]
    words = [*swept, *(word for word in overrides if word in fixed and not word.lstrip("+").startswith("tracking"))]
    return _shortened(" ".join(words))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


class Tracker(Protocol):
    """Where results are mirrored to."""

    def log_result(self, result: Result, pictures: dict[str, Path]) -> None:
        """Mirror a study: scalars as ``STUDY/NAME``, tables, and figures (name → PNG).

        How many of its local bases missed their tolerance is ``STUDY/unconverged_bases`` of the run's summary; if any
        did, the run has the tag ``not converged``.
        """

    def log_page(self, page: Path) -> None:
        """Keep the run's page beside its other files."""


class _NoTracker:
    def log_result(self, result: Result, pictures: dict[str, Path]) -> None:
        pass

    def log_page(self, page: Path) -> None:
        pass


class _WandbTracker:
    """A mirror that fails does not cost the run: what goes wrong is a warning in its log."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def log_result(self, result: Result, pictures: dict[str, Path]) -> None:
        with _warned(f"{result.study} is missing there"):
            self._log_result(result, pictures)

    def _log_result(self, result: Result, pictures: dict[str, Path]) -> None:
        import wandb

        entries: dict[str, object] = {f"{result.study}/{key}": value for key, value in result.scalars.items()}
        for stem, table in result.tables().items():
            # from a data frame itself it takes four times as long
            rows: list[Iterable[Any]] = [*table.astype(object).to_numpy().tolist()]
            entries[f"tables/{stem}"] = wandb.Table(columns=list(table.columns), data=rows)
        entries |= {f"figures/{stem}": wandb.Image(str(path)) for stem, path in pictures.items()}
        self._run.log(entries)
        for scalar, value in result.scalars.items():
            self._run.summary[f"{result.study}/{scalar}"] = value
        found = result.convergence
        if found.bases:
            self._run.summary[f"{result.study}/unconverged_bases"] = found.missed
        if not found.complete and NOT_CONVERGED not in (tags := self._run.tags or ()):
            self._run.tags = (*tags, NOT_CONVERGED)

    def log_page(self, page: Path) -> None:
        # as a file of the run, which an offline run links to: wandb.Html and artifacts would copy megabytes
        with _warned("the page is missing there"):
            self._run.save(glob.escape(str(page)), base_path=glob.escape(str(page.parent)), policy="now")

    def finish(self, exit_code: int) -> None:
        with _warned("its record may be incomplete"):
            self._run.finish(exit_code=exit_code)
            if self._run.settings.mode == "offline":
                log.info("To sync with W&B: wandb sync %s", shlex.quote(str(Path(self._run.dir).parent)))


@contextmanager
def _warned(effect: str) -> Iterator[None]:
    """Log what goes wrong in W&B."""
    try:
        yield
    except Exception as error:
        log.warning(
            "W&B: %s (%s: %s); the run goes on", effect, type(error).__name__, " ".join(str(error).split())[:300]
        )


@contextmanager
def _folders_inside(folder: Path, mode: str) -> Iterator[None]:
    """Have W&B write its logs and caches beside its records, as the home folder may not be writable.

    Online its settings stay in the home folder: they may name a server.
    """
    names = ("CACHE", "DATA") if mode == "online" else ("CACHE", "DATA", "CONFIG")
    ours = {f"WANDB_{name}_DIR": str(folder / "wandb" / name.lower()) for name in names}
    ours = {key: value for key, value in ours.items() if key not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for key in ours:
            os.environ.pop(key, None)


@contextmanager
def tracking(cfg: TrackingConfig, folder: Path, config: Plain) -> Iterator[Tracker]:
    """A tracker for the duration of a run.

    Args:
        cfg: which backend, and where to.
        folder: the run folder; W&B writes to ``folder/wandb``.
        config: the resolved settings, plain.

    Raises:
        ConfigError: W&B refuses a setting, or is to be online and the server is out of reach or no user is logged in.
    """
    if cfg.backend == "none":
        yield _NoTracker()
        return
    with _folders_inside(folder.resolve(), cfg.mode):
        run = _started(cfg, folder, config)
        if run is None:
            yield _NoTracker()
            return
        tracker, exit_code = _WandbTracker(run), 1
        try:
            yield tracker
            exit_code = 0
        finally:
            tracker.finish(exit_code)


def _started(cfg: TrackingConfig, folder: Path, config: Plain) -> Any:
    """W&B's run; None if it cannot be had offline, which costs the mirror only. Raises as :func:`tracking`."""
    import wandb

    try:
        return wandb.init(
            project=cfg.project,
            entity=cfg.entity,
            group=cfg.group,
            name=cfg.name,
            tags=cfg.tags,
            job_type="run",
            dir=str(folder),
            mode="online" if cfg.mode == "online" else "offline",
            config=config,
            reinit="finish_previous",
            # files are linked hard, so that a run folder can be moved
            settings=wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True, symlink=False),
        )
    except (wandb.errors.UsageError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        # without a login, being online is a wrong use as well
        advice = "log in with `wandb login`, or use tracking=wandb_offline or tracking=none"
        if cfg.mode != "online":
            advice = "correct tracking.… or W&B's environment variable, or use tracking=none"
        raise ConfigError(f"W&B could not start, {cfg.mode} ({reason})", advice) from error
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        if cfg.mode == "online":
            raise ConfigError(
                f"W&B could not start, {cfg.mode} ({reason})",
                "log in with `wandb login`, or use tracking=wandb_offline or tracking=none",
            ) from error
        log.warning("W&B could not start, %s (%s); the run goes on without it", cfg.mode, reason)
        return None
