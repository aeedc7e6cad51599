"""How long studies took in earlier runs, and how much of a run is left by that.

Durations are those that runs wrote into their ``run.json``; there is no model of what a study costs.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from diffgeo.composition import results_depend_on
from diffgeo.config import Plain, flat
from diffgeo.runner.finish import finished
from diffgeo.session import Context
from diffgeo.studies import study_named

_MOST = 50
"""The latest runs of a model and device that are compared."""
_FIRST = {"model.path": "factor_faces", "data.samples": 6, "data.images": None, "schedule.steps": 16, "svd.rank": 50}
"""What of the default run's settings its durations depend on most."""
_PLACE = ("device", "host", "threads", "processes")
"""What a duration depends on beside the settings."""


@dataclass(frozen=True, slots=True)
class Took:
    """How long a study took in an earlier run.

    Attributes:
        seconds: to compute and draw it.
        started: when that run began.
        different: its settings that are not those of the run in hand, ``key=value``.
    """

    seconds: float
    started: str
    different: list[str]


class EarlierRuns:
    """Runs that wrote how long their studies took: those in ``outputs``, at any depth, and those beside a run.

    Args:
        folder: of the run; None for none.
    """

    def __init__(self, folder: Path | None = None) -> None:
        known = [Path(root) for root in _in_depth(Path("outputs"))]
        beside = [] if folder is None else [path.parent for path in folder.absolute().parent.glob("*/run.json")]
        places = {path.resolve() for path in (*known, *beside)}
        self._runs = sorted(_read(places), key=lambda run: str(run["started"]), reverse=True)
        self._flat = cache(lambda i: _flat(self._runs[i]["settings"]) | {key: self._runs[i][key] for key in _PLACE})

    def last(self, study: str, context: Context) -> Took | None:
        """The duration of a study in the run, of this model and device, that differs least; the latest of several.

        Args:
            study: its name.
            context: of the run in hand.
        """
        cfg, device = context.cfg, context.model.device.type
        wanted = cfg.model.path, device
        runs = enumerate(self._runs)
        alike = [i for i, run in runs if study in run["seconds"] and (run["path"], run["device"]) == wanted]
        if not alike:
            return None
        place = device, platform.node(), torch.get_num_threads(), context.processes.size
        now = _flat(asdict(cfg)) | dict(zip(_PLACE, place, strict=True))
        keys = [key for key in now if not key.startswith("study.") or key.startswith(f"study.{study}.")]
        least = min(alike[:_MOST], key=lambda i: sum(self._flat(i).get(key) != now[key] for key in keys))
        run, settings = self._runs[least], self._flat(least)
        different = [f"{key}={settings.get(key)}" for key in keys if settings.get(key) != now[key]]
        return Took(run["seconds"][study], run["started"], different)


def expected(context: Context, folder: Path) -> dict[str, float | None]:
    """Seconds that each study of a run will take.

    Args:
        context: of the run.
        folder: of the run.

    Returns:
        What it took in earlier runs, as :meth:`EarlierRuns.last` finds them; 0 if the store has it. Without such a run
        it is what the default run takes on two cores (:attr:`diffgeo.studies.Study.seconds`) if this is that run, else
        None.
    """
    earlier, settings_of_run = EarlierRuns(folder), _flat(asdict(context.cfg))
    default = all(settings_of_run.get(key) == value for key, value in _FIRST.items())
    found: dict[str, float | None] = {}
    for name, settings in context.cfg.study.items():
        if finished(study_named(name), context, settings):
            found[name] = 0.0
        else:
            took = earlier.last(name, context)
            guess = study_named(name).seconds if default else None
            found[name] = guess if took is None else took.seconds
    return found


class Remaining:
    """How much of a run is left.

    Studies that are still to come count with what earlier runs took, scaled by how the finished ones compare with that;
    without an earlier run, with the mean of the finished ones. Processes share the work evenly.

    Args:
        expected: seconds by study, in the order of the run; 0 if the store has it, None if unknown.
        processes: that work at the run.
    """

    def __init__(self, expected: Mapping[str, float | None], processes: int = 1) -> None:
        self._expected, self._processes, self._took = dict(expected), processes, dict[str, float]()
        self._start = self._began = perf_counter()

    def begin(self) -> None:
        """The next study begins."""
        self._began = perf_counter()
        if not self._took:
            self._start = self._began

    def end(self, study: str, seconds: float) -> None:
        """A study is done, whichever process computed it in so many seconds."""
        self._took[study] = seconds if self._expected[study] != 0 else 0.0

    def seconds(self) -> float | None:
        """Seconds that are left; None if nothing tells, or if the last study takes longer than expected."""
        computed = [name for name in self._took if self._expected[name] != 0]
        known = [(self._took[name], seconds) for name in computed if (seconds := self._expected[name])]
        pace = sum(took for took, _ in known) / sum(seconds for _, seconds in known) if known else 1.0
        mean = sum(self._took[name] for name in computed) / len(computed) if computed else None
        ahead = [name for name in self._expected if name not in self._took]
        left = [mean if seconds is None else pace * seconds for seconds in map(self._expected.__getitem__, ahead)]
        if any(seconds is None for seconds in left):
            return None
        now = perf_counter()
        if len(left) == 1 and now - self._began > (left[0] or 0) > 0:
            return None
        later = sum(seconds or 0 for seconds in left[1:])
        whole = sum(self._took.values()) + sum(seconds or 0 for seconds in left[:1]) + later
        return max(whole / self._processes - (now - self._start), later / self._processes, 0)


def _in_depth(folder: Path) -> Iterator[str]:
    for root, folders, files in os.walk(folder):
        if "run.json" in files:
            folders.clear()  # what lies inside a run is its own
            yield root


def _read(places: Iterable[Path]) -> Iterator[Plain]:
    """What runs tell of their durations; files that are no such thing are passed over."""
    for place in places:
        try:
            facts = json.loads((place / "run.json").read_text(encoding="utf-8"))
            run = {key: facts[key] for key in (*_PLACE, "started", "settings")}
            seconds = {study: float(took) for study, took in facts["seconds"].items()}
            device, model = facts["device"].partition(":")[0], facts["settings"]["model"]["path"]
            yield run | {"seconds": seconds, "device": device, "path": model}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue


def _flat(settings: Mapping[str, Any]) -> Plain:
    """Settings by dotted key, as JSON gives them back, less those that change no number."""
    return flat(json.loads(json.dumps(results_depend_on(settings))))
