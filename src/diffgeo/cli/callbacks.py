"""What Hydra calls around runs and sweeps: a folder of its own for each, a summary at a sweep's end."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from diffgeo.cli.errors import worded_errors
from diffgeo.composition import quoted
from diffgeo.convergence import Convergence, summary
from diffgeo.errors import ConfigError
from diffgeo.run_folders import held, new_folder
from diffgeo.session.processes import is_first
from diffgeo.studies import studies


class NewFolder(Callback):
    """Makes the folder of a run or sweep, if the clock names it: a new one, also for those that start in one second.

    A folder that the user names without ``${now:…}`` is taken as it is, and used again. ``conf/config.yaml`` puts this
    into Hydra, which calls it in the process that the user started, before any job; a sweep's jobs are told the folder
    as a word of the command line, wherever they run. Until :meth:`release` no other process can have the folder.
    """

    _held = ExitStack()

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Make a single run's folder."""
        self._make(config, "run")

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Make a sweep's folder."""
        subdir = str(OmegaConf.to_container(config.hydra.sweep, resolve=False)["subdir"])  # type: ignore[call-overload,index]
        if "${" not in subdir and config.hydra.output_subdir is not None:
            with worded_errors():
                raise ConfigError(
                    f"hydra.sweep.subdir={subdir} is one folder for all jobs", "say one with ${hydra:job.num} in it"
                )
        folder = self._make(config, "sweep")
        if folder is not None:
            with read_write(config.hydra.overrides):
                config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(folder)}")

    def _make(self, config: DictConfig, kind: str) -> str | None:
        """Make a folder and say so in Hydra's settings; None if the clock does not name it or it cannot be made."""
        node = config.hydra[kind]
        if "${now:" not in str(OmegaConf.to_container(node, resolve=False)["dir"]):  # type: ignore[call-overload,index]
            if config.hydra.output_subdir is not None:  # those that leave nothing in a folder need none
                with worded_errors():  # here, as Hydra makes warnings of its callbacks' errors
                    NewFolder._held.enter_context(held(Path(node.dir)))
            return None
        try:
            folder = new_folder(Path(node.dir))
        except OSError:
            return None  # Hydra meets the same and words it
        with read_write(node), open_dict(node):
            node.dir = str(folder)
        return str(folder)

    @classmethod
    def release(cls) -> None:
        """Let others have the folder."""
        cls._held.close()


class SweepSummary(Callback):
    """Says at the end of a sweep what became of its jobs, however it ended; ``conf/config.yaml`` puts it into Hydra."""

    folder: Path | None = None
    """Of the sweep in hand, in the process that started it."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Remember where the sweep goes."""
        SweepSummary.folder = Path(config.hydra.sweep.dir) if is_first() else None

    @classmethod
    def show(cls) -> None:
        """Print it, on stderr; nothing if no job began."""
        folder, cls.folder = cls.folder, None
        if folder is None:
            return
        from diffgeo.runner.sweeping import outcomes

        jobs = outcomes(folder)
        files = {job: folder / job / ".hydra" / "overrides.yaml" for job, *_ in jobs}
        words = {job: OmegaConf.load(file) for job, file in files.items() if file.is_file()}
        common = set.intersection(*map(set, words.values())) if len(words) > 1 else set()
        for job, status, error in jobs:
            if status != "completed":
                own = ", ".join(str(word) for word in words.get(job, ()) if word not in common)
                print(f"Job {job} {status} ({own}){': ' if error else ''}{error}", file=sys.stderr)
        if missed := [job for job, *_ in jobs if unconverged(folder / job)]:
            print(f"Jobs with local bases that missed svd.tol or svd.share: {', '.join(missed)}", file=sys.stderr)
        if jobs:
            done = sum(status == "completed" for _, status, _ in jobs)
            print(f"{done} of {len(jobs)} jobs completed; compare: diffgeo-report {folder}", file=sys.stderr)


def unconverged(folder: Path) -> str:
    """Which studies of a run rest on local bases that missed their tolerance; empty if none does."""
    try:
        found = Convergence.read(json.loads((folder / "run.json").read_text(encoding="utf-8")))
        return summary(found, {name: study.title for name, study in studies().items()})
    except (AttributeError, OSError, TypeError, ValueError):  # the run did not begin; perhaps another program's file
        return ""
