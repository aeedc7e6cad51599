"""The command ``diffgeo``: Hydra around :func:`diffgeo.runner.run.execute`.

``line`` reads the words, ``errors`` words what goes wrong, ``callbacks`` is called around runs and sweeps. Heavy
imports wait until a job starts.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

import hydra
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from diffgeo.cli.blocks import FLAG as BLOCKS
from diffgeo.cli.blocks import show_blocks
from diffgeo.cli.callbacks import NewFolder, SweepSummary, unconverged
from diffgeo.cli.completion import candidates, script
from diffgeo.cli.errors import EXPECTED, heed_environment, traceback_wanted, worded_errors
from diffgeo.cli.help import help_text, topic_text, version_text
from diffgeo.cli.line import ordered, quoted_prompts
from diffgeo.composition import at_home, check, check_words, own_defaults, register, typed
from diffgeo.config import Config, config_folder, heed_wandb
from diffgeo.encoding import tolerate_logs
from diffgeo.errors import ConfigError, DiffgeoError, ObjectiveError
from diffgeo.run_folders import earlier_files
from diffgeo.session.processes import is_first
from diffgeo.signals import signals_end

if TYPE_CHECKING:
    from diffgeo.runner.dry_run import Planner

_NOTHING = "Interrupted before anything was measured."
_SILENT = [
    *(f"hydra.{key}" for key in ("output_subdir=null", "run.dir=.", "sweep.dir=.", "sweep.subdir=.")),
    "hydra/job_logging=none",
]
"""Settings of processes that help the first one: they leave no folder and no log."""

SWEEPS = ("grid", "search")
"""Groups that only make sense in a multirun."""
_dry = False
"""Whether ``--dry-run`` has jobs planned instead of run."""
_planner: Planner | None = None
"""What plans them, from the first one on."""
_planned: Path | None = None
"""The folder that the run would have, or the first job of a sweep; None unless the user names one."""
_folder: Path | None = None
"""Of the run in hand, from where its settings are checked on."""
_began = 0.0
"""When the command was given, on the clock of ``perf_counter``."""


def _job(cfg: DictConfig) -> float | list[float] | None:
    """Run one job; returns its objective.

    Errors of a single run are worded here: past this frame Hydra would add lines of its own. Those of a sweep go to
    Hydra, which lets the other jobs run and raises the first one at the end; only an objective that the runs do not
    have, or Ctrl-C, stops all.
    """
    hydra_cfg = HydraConfig.get()
    global _folder
    swept = hydra_cfg.mode == RunMode.MULTIRUN
    began = perf_counter() if swept else _began
    tolerate_logs()
    os.chdir(hydra_cfg.runtime.cwd)  # hydra.job.chdir=true left it, and paths are meant from where they were typed
    with worded_errors((ObjectiveError,) if swept else EXPECTED, interrupted=_interrupted):
        settings = typed(cfg)
        heed_wandb(settings, hydra_cfg.overrides.task, os.environ)
        folder = Path(hydra_cfg.runtime.output_dir)
        _check(settings, folder)
        _folder = folder
        named = [f"{group} {choice}" for group in SWEEPS if (choice := hydra_cfg.runtime.choices.get(group))]
        # W&B's agent starts runs one by one; a job's page shows its own command, with what was swept
        if named and not swept and "WANDB_SWEEP_ID" not in os.environ and not _says_what_is_swept(hydra_cfg):
            chosen = named[0].replace(" ", "=")
            raise ConfigError(f"{chosen} is a sweep of many runs", f"say diffgeo -m {chosen}")
        if swept and settings.tracking.group is None:
            what = " ".join(named) or "sweep"
            settings.tracking.group = f"{what} {' '.join(Path(hydra_cfg.sweep.dir).parts[-2:])}"
        if swept and settings.tracking.name is None and settings.tracking.backend != "none":
            from diffgeo.runner.tracking import job_name

            settings.tracking.name = job_name(hydra_cfg.overrides.task, sys.argv) or None
        if _dry:
            _plan(" ".join(hydra_cfg.overrides.task) if swept else "", settings)
            return None
        try:
            scalars = _scalars(settings, folder, hydra_cfg, swept, began)
        finally:
            if is_first() and (warning := unconverged(folder)):
                print(f"Warning: {warning}.", file=sys.stderr)
        if not is_first():
            return None
        page = folder / "report.html"
        print(page if page.is_file() else folder)
        if settings.objective is None:
            return None
        from diffgeo.runner.sweeping import objective

        return objective(scalars, settings.objective)


def _interrupted() -> str:
    """What to say after Ctrl-C."""
    sweep = SweepSummary.folder
    runs = [_folder] if _folder is not None else []
    runs += [path.parent for path in sweep.rglob("run.json")] if sweep is not None else []
    where = "the run folder" if sweep is None else "the jobs' folders"
    return f"Interrupted: what was finished is in {where}." if any(map(_holds_rows, runs)) else _NOTHING


def _holds_rows(folder: Path) -> bool:
    """Whether a run has written a table with rows, itself and not the one before it in its folder."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        files = json.loads((folder / "run.json").read_text(encoding="utf-8"))["files"]
        for file in files:
            if file.endswith(".csv"):
                with (folder / file).open(encoding="utf-8") as table:
                    if table.readline() and table.readline():
                        return True
    return False


def _check(settings: Config, folder: Path) -> None:
    """Refuse what can be before torch is imported, which takes seconds; ``run.json`` says what of the settings."""
    try:
        check(settings)
    except DiffgeoError as error:
        if is_first() and not _dry:
            from diffgeo.runner.sweeping import say_refused

            say_refused(settings, folder, error)
        raise
    if is_first() and not _dry:
        earlier_files(folder, settings.study)  # nothing is written there that would tell of this
        for handler in logging.getLogger().handlers:  # the log of an earlier run in this folder
            if isinstance(handler, logging.FileHandler) and Path(handler.baseFilename).parent == folder.resolve():
                with suppress(OSError):
                    os.truncate(handler.baseFilename, 0)


def _says_what_is_swept(hydra_cfg: HydraConf) -> bool:
    """Whether the command line itself has a value for every key that the chosen sweep varies."""
    given = {word.partition("=")[0].lstrip("+") for word in hydra_cfg.overrides.task}
    swept = hydra_cfg.sweeper.get("params") or {}
    return bool(swept) and given.issuperset(swept)


def _scalars(
    settings: Config, folder: Path, hydra_cfg: HydraConf, swept: bool, began: float
) -> dict[str, dict[str, float]]:
    """Execute a run that began at that time, here or in a process of its own, as ``retries`` says."""
    retries = settings.retries
    if retries is None:
        retries = int(hydra_cfg.runtime.choices.get("hydra/launcher") != "basic")
    if swept and retries:
        from diffgeo.runner.sweeping import run_isolated

        logs: Any = OmegaConf.to_container(hydra_cfg.job_logging, resolve=True)
        return run_isolated(settings, folder, logs, retries=retries)
    from diffgeo.runner.run import execute

    return execute(settings, folder, began=began)[0]


@contextmanager
def _dry_run(words: list[str]) -> Iterator[None]:
    """With ``--dry-run``, have Hydra's jobs planned instead of run, without a folder; print the plans at the end."""
    global _dry, _planner, _planned
    if "--dry-run" not in words:
        yield
        return
    named = {"hydra.run.dir": "", "hydra.sweep.dir": "0"}
    given = [(key, value) for key, _, value in (word.partition("=") for word in words) if key in named]
    _planned = Path(given[-1][1]) / named[given[-1][0]] if given else None
    if any(word.startswith(("hydra/sweeper=", "search=")) for word in words):
        raise ConfigError("--dry-run lists the jobs of a grid, and a search chooses its own", "leave it out")
    engine = ("--dry-run", "hydra/launcher=", "hydra.")
    words[:] = [word for word in words if not word.startswith(engine) or word.startswith("hydra.searchpath=")]
    with TemporaryDirectory() as folder:  # a sweep writes its settings, wherever it is told to
        words += [*_SILENT, "hydra/hydra_logging=none", f"hydra.sweep.dir={folder}"]
        _dry = True
        try:
            yield
            if _planner is not None:
                _planner.show()
        finally:
            _dry, _planner = False, None


def _plan(title: str, settings: Config) -> None:
    """Plan a job; the first one imports torch."""
    global _planner
    if _planner is None:
        from diffgeo.runner.dry_run import Planner

        _planner = Planner(_planned)
    _planner.add(title, settings)


def main() -> None:
    """Entry point of the console command."""
    global _began, _folder
    _began, _folder = perf_counter(), None
    heed_environment()
    with worded_errors(), signals_end():
        _main()


def _main() -> None:
    with worded_errors():
        answered = _answered(sys.argv[1:])
        sys.stdout.flush()  # a reader that went away shows here, not when Python ends
    if answered:
        return
    sys.argv[1:] = quoted_prompts(at_home(sys.argv[1:]))
    if not is_first():
        sys.argv += _SILENT
    os.environ.setdefault("WANDB_SILENT", "true")
    register()
    # Hydra would print its own wording and exit; with this it raises, and the error is worded here
    os.environ["HYDRA_FULL_ERROR"] = "1"
    with worded_errors():
        try:
            words = ordered(sys.argv[1:])
            check_words(words)
            if BLOCKS in words:
                show_blocks(words)
                return
            words += own_defaults(words) if {"--cfg", "-c"} & set(words) else []
            with _dry_run(words):
                sys.argv[1:] = words
                hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")(_job)()
        finally:
            NewFolder.release()
            SweepSummary.show()
            if not traceback_wanted():
                del os.environ["HYDRA_FULL_ERROR"]


def _answered(words: Sequence[str]) -> bool:
    """Answer what needs no Hydra: help, the version, most of shell completion."""
    topics = [word for word in words if word not in ("--help", "-h")]
    if len(topics) < len(words):
        conf = config_folder()
        print("\n".join(topic_text(conf, topic) for topic in topics) if topics else help_text(conf), end="")
    elif "--version" in words:
        print(version_text("diffgeo"))
    elif {"--shell-completion", "-sc"} & set(words):
        asked = next((word for word in words if not word.startswith("-")), "")
        line = os.environ.setdefault("COMP_LINE", "diffgeo ")
        if not asked.startswith("query="):
            print(script("diffgeo", asked.removeprefix("install=")), end="")
        elif found := candidates(
            line.split()[-1] if line.strip() and not line[-1].isspace() else "", line.split()[1:-1]
        ):
            print(" ".join(found))
        else:
            return False
    else:
        return False
    return True


if __name__ == "__main__":
    main()
