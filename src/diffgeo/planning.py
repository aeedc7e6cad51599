"""``--dry-run``: what a run would compute, what of it the store holds, and about how long it would take here.

Numbers of bases, evaluations and pictures come from the studies (:mod:`diffgeo.studies.work`), passes of a basis from
:func:`diffgeo.svd.expected_passes`. Speeds are measured with the run's model on its device, in the block and batch
sizes that it would use. Nothing is written.
"""

from __future__ import annotations

import math
import resource
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from diffgeo.config import Config, FeatureConfig, check
from diffgeo.errors import ConvergenceWarning
from diffgeo.finishing import finished
from diffgeo.jacobian import JacobianOperator
from diffgeo.runner import prepare, quiet
from diffgeo.studies import Context, Work, study_work
from diffgeo.studies.matching import output_map
from diffgeo.studies.work import Map, Task
from diffgeo.svd import Passes, decompose, default_block_size, expected_passes

__all__ = ["Plan", "StudyPlan", "plan", "show"]

NONE = Passes(0, 0, 0)
COLUMNS = ("study", "bases: how many × n, of which map", "passes", "evaluations", "pictures", "time")
PATIENCE = 2.0
"""Seconds that a measurement may take before it is cut short."""
LARGE = 32
"""Largest batch whose time is measured; larger ones are extrapolated."""


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """What one study adds to what was planned before it.

    Attributes:
        name: of the study.
        state: ``to compute``, ``in the store`` or ``not estimated``.
        tasks: what is left to compute.
        passes: of all its bases.
        seconds: (least, most) of passes, evaluations and decoding.
    """

    name: str
    state: str
    tasks: Sequence[Task] = ()
    passes: Passes = NONE
    seconds: tuple[float, float] = (0.0, 0.0)

    def about(self, kind: str) -> bool:
        """Whether the number of tasks of a kind depends on what is found."""
        return any(task.about for task in self.tasks if task.kind == kind)

    def latents(self, kind: str) -> float:
        """How many latents go through the tasks of a kind."""
        return sum(task.count * task.times * task.batch for task in self.tasks if task.kind == kind)

    def bases(self) -> list[str]:
        """Bases by map, rank and tolerance: ``16 × 50 of mid``."""
        groups: dict[tuple[str, int, float, bool], int] = defaultdict(int)
        for task in self.tasks:
            if task.kind == "basis":
                groups[str(task.map), task.rank, task.tol, task.share] += task.times
        return [
            f"{number} × {'up to ' if share else ''}{rank} of {name}, tol {_power(tol)}"
            for (name, rank, tol, share), number in groups.items()
        ]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would compute.

    Attributes:
        model: where it comes from.
        device: where it would run.
        samples: how many.
        store: whether results are kept.
        studies: in order.
        memory: (bytes of the process or GPU after the measurements, bytes of the bases that stay in memory).
        unpriced: settings that change the time in ways that are not foreseen.
    """

    model: str
    device: str
    samples: int
    store: bool
    studies: Sequence[StudyPlan]
    memory: tuple[int, int]
    unpriced: tuple[str, ...] = ()


def plan(cfg: Config, earlier: Speed | None = None) -> tuple[Plan, Speed]:
    """Plan a run; the model is loaded, and some passes and evaluations are timed.

    Args:
        cfg: typed settings.
        earlier: what an earlier plan measured; its model and its times are used again where the settings allow.

    Returns:
        The plan, and what was measured.

    Raises:
        DiffgeoError: what the run itself would raise before it computes anything.
    """
    check(cfg)
    with quiet():
        context = prepare(cfg, earlier=None if earlier is None else earlier.context)
        speed = Speed(context)
        if earlier is not None and earlier.context.model is context.model:
            speed = replace(earlier, context=context)
        return _plan(cfg, context, speed), speed


def _plan(cfg: Config, context: Context, speed: Speed) -> Plan:
    store, done, planned = context.store is not None, Work(), []
    for name, study in cfg.study.items():
        work = study_work(name, context, study)
        if work is None:
            planned.append((name, "not estimated", Work()))
        elif finished(name, context, study):
            planned.append((name, "in the store", Work()))
            done += work
        else:
            planned.append((name, "to compute", work.beyond(done, store=store)))
            done += work
    settled = [(name, state, work.settled(store=store)) for name, state, work in planned]
    studies = [_priced(speed, name, state, tasks) for name, state, tasks in settled]
    kept = sum(_bytes(context, speed, task) for _, _, tasks in settled for task in tasks)
    memory = _resident(context.model.device), round(kept)
    unpriced = tuple(
        f"svd.{key}={value}" for key, plain in _PLAIN.items() if (value := getattr(cfg.svd, key, plain)) != plain
    )
    source, device = context.model.source, str(context.model.device)
    return Plan(source, device, len(context.samples), store, studies, memory, unpriced)


_PLAIN: dict[str, Any] = {"points": 1, "probe": False}
"""Settings of ``svd`` with which passes are timed, whatever a run asks for."""


def _priced(speed: Speed, name: str, state: str, tasks: list[Task]) -> StudyPlan:
    passes, low, high = NONE, 0.0, 0.0
    for task in tasks:
        seconds = speed.seconds(task) * task.times
        if task.kind == "basis":
            one = speed.passes(task)
            passes = Passes(*(a + task.times * b for a, b in zip(_ends(passes), _ends(one), strict=True)))
            low, high = low + seconds * one.low, high + seconds * one.high
        else:
            low, high = low + seconds, high + seconds
    return StudyPlan(name, state, tasks, passes, (low, high))


def _ends(passes: Passes) -> tuple[float, float, float]:
    return passes.low, passes.about, passes.high


def _bytes(context: Context, speed: Speed, task: Task) -> float:
    """What a basis that stays in memory takes there."""
    if task.kind != "basis" or not task.kept or task.map is None:
        return 0
    return sum(speed.shape(task.map)) * task.rank * torch.finfo(context.model.dtype).bits / 8


def _resident(device: torch.device) -> int:
    """Most memory that was taken so far, in bytes: of the GPU where there is one, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


@dataclass
class Speed:
    """Measured seconds of passes, evaluations and decoding; each is measured once, when it is asked for."""

    context: Context
    _shapes: dict[Map, tuple[int, int]] = field(default_factory=dict)
    _known: dict[Any, Any] = field(default_factory=dict)

    def shape(self, f: Map) -> tuple[int, int]:
        """(m, d) of the map's Jacobian."""
        if f not in self._shapes:
            with torch.no_grad():
                h = self._map(f)(self._noise(1)[0])
            self._shapes[f] = h.numel(), self.context.latent_size
        return self._shapes[f]

    def passes(self, task: Task) -> Passes:
        """Passes of a basis."""
        assert task.map is not None
        svd = self.context.cfg.svd
        options: dict[str, Any] = {"block_size": self.block, "max_passes": None}
        own = {key: value for key, value in vars(svd).items() if key in ("oversample", "power_steps", "max_passes")}
        share = svd.share if task.share else None
        return expected_passes(
            self.shape(task.map), task.rank, solver=svd.solver, tol=task.tol, share=share, **options | own
        )

    @property
    def block(self) -> int:
        """Columns of the solver's products."""
        return getattr(self.context.cfg.svd, "block_size", None) or default_block_size(self.context.model.device)

    def seconds(self, task: Task) -> float:
        """Seconds of a pass, for a basis; of the whole task, else."""
        if task.kind == "basis":
            assert task.map is not None
            cfg = self.context.cfg  # the solver's own part grows with the rank
            how = (cfg.svd.solver, self.block, cfg.feature.chunk_size, task.rank.bit_length())
            return float(self._once(("pass", task.map, *how), lambda: self._of_a_pass(task)))
        model, f = self.context.model, self.context.feature_map(self.context.model.schedule.T)
        runs: dict[str, Callable[[Tensor], Tensor]] = {
            "evaluation": lambda x: model.predict_noise(x, model.schedule.T),
            "feature": f,
            "picture": model.decode,
        }
        base, each = self._once(task.kind, lambda: self._line(runs[task.kind]))
        return float(task.count * (base + each * task.batch))

    def _once(self, key: Any, measure: Callable[[], Any]) -> Any:
        if key not in self._known:
            self._known[key] = measure()
        return self._known[key]

    def _line(self, run: Callable[[Tensor], Tensor]) -> tuple[float, float]:
        """(seconds of a batch of none, seconds a latent), from two batches."""
        with torch.no_grad():
            single = self._time(lambda: run(self._noise(1)))
            size = max(2, min(LARGE, int(PATIENCE / max(single, 1e-4))))
            many = self._time(lambda: run(self._noise(size)))
        each = max(many - single, 0.0) / (size - 1)
        return max(single - each, 0.0), each

    def _of_a_pass(self, task: Task) -> float:
        """Seconds a pass, the solver's own algebra included where it is iterative."""
        assert task.map is not None
        cfg, (m, d) = self.context.cfg, self.shape(task.map)
        f, x = self._map(task.map), self._noise(1)[0]
        chunk = self.context.chunk_size(f, {"f": str(task.map)}, x)
        jacobian, block = JacobianOperator(f, x, chunk_size=chunk), self.block
        if cfg.svd.solver != "golub_kahan" or self.passes(task).exact:
            columns = min(chunk, m, d)
            seconds = self._time(lambda: jacobian.rmv(torch.eye(m, columns).to(jacobian.x)))
            if not (cfg.svd.solver == "dense" or self.passes(task).exact):
                seconds = (seconds + self._time(lambda: jacobian.mv(torch.eye(d, columns).to(jacobian.x)))) / 2
            return seconds / columns

        def solve(rank: int) -> float:
            """Seconds a pass of a solve that stops as soon as it has ``rank`` directions."""
            spent: int = 2 * block * max(2, math.ceil(rank / block))
            seconds = self._time(lambda: decompose(jacobian, rank, tol=1e-12, block_size=block, max_passes=spent))
            return seconds / spent

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            quick = solve(min(task.rank, 2 * block))
            # with the basis grows the solver's own part; small networks leave time to see it
            return solve(task.rank) if quick * 2 * task.rank < PATIENCE else quick

    def _map(self, f: Map) -> Callable[[Tensor], Tensor]:
        top = self.context.model.schedule.T
        if f.block in ("x0", "eps"):
            return output_map(self.context, top, f.block)
        return self.context.feature_map(top, FeatureConfig(f.block, f.pool))

    def _noise(self, n: int) -> Tensor:
        draw = torch.randn(n, *self.context.model.latent_shape, generator=torch.Generator().manual_seed(0))
        return draw.to(self.context.model.device, self.context.model.dtype)

    def _time(self, run: Callable[[], object]) -> float:
        """Seconds of a call, the better of two after one to warm up; of the first where it takes long."""
        taken: list[float] = []
        for _ in range(3):
            start = time.perf_counter()
            run()
            if self.context.model.device.type == "cuda":
                torch.cuda.synchronize(self.context.model.device)
            taken.append(time.perf_counter() - start)
            if sum(taken) > PATIENCE:
                break
        return min(taken)


def show(plans: Sequence[tuple[str, Plan]]) -> None:
    """Print plans, each under a title, and their sum."""
    console = Console(width=None if sys.stdout.isatty() else 150)
    low = high = 0.0
    for title, one in plans:
        table = Table(title=title or None, title_justify="left", title_style="bold")
        for column in COLUMNS:
            table.add_column(column, justify="left" if column in COLUMNS[:2] else "right")
        for study in one.studies:
            table.add_row(*_row(study), style=None if study.state == "to compute" else "dim")
        everything = _sum(one.studies)
        low, high = low + everything.seconds[0], high + everything.seconds[1]
        table.add_section()
        table.add_row(everything.name, "", *_row(everything)[2:], style="bold")
        console.print(table)
        resident, kept = one.memory
        memory = f"at least {(resident + kept) / 1e9:.1f} GB of {'GPU ' if 'cuda' in one.device else ''}memory"
        console.print(f"{one.model} on {one.device}, {one.samples} samples; {memory} (measured, and the bases kept)")
        if one.unpriced:
            console.print(f"Not in the time, which is that of passes without it: {', '.join(one.unpriced)}")
    if len(plans) > 1:
        console.print(f"all {len(plans)} runs: {_span((low, high))}, each counted alone; a store shares what is alike")
    console.print(
        "Time is that of passes, of the network's evaluations (latents through it, in batches) and of decoding; "
        "reading attributes, scores, tables and figures come on top. ~: depends on what is found.",
        style="dim",
    )


def _sum(studies: Sequence[StudyPlan]) -> StudyPlan:
    """All studies as one."""
    passes = Passes(*(sum(_ends(study.passes)[i] for study in studies) for i in range(3)))
    seconds = sum(study.seconds[0] for study in studies), sum(study.seconds[1] for study in studies)
    return StudyPlan("all", "to compute", [task for study in studies for task in study.tasks], passes, seconds)


def _row(study: StudyPlan) -> tuple[str, ...]:
    if study.state != "to compute":
        return study.name, study.state, "", "", "", ""
    bases = "\n".join(study.bases()) or "none beyond those above"
    return (
        study.name,
        bases,
        _passes(study.passes),
        _number(study, "evaluation"),
        _number(study, "picture"),
        _span(study.seconds),
    )


def _number(study: StudyPlan, kind: str) -> str:
    return f"{'~' if study.about(kind) else ''}{study.latents(kind):,.0f}"


def _passes(passes: Passes) -> str:
    return f"{'' if passes.exact else '~'}{passes.about:,.0f}"


def _power(tol: float) -> str:
    """1e-4 for 0.0001."""
    digits, _, exponent = f"{tol:.2e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"


def _span(seconds: tuple[float, float]) -> str:
    low, high = (_duration(x) for x in seconds)
    return low if low == high else f"{low} to {high}"


def _duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 1:
        return "under 1 s" if seconds > 0 else "0 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
