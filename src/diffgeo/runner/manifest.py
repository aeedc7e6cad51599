"""``run.json``: what a run was, how it ended, and which files are its own; and the page that tells of it.

A run folder that is used again is cleaned of the earlier run's files, since resumed sweeps, repeated jobs and
``diffgeo-paper`` use theirs again on purpose; but only when this run is about to compute, so that a mistyped setting
costs no results.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from diffgeo.config import Config
from diffgeo.errors import DiffgeoError, error_facts
from diffgeo.report.page import write_page
from diffgeo.results import atomic
from diffgeo.run_folders import PAGE, earlier_files, held, in_the_way, remove
from diffgeo.runner.finish import Finished
from diffgeo.runner.tracking import Tracker
from diffgeo.session.digests import LIBRARIES

log = logging.getLogger(__name__)

PACKAGES = ("diffgeo", *LIBRARIES, "hydra-core", "omegaconf", "wandb")


class Manifest:
    """``run.json``, and the page that tells of it, written however the run ends.

    Attributes:
        facts: what ``run.json`` holds beside the scalars.
    """

    def __init__(
        self, cfg: Config, folder: Path, scalars: dict[str, dict[str, float]], began: float | None = None
    ) -> None:
        self.facts: dict[str, Any] = {
            "status": "running",
            "started": datetime.now().astimezone().isoformat(timespec="seconds"),
            "host": platform.node(),
            "machine": machine(),
            "seed": cfg.seed,
            "settings": asdict(cfg),
            "versions": versions(),
            "commit": commit(),
            "threads": torch.get_num_threads(),
            "seconds": {},
            "files": [],
            "convergence": {},
        }
        self._start = perf_counter() if began is None else began
        self._folder, self._scalars = folder, scalars
        self._ours = set(earlier := earlier_files(folder, cfg.study))
        if earlier:
            self.facts["earlier"] = earlier
        self._write()

    def clear_earlier(self) -> None:
        """Remove the files that an earlier run in this folder left.

        Raises:
            OutputError: one cannot be removed.
        """
        if "earlier" in self.facts:
            remove(self._folder, self.facts["earlier"])
            del self.facts["earlier"]
            self._write()

    @property
    def seconds(self) -> float:
        """How long the run has taken so far; its page comes after that."""
        return perf_counter() - self._start

    def announce(self, files: list[str]) -> None:
        """List files of the run, before they are written: so a run that is killed leaves none that nobody tells of.

        Raises:
            OutputError: one is there that no run wrote.
        """
        for file in files:
            if file not in self._ours and (self._folder / file).exists():
                raise in_the_way(self._folder / file)
        self._ours.update(files)
        self.facts["files"] += files
        self._write()

    def add(self, study: str, done: Finished) -> None:
        """Say that a study is done, and the seconds that it took."""
        self.facts["seconds"][study] = done.seconds
        self.facts["convergence"][study] = asdict(done.result.convergence)
        self._write()

    @contextmanager
    def ending(self, tracker: Tracker | None = None) -> Iterator[None]:
        """Say how what follows ended, draw the page and mirror it, unless an inner one did."""
        try:
            yield
        except BaseException as error:
            self._end(error, tracker)
            raise
        self._end(None, tracker)

    def _end(self, error: BaseException | None, tracker: Tracker | None) -> None:
        if self.facts["status"] != "running":
            return
        stopped = isinstance(error, KeyboardInterrupt)
        self.facts["status"] = "completed" if error is None else "interrupted" if stopped else "failed"
        self.facts["duration"] = round(self.seconds, 2)
        self.facts["peak_memory"] = peak_memory()
        if error is not None:
            self.facts |= {"error": None} if stopped else error_facts(error)
            if not isinstance(error, DiffgeoError | KeyboardInterrupt):
                self.facts["traceback"] = "".join(traceback.format_exception(error))
        self._write()
        _draw_page(self._folder, tracker)

    def _write(self) -> None:
        with atomic(self._folder / "run.json") as temporary:
            temporary.write_text(json.dumps(self.facts | {"scalars": self._scalars}, indent=2) + "\n", encoding="utf-8")


def _draw_page(folder: Path, tracker: Tracker | None) -> None:
    """Write ``report.html`` and mirror it; whatever is wrong with it, the run is done, and the log says so."""
    try:
        page = write_page(folder)
        if tracker is not None:
            tracker.log_page(page)
    except KeyboardInterrupt:
        log.warning("%s is missing; `diffgeo-report page %s` makes it", PAGE, folder)
        raise
    except Exception:
        log.warning("%s could not be made; try `diffgeo-report page %s`", PAGE, folder, exc_info=True)


@contextmanager
def manifest_of(
    cfg: Config, folder: Path, scalars: dict[str, dict[str, float]], began: float | None = None
) -> Iterator[Manifest]:
    """The run's manifest, which ends with the run; ``began`` as in :func:`diffgeo.runner.run.execute`.

    Raises:
        OutputError: another run is writing into the folder, or files of another program are in the way.
    """
    with held(folder):
        manifest = Manifest(cfg, folder, scalars, began)
        with suppress(OSError):
            (folder / PAGE).unlink(missing_ok=True)  # of an earlier run in this folder
        with manifest.ending():
            yield manifest


def commit() -> str | None:
    """The commit of the sources, with ``+`` where they were changed since; None unless they are a git checkout."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists() or not (root / "src" / "diffgeo").is_dir():
        return None  # installed, perhaps into an environment inside another repository
    try:
        head, changes = (
            subprocess.run(
                ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True
            ).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no", "--", "src", "conf"))
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}+" if changes else head


def machine() -> str:
    """The processor with its cores and the main memory, as far as the system tells: what durations depend on."""
    kind, memory = platform.processor() or platform.machine(), ""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        kind = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), kind)
    with suppress(ValueError, AttributeError):  # Windows
        memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    return f"{kind}, {os.cpu_count()} cores{memory}"


def peak_memory() -> int | None:
    """The most main memory that this process has held so far, in bytes; None if the system does not count it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version(), "platform": f"{sys.platform}-{platform.machine()}"}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
