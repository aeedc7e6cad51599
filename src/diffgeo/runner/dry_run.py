"""``--dry-run``: what a run would compute, what of it the store has whole, and how long the last similar run took.

Durations are those that earlier runs wrote into their ``run.json``; none is predicted. Nothing is written.
"""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path

from rich.console import Console
from rich.table import Table

from diffgeo.composition import check
from diffgeo.config import Config
from diffgeo.config.documentation import default_of
from diffgeo.report.formatting import in_words
from diffgeo.runner.durations import EarlierRuns, Took
from diffgeo.runner.finish import finished
from diffgeo.runner.prepare import prepare
from diffgeo.runner.run import quiet
from diffgeo.session import Context
from diffgeo.studies import study_named


class Planner:
    """Plans runs and prints what they would compute.

    Args:
        folder: of the first run, as :class:`EarlierRuns` has it.
    """

    def __init__(self, folder: Path | None) -> None:
        self._earlier = EarlierRuns(folder)
        self._context: Context | None = None
        self._plans: list[tuple[str, Table]] = []
        self._seconds: list[float | None] = []

    def add(self, title: str, cfg: Config) -> None:
        """Plan a run; its model is loaded, unless the run before has the same.

        Raises:
            DiffgeoError: what the run itself would raise before it computes anything.
        """
        check(cfg)
        with quiet():
            self._context = context = prepare(cfg, earlier=self._context)
        table = Table("study", "what it asks", "the last similar run took")
        for name, study in cfg.study.items():
            own = [f"{one.name} {getattr(study, one.name)}" for one in fields(study) if _is_size(type(study), one.name)]
            what = study_named(name).question + f" ({', '.join(own)})" * bool(own)
            if finished(study_named(name), context, study):
                table.add_row(name, what, "nothing to compute, the store has it", style="dim")
            else:
                took = self._earlier.last(name, context)
                self._seconds.append(None if took is None else took.seconds)
                table.add_row(name, what, "no similar run yet" if took is None else _words(took))
        self._plans.append((f"{title}\n{_sizes(context)}".strip(), table))

    def show(self) -> None:
        """Print all plans, and what everything took that they would compute."""
        console = Console(width=None if sys.stdout.isatty() else 150)
        for title, table in self._plans:
            console.print(title, table, sep="\n", highlight=False, markup=False)
        if known := [seconds for seconds in self._seconds if seconds is not None]:
            number = f"{len(known)} of {len(self._seconds)} studies to compute"
            console.print(f"{number} took {in_words(sum(known))} in similar runs.", highlight=False)


def _sizes(context: Context) -> str:
    cfg, model, number, times = context.cfg, context.model, len(context.samples), context.edit_times_in_words
    where = f"{model.source} on {model.device}: {number} sample{'' if number == 1 else 's'} at t = {times}"
    pool = "summed over space" if cfg.feature.pool else "whole"
    tap = "" if cfg.feature.tap == "output" else f" ({cfg.feature.tap})"
    block = f"h of block {cfg.feature.block}{tap}, {pool}"
    return f"{where}, {cfg.svd.rank} directions per basis ({cfg.svd.solver}), {block}"


def _is_size(settings: type, name: str) -> bool:
    """Whether a study's setting says how much it computes: unless it is set, it follows ``scale``."""
    return str(default_of(settings, name)).startswith("${scale.")


def _words(took: Took) -> str:
    other = took.different
    words = ", ".join(other[:3]) + (f" and {len(other) - 3} more" if len(other) > 3 else "")
    when = f"{took.started[:16].replace('T', ' ')}{', with ' if other else ''}{words}"
    return f"{in_words(took.seconds)} ({when})"
