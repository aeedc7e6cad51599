"""Mirror a run to Weights & Biases; the only module that imports wandb.

The run folder is the record, W&B a mirror of it: offline unless told otherwise.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from diffgeo.config import TrackingConfig
from diffgeo.errors import ConfigError
from diffgeo.results import Result

__all__ = ["Tracker", "tracking"]


class Tracker(Protocol):
    """Where results are mirrored to."""

    def log_result(self, result: Result, pictures: dict[str, Path]) -> None:
        """Mirror a study: scalars as ``STUDY/NAME``, tables, and figures (name → PNG)."""

    def log_page(self, page: Path) -> None:
        """Keep the run's page beside its other files."""


class _NoTracker:
    def log_result(self, result: Result, pictures: dict[str, Path]) -> None:
        pass

    def log_page(self, page: Path) -> None:
        pass


class _WandbTracker:
    def __init__(self, run: Any) -> None:
        self._run = run

    def log_result(self, result: Result, pictures: dict[str, Path]) -> None:
        import wandb

        entries: dict[str, Any] = {f"{result.study}/{name}": value for name, value in result.scalars.items()}
        for stem, table in result.tables().items():
            # from a data frame itself it takes four times as long
            rows: list[Iterable[Any]] = [*table.astype(object).to_numpy().tolist()]
            entries[f"tables/{stem}"] = wandb.Table(columns=list(table.columns), data=rows)
        entries |= {f"figures/{stem}": wandb.Image(str(path)) for stem, path in pictures.items()}
        self._run.log(entries)
        for name, value in result.scalars.items():
            self._run.summary[f"{result.study}/{name}"] = value

    def log_page(self, page: Path) -> None:
        # as a file of the run, which an offline run links to: wandb.Html and artifacts would copy megabytes
        self._run.save(glob.escape(str(page)), base_path=glob.escape(str(page.parent)), policy="now")


@contextmanager
def tracking(cfg: TrackingConfig, folder: Path, config: dict[str, Any]) -> Iterator[Tracker]:
    """A tracker for the duration of a run.

    Args:
        cfg: which backend, and where to.
        folder: the run folder; W&B writes to ``folder/wandb``.
        config: the resolved settings, plain.

    Raises:
        ConfigError: the W&B server is out of reach, or nobody is logged in.
    """
    if cfg.backend == "none":
        yield _NoTracker()
        return
    import wandb

    try:
        run = wandb.init(
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
    except wandb.Error as error:
        raise ConfigError(
            f"W&B could not start, {cfg.mode} ({' '.join(str(error).split())})",
            "log in with `wandb login`, or use tracking=wandb_offline or tracking=none",
        ) from error
    with run:
        yield _WandbTracker(run)
