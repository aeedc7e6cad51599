"""Measure the solvers on a Jacobian: passes, time, memory, and the error against the truth.

python benchmarks/solvers.py --architecture embedded                          the shipped model, on the CPU
python benchmarks/solvers.py --architecture embedded celebahq sd15 --device cuda --budget-seconds 170
python benchmarks/solvers.py --architecture celebahq --pool sum --rank 5 --default-only
                                                                              one basis by the defaults, nothing else
python benchmarks/plot.py outputs/benchmarks                                  figures of what was measured

The truth is the dense SVD where one side of J is at most 4096, else golub_kahan to 1e-6 (products in float32 carry
errors of about 1e-7, so that little tighter can be met). Every case runs once, then all once more, up to --repeats
times, so that whatever slows the machine down meets all of them; seconds are medians. With a budget, cases that it
leaves no time for are in the table and say so.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import platform
import resource
import statistics
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from architectures import ARCHITECTURES, build
from scipy.sparse.linalg import LinearOperator, svds
from torch import Tensor

from diffgeo import DiffusionModel, JacobianOperator, LocalBasis, initial_noise, principal_angles
from diffgeo.diffusion.feature_map import Pool
from diffgeo.errors import ConvergenceWarning
from diffgeo.results import atomic
from diffgeo.svd import SOLVERS, decompose, local_bases, probe_block_size
from diffgeo.svd._linalg import finish, random_block, relative_gap, thin_svd

TOL = 1e-4
TRUTH_TOL = 1e-6
EXACT = 4e-7
"""What ARPACK ends at when told 1e-4, since it iterates on JᵀJ."""
DENSE_SIDE = 4096
ITERATIONS = (10, 30, 50)
CHUNKS = (1, 4, 8, 16, 32, 64)
RANKS = (10, 25, 50, 100)
POINTS = (1, 2, 4, 8)

Settings = dict[str, Any]
Solve = Callable[[JacobianOperator, int, int], Iterator[tuple[Settings, LocalBasis]]]


class OutOfTimeError(Exception):
    """The time of a case has ended."""


@dataclass
class Clock:
    """The time budget; seconds are counted from the start of the process's work."""

    budget: float
    started: float = field(default_factory=time.perf_counter)

    @property
    def left(self) -> float:
        """Seconds that remain."""
        return self.started + self.budget - time.perf_counter()

    def until(self, share: float) -> float:
        """The moment at which ``share`` of what is left now will have passed."""
        return time.perf_counter() + share * max(self.left, 0.0)


@dataclass(frozen=True)
class Case:
    """One solver with its settings.

    Attributes:
        solver: name in the table.
        promised: settings of the bases that ``solve`` yields, in order.
        solve: yields (settings, basis); later bases may continue from earlier ones.
        width: columns of its products, to warm them up.
        share: of the time that remains, at most.
        prepare: what is known before, outside passes and time.
        forward: as for ``JacobianOperator``.
    """

    solver: str
    promised: list[Settings]
    solve: Solve
    width: int
    share: float = 1.0
    prepare: Callable[[], object] | None = None
    forward: bool | None = None


def ours(solver: str, width: int, share: float = 1.0, label: str | None = None, **settings: Any) -> Case:
    """A solver of diffgeo."""

    def solve(jacobian: JacobianOperator, rank: int, seed: int) -> Iterator[tuple[Settings, LocalBasis]]:
        yield settings, SOLVERS[solver](jacobian, rank, seed=seed, **settings)

    return Case(label or solver, [settings], solve, width, share)


def papers(rank: int, *, released: bool) -> Case:
    """Subspace iteration as the papers ran it: n columns, a fixed number of iterations, 2 n passes each.

    Args:
        rank: n.
        released: J V by forward mode, as in the released code, or by the products of diffgeo.
    """

    def solve(jacobian: JacobianOperator, rank: int, seed: int) -> Iterator[tuple[Settings, LocalBasis]]:
        iteration, basis = 0, None
        try:
            for iteration, basis in subspace_iteration(jacobian, rank, seed):
                if iteration in ITERATIONS:
                    yield promised[ITERATIONS.index(iteration)], basis
                if iteration == ITERATIONS[-1]:
                    return
        except OutOfTimeError:  # how far it came is worth a row of its own
            if basis is not None and iteration not in ITERATIONS:
                yield {**road, "iterations": iteration}, basis
            raise

    road: Settings = {"J V": "forward mode" if released else "ours"}
    promised = [{**road, "iterations": i} for i in ITERATIONS]
    return Case("papers", promised, solve, rank, share=0.4, forward=True if released else None)


def subspace_iteration(jacobian: JacobianOperator, rank: int, seed: int) -> Iterator[tuple[int, LocalBasis]]:
    """(iteration, basis) without end: ``SOLVERS["subspace"]`` without oversampling, seen at every iteration."""
    before = jacobian.passes
    v = random_block(jacobian.shape[1], rank, jacobian.x, seed)
    iteration = 0
    while True:
        iteration += 1
        u, s, zh = thin_svd(jacobian.mv(v).double())
        v = v @ zh.T
        g = jacobian.rmv(u).double()
        right = (g - v * s).norm(dim=0)
        yield (
            iteration,
            finish(
                jacobian.x.dtype,
                u,
                s,
                v,
                left=torch.zeros_like(right),
                right=right,
                tol=TOL,
                passes=jacobian.passes - before,
                solver="papers",
                gap=relative_gap(s, rank),
            ),
        )
        v = torch.linalg.qr(g).Q


def scipy_svds(solver: str) -> Case:
    """``scipy.sparse.linalg.svds`` over the same products, one column at a time (its algorithms have no blocks)."""
    settings = {"solver": solver, "tol": TOL}

    def solve(jacobian: JacobianOperator, rank: int, seed: int) -> Iterator[tuple[Settings, LocalBasis]]:
        m, d = jacobian.shape

        def product(times: Callable[[Tensor], Tensor]) -> Callable[[np.ndarray], np.ndarray]:
            def apply(columns: np.ndarray) -> np.ndarray:
                matrix = torch.from_numpy(np.ascontiguousarray(columns)).reshape(len(columns), -1)
                return times(matrix.to(jacobian.x)).double().cpu().numpy().reshape(-1, *columns.shape[1:])

            return apply

        mv, rmv = product(jacobian.mv), product(jacobian.rmv)
        operator = LinearOperator((m, d), matvec=mv, rmatvec=rmv, matmat=mv, rmatmat=rmv, dtype=np.float64)
        start = np.random.default_rng(seed).standard_normal(m if solver == "propack" else min(m, d))
        before = jacobian.passes
        u, s, vh = svds(operator, k=rank, tol=TOL, solver=solver, v0=start)
        order = np.argsort(-s)
        u, s, v = (torch.from_numpy(a.copy()).to(jacobian.x.device) for a in (u[:, order], s[order], vh[order].T))
        passes = jacobian.passes - before
        nan = torch.full_like(s, float("nan"))  # measured by `residuals`, outside the time
        yield (
            settings,
            finish(
                jacobian.x.dtype,
                u,
                s,
                v,
                left=nan,
                right=nan,
                tol=TOL,
                passes=passes,
                solver="svds",
                gap=float("nan"),
            ),
        )

    return Case("scipy svds", [settings], solve, 1, share=0.35)


def cases(rank: int) -> list[Case]:
    """All that are compared, the ones that matter most first."""
    return [
        ours("golub_kahan", 16, block_size=16, tol=TOL),
        papers(rank, released=True),
        papers(rank, released=False),
        scipy_svds("arpack"),
        ours("golub_kahan", 8, block_size=8, tol=EXACT),
        ours("randomized", rank + 10, label="svd_lowrank", oversample=10, power_steps=2),
        ours("golub_kahan", 25, block_size=25, tol=TOL),
        ours("golub_kahan", 12, block_size=12, tol=TOL),
        ours("golub_kahan", 8, block_size=8, tol=TOL),
        ours("golub_kahan", 6, block_size=6, tol=TOL),
        ours("golub_kahan", 4, block_size=4, tol=TOL),
        ours("golub_kahan", 3, block_size=3, tol=TOL),
        ours("randomized", rank + 10, oversample=10, power_steps=3),
        scipy_svds("propack"),
        ours("subspace", rank + 10, share=0.5, oversample=10, tol=TOL),
    ]


def probed(bench: Bench) -> Case:
    """The default solver with the block size that a probe on this device finds quickest."""

    def solve(jacobian: JacobianOperator, rank: int, seed: int) -> Iterator[tuple[Settings, LocalBasis]]:
        yield promised, SOLVERS["golub_kahan"](jacobian, rank, seed=seed, block_size=bench.quickest, tol=TOL)

    promised: Settings = {"block_size": "probed", "tol": TOL}
    return Case("golub_kahan", [promised], solve, 16, prepare=lambda: bench.quickest)


class Bench:
    """One architecture on one device, and the rows measured so far."""

    def __init__(self, name: str, args: argparse.Namespace, rows: list[Settings]) -> None:
        self.name, self.args, self.rows = name, args, rows
        self.device = torch.device(args.device)
        self.model = build(name, args.device, seed=args.seed)
        self.pool: Pool = None if args.pool == "none" else "sum"
        self.f = self.model.feature_map(self.model.schedule.T, pool=self.pool)
        self.stop_at = float("inf")
        chunk = args.chunk_size or (32 if self.device.type == "cuda" else ARCHITECTURES[name].cpu_chunk)
        self.jacobian = JacobianOperator(
            self.f, initial_noise(self.model, [args.seed])[0], chunk_size=chunk, on_pass=self._tick
        )
        self.parameters = sum(p.numel() for p in self.model.unet.parameters())
        self.truth: LocalBasis | None = None

    def _tick(self, _columns: int) -> None:
        if time.perf_counter() > self.stop_at:
            raise OutOfTimeError

    def add(self, kind: str, **values: Any) -> None:
        """Keep a row and print its gist."""
        m, d = self.jacobian.shape
        row = {
            "kind": kind,
            "architecture": self.name,
            "parameters": self.parameters,
            "pool": self.args.pool,
            "resolution": self.jacobian.x.shape[-1],
            "m": m,
            "d": d,
            "rank": self.args.rank,
            "chunk_size": self.jacobian.chunk_size,
            "status": "ok",
            "repeat": 0,
            **values,
        }
        self.rows.append(row)
        shown = {k: f"{v:.3g}" if isinstance(v, float) else v for k, v in values.items() if k != "repeat"}
        print(f"{self.name}: {kind} " + ", ".join(f"{k} {v}" for k, v in shown.items()), flush=True)

    def synchronise(self) -> None:
        """Wait for the device, so that a clock read next tells the truth."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def now(self) -> float:
        """Seconds, the device's work done."""
        self.synchronise()
        return time.perf_counter()

    def columns(self, k: int, side: int) -> Tensor:
        """Random columns for J V (side 1) or Jᵀ U (side 0)."""
        generator = torch.Generator().manual_seed(k)
        return torch.randn(self.jacobian.shape[side], k, generator=generator).to(self.jacobian.x)

    def warm_up(self, width: int) -> None:
        """One product of each kind, so that choosing kernels and growing the memory pool is not timed."""
        self.jacobian.mv(self.columns(width, 1))
        self.jacobian.rmv(self.columns(width, 0))
        self.synchronise()

    def fit_chunk(self) -> None:
        """Halve chunk_size until products fit in memory."""
        while True:
            fits = True
            try:
                self.warm_up(self.jacobian.chunk_size)
            except torch.OutOfMemoryError:
                fits = False
            if fits:
                return
            empty_memory()
            if self.jacobian.chunk_size == 1:
                raise MemoryError(f"{self.name}: one pass does not fit in memory")
            self.jacobian.chunk_size //= 2

    def default(self) -> None:
        """What ``local_basis`` does by its defaults, once and without warming up: as a first run finds it."""
        self.jacobian.chunk_size = self.args.chunk_size or 32
        peak, started = Peak(self.device), self.now()
        certificate = decompose(self.jacobian, self.args.rank, seed=self.args.seed).certificate
        values: Settings = {"solver": certificate.solver, "passes": certificate.passes, "seconds": self.now() - started}
        values |= {"residual": certificate.residual, "gap": certificate.gap, "peak_mib": peak.mib()}
        self.add("solver", settings="defaults of local_basis", **values)

    def find_truth(self) -> None:
        """The dense SVD, or golub_kahan to a tight tolerance."""
        exact, stop_at = min(self.jacobian.shape) <= DENSE_SIDE, self.stop_at
        settings: Settings = {"tol": TRUTH_TOL} if exact else {"tol": TRUTH_TOL, "block_size": 16}
        peak, started, before = Peak(self.device), self.now(), self.jacobian.passes
        self.stop_at = float("inf")  # without a truth nothing else is worth much
        if exact:
            self.truth = SOLVERS["dense"](self.jacobian, self.args.rank, **settings)
        else:
            most = 40 * self.args.rank
            if stop_at < float("inf"):  # a truth less true is better than none
                per_pass = self.milliseconds("mv", self.jacobian.chunk_size, 1) / 1000
                before = self.jacobian.passes
                started = self.now()
                most = min(most, max(int(0.4 * (stop_at - started) / per_pass), 4 * self.args.rank))
            self.truth = SOLVERS["golub_kahan"](
                self.jacobian, self.args.rank, seed=self.args.seed + 1, max_passes=most, **settings
            )
        certificate = self.truth.certificate
        self.add(
            "solver",
            solver="dense" if exact else "truth",
            settings=say(settings),
            passes=self.jacobian.passes - before,
            seconds=self.now() - started,
            residual=certificate.residual,
            gap=certificate.gap,
            angle=0.0,
            error_s=0.0,
            peak_mib=peak.mib(),
        )

    @cached_property
    def quickest(self) -> int:
        """The block size that a probe recommends."""
        found = probe_block_size(self.jacobian, self.args.rank)
        print(f"{self.name}: probe: blocks of {found} columns", flush=True)
        return found

    def count(self, columns: int) -> None:
        """Passes of an operator that is not the bench's own."""
        self.jacobian.passes += columns
        self._tick(columns)

    def fresh(self, case: Case) -> JacobianOperator:
        """J without graphs that an earlier case has left."""
        x, chunk = self.jacobian.x, self.jacobian.chunk_size
        self.jacobian._copies = None
        return JacobianOperator(self.f, x, chunk_size=chunk, forward=case.forward, on_pass=self.count)

    def run(self, case: Case, repeat: int) -> None:
        """One case, once; rows for all that it promised, whether it came that far or not."""
        done: set[str] = set()
        seconds, peak, before = 0.0, Peak(self.device), self.jacobian.passes
        started = self.now()
        try:
            warm = self.fresh(case)
            warm.mv(self.columns(case.width, 1))
            warm.rmv(self.columns(case.width, 0))
            del warm
            if case.prepare is not None:
                case.prepare()
            empty_memory()
            peak, before, started = Peak(self.device), self.jacobian.passes, self.now()
            jacobian = self.fresh(case)  # its graphs are made within the time
            for settings, basis in case.solve(jacobian, self.args.rank, self.args.seed):
                seconds += self.now() - started
                passes = self.jacobian.passes - before
                self.record(case, settings, basis, passes, seconds, peak, repeat)
                done.add(say(settings))
                before = self.jacobian.passes - passes  # recording is outside passes and time
                started = self.now()
        except OutOfTimeError:
            status, seconds = "stopped: its share of the budget ended", seconds + self.now() - started
        except torch.OutOfMemoryError:
            status, seconds = "stopped: out of memory", seconds + self.now() - started
        except Exception as error:  # a baseline that fails must not end the run
            reason = " ".join(str(error).split())[:80]
            status, seconds = f"failed: {type(error).__name__} {reason}", seconds + self.now() - started
        empty_memory()
        for settings in (waiting for waiting in case.promised if say(waiting) not in done):
            self.add(
                "solver",
                solver=case.solver,
                settings=say(settings),
                passes=self.jacobian.passes - before,
                seconds=seconds,
                status=status,
                repeat=repeat,
            )

    def record(
        self,
        case: Case,
        settings: Settings,
        basis: LocalBasis,
        passes: int,
        seconds: float,
        peak: Peak,
        repeat: int,
    ) -> None:
        """The row of one basis; what it takes to judge it is not counted."""
        mib, stop_at, self.stop_at = peak.mib(), self.stop_at, float("inf")
        residual = basis.certificate.residual
        if residual != residual:
            residual = residuals(self.jacobian, basis)
        angle, error = float("nan"), float("nan")
        if self.truth is not None:
            angle = principal_angles(self.truth.V.cpu(), basis.V.cpu()).max().item()
            error = ((basis.s - self.truth.s) / self.truth.s).abs().max().item()
        self.stop_at = stop_at
        self.add(
            "solver",
            solver=case.solver,
            settings=say(settings),
            passes=passes,
            seconds=seconds,
            angle=angle,
            error_s=error,
            residual=residual,
            gap=basis.certificate.gap,
            peak_mib=mib,
            repeat=repeat,
        )

    def solvers(self, deadline: float, repeat: int) -> None:
        """All cases in turn, until the deadline."""
        for case in [*cases(self.args.rank), probed(self)]:
            now = time.perf_counter()
            if now > deadline:
                if repeat == 0:
                    for settings in case.promised:
                        self.add("solver", solver=case.solver, settings=say(settings), status="skipped: no time left")
                continue
            self.stop_at = now + case.share * (deadline - now)
            self.run(case, repeat)

    def milliseconds(self, product: str, chunk: int, repeats: int) -> float:
        """Time of a pass in a product of ``chunk`` columns, the median."""
        columns = self.columns(chunk, 1 if product == "mv" else 0)
        times = []
        for _ in range(repeats + 1):
            started = self.now()
            getattr(self.jacobian, product)(columns)
            times.append(self.now() - started)
        return 1000 * statistics.median(times[1:]) / chunk

    def chunks(self, deadline: float) -> None:
        """Milliseconds a pass by chunk_size, both products by turns."""
        kept, self.stop_at = self.jacobian.chunk_size, float("inf")
        stopped = {"mv": "", "rmv": ""}
        for chunk in CHUNKS:
            for product, label in (("mv", "jvp"), ("rmv", "vjp")):
                if chunk > self.args.most_chunk:
                    stopped[product] = stopped[product] or "skipped: above --most-chunk"
                elif time.perf_counter() > deadline:
                    stopped[product] = stopped[product] or "skipped: no time left"
                if stopped[product]:
                    self.add("chunk", solver=label, chunk_size=chunk, status=stopped[product])
                    continue
                self.jacobian.chunk_size = chunk
                peak = Peak(self.device)
                try:
                    milliseconds = self.milliseconds(product, chunk, min(self.args.repeats, 2))
                    self.add(
                        "chunk",
                        solver=label,
                        chunk_size=chunk,
                        ms_per_pass=milliseconds,
                        peak_mib=peak.mib(),
                        passes=chunk,
                    )
                except torch.OutOfMemoryError:
                    stopped[product] = "out of memory"
                    self.add("chunk", solver=label, chunk_size=chunk, status=stopped[product])
                empty_memory()
        self.jacobian.chunk_size = kept

    def growth(self, deadline: float) -> None:
        """The default solver's passes and time as n grows, then as the picture grows."""
        block = 16 if self.device.type == "cuda" else 8
        full, side = self.jacobian, self.jacobian.x.shape[-1]
        plan = [("rank", n, side) for n in RANKS if 4 * n <= min(full.shape)]
        plan += [("resolution", self.args.rank, r) for r in ARCHITECTURES[self.name].resolutions]
        plan.sort(key=lambda step: step[0] == "rank")  # few resolutions first
        for kind, n, resolution in plan:
            values: Settings = {"solver": "golub_kahan", "rank": n, "resolution": resolution}
            values["settings"] = say({"block_size": block, "tol": TOL})
            if time.perf_counter() > deadline:
                self.add(kind, **values, status="skipped: no time left")
                continue
            self.jacobian = full
            if resolution != side:
                x = initial_noise(self.model, [self.args.seed])[0, :, :resolution, :resolution]
                self.jacobian = JacobianOperator(self.f, x, chunk_size=full.chunk_size, on_pass=self._tick)
            self.stop_at = deadline
            try:
                self.warm_up(block)
                peak, started, before = Peak(self.device), self.now(), self.jacobian.passes
                basis = SOLVERS["golub_kahan"](self.jacobian, n, seed=self.args.seed, block_size=block, tol=TOL)
                seconds, passes = self.now() - started, self.jacobian.passes - before
                values |= {"seconds": seconds, "passes": passes, "ms_per_pass": 1000 * seconds / passes}
                certificate = basis.certificate
                self.add(kind, **values, residual=certificate.residual, gap=certificate.gap, peak_mib=peak.mib())
            except OutOfTimeError:
                self.add(kind, **values, status="stopped: the budget ended")
        self.jacobian = full
        self.batch(deadline)

    def batch(self, deadline: float) -> None:
        """Seconds a basis as more points are solved together."""
        for count in POINTS:
            values: Settings = {"solver": "local_bases", "settings": say({"points": count})}
            if time.perf_counter() > deadline:
                self.add("points", **values, status="skipped: no time left")
                continue
            xs = initial_noise(self.model, [self.args.seed + i for i in range(count)])
            chunk = self.jacobian.chunk_size
            self.stop_at = deadline
            try:
                local_bases(self.f, xs, 2, tol=0.5, chunk_size=chunk, on_pass=self._tick)  # warm
                peak, started = Peak(self.device), self.now()
                found = local_bases(self.f, xs, self.args.rank, tol=TOL, chunk_size=chunk, on_pass=self._tick)
                seconds, passes = self.now() - started, sum(basis.certificate.passes for basis in found)
                values |= {"seconds": seconds / count, "passes": passes / count, "ms_per_pass": 1000 * seconds / passes}
                residual = max(basis.certificate.residual for basis in found)
                self.add("points", **values, residual=residual, peak_mib=peak.mib())
            except OutOfTimeError:
                self.add("points", **values, status="stopped: the budget ended")
            except torch.OutOfMemoryError:
                self.add("points", **values, status="stopped: out of memory")
                empty_memory()


def check_device(name: str, args: argparse.Namespace, rows: list[Settings]) -> bool:
    """Whether the device gives what the CPU gives: h, both products, and singular values to 1e-5."""
    bench = Bench(name, args, rows)
    there = bench.jacobian
    here = JacobianOperator(cpu_copy(bench.model, name, args).feature_map(bench.model.schedule.T), there.x.cpu())
    rank = min(args.rank, min(there.shape) // 8)
    v, u = bench.columns(4, 1), bench.columns(4, 0)
    jv, ju = there.mv(v), there.rmv(u)
    values: Settings = {
        "error_h": distance(there.h, here.h),
        "error_jvp": distance(jv, here.mv(v.cpu())),
        "error_vjp": distance(ju, here.rmv(u.cpu())),
        "error_adjoint": ((jv * u).sum() - (v * ju).sum()).abs().item() / (jv.norm() * u.norm()).item(),
    }
    options = {"tol": 1e-5, "block_size": 16}
    a, b = (SOLVERS["golub_kahan"](j, rank, seed=args.seed, **options) for j in (there, here))
    values["error_s"] = ((a.s.cpu() - b.s) / b.s).abs().max().item()
    values["angle"] = principal_angles(a.V.cpu(), b.V).max().item()
    agrees = values["error_s"] <= 1e-5 and a.V.device == there.x.device == a.s.device == a.U.device
    passes = a.certificate.passes
    bench.add("check", solver="golub_kahan", rank=rank, settings=say(options), passes=passes, **values)
    if not agrees:
        rows[-1]["status"] = "FAILED: singular values or devices differ from the CPU's"
        print(rows[-1]["status"], flush=True)
    return agrees


def cpu_copy(model: DiffusionModel, name: str, args: argparse.Namespace) -> DiffusionModel:
    """The same weights on the CPU."""
    copy = build(name, "cpu", seed=args.seed)
    copy.unet.load_state_dict({key: value.cpu() for key, value in model.unet.state_dict().items()})
    return copy


def distance(a: Tensor, b: Tensor) -> float:
    """‖a − b‖ / ‖b‖."""
    a, b = a.cpu().double(), b.cpu().double()
    return ((a - b).norm() / b.norm()).item()


def residuals(jacobian: JacobianOperator, basis: LocalBasis) -> float:
    """The largest residual relative to s_1, for bases that come without a certificate (2 n passes)."""
    u, s, v = basis.U.double(), basis.s.double(), basis.V.double()
    left = (jacobian.mv(basis.V).double() - u * s).norm(dim=0).max()
    right = (jacobian.rmv(basis.U).double() - v * s).norm(dim=0).max()
    return (torch.maximum(left, right) / s[0]).item()


class Peak:
    """Peak memory from now on: what torch allocated on a GPU, the resident set on the CPU."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            with contextlib.suppress(OSError):  # Linux forgets the old peak when asked to
                Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")

    def mib(self) -> float:
        """MiB."""
        if self.cuda:
            return torch.cuda.max_memory_allocated() / 2**20
        try:
            lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
            return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
        except (OSError, StopIteration):
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def empty_memory() -> None:
    """Return what is free to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def say(settings: Settings) -> str:
    """Settings as one short string."""
    return ", ".join(f"{k} {v:g}" if isinstance(v, int | float) else f"{k} {v}" for k, v in settings.items())


def environment(device: str) -> Settings:
    """What every row tells of where it was measured."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    cuda = device.startswith("cuda")
    return {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, {processor}",
        "device": device,
        "device_name": torch.cuda.get_device_name() if cuda else processor,
        "torch": torch.__version__,
        "cuda": torch.version.cuda if cuda else "",
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }


def summarise(rows: list[Settings], where: Settings) -> pd.DataFrame:
    """One row a case: the median of its seconds, and how many repeats there were."""
    table = pd.DataFrame(rows)
    for column in ("solver", "settings", "seconds", "passes", "ms_per_pass", "angle", "error_s", "residual", "gap"):
        if column not in table:
            table[column] = None
    keys = ["kind", "architecture", "resolution", "rank", "chunk_size", "solver", "settings"]
    table[keys] = table[keys].where(table[keys].notna(), "")
    parts = []
    for _, group in table.groupby(keys, sort=False):
        finished = group[group["status"] == "ok"]
        row = (finished if len(finished) else group).iloc[0].copy()
        if len(finished):
            seconds = finished["seconds"].astype(float)
            row["seconds"], row["seconds_min"], row["seconds_max"] = seconds.median(), seconds.min(), seconds.max()
        row["repeats"] = len(finished)
        parts.append(row.drop("repeat"))
    result = pd.DataFrame(parts).reset_index(drop=True)
    with_passes = result["ms_per_pass"].isna() & result["seconds"].notna()
    result["ms_per_pass"] = result["ms_per_pass"].astype(float)
    result.loc[with_passes, "ms_per_pass"] = (
        1000 * result["seconds"].astype(float) / result["passes"].astype(float).clip(lower=1)
    )[with_passes]
    for column in ("rank", "chunk_size", "resolution", "m", "d", "parameters"):
        result[column] = result[column].astype(int)
    for column in ("seconds", "passes", "angle", "error_s", "residual", "gap"):
        result[column] = result[column].astype(float)
    return result.assign(**where)


MARKDOWN = {
    "check": ["solver", "settings", "rank", "error_h", "error_jvp", "error_vjp", "error_adjoint", "error_s", "angle"],
    "solver": ["solver", "settings", "passes", "seconds", "ms_per_pass", "angle", "error_s", "residual", "peak_mib"],
    "chunk": ["solver", "chunk_size", "ms_per_pass", "peak_mib"],
    "resolution": ["resolution", "settings", "passes", "seconds", "ms_per_pass", "residual", "peak_mib"],
    "points": ["settings", "passes", "seconds", "ms_per_pass", "residual", "peak_mib"],
    "rank": ["rank", "settings", "passes", "seconds", "ms_per_pass", "residual", "peak_mib"],
}
"""Columns of the printed tables; status is added where something is not ok."""


def markdown(table: pd.DataFrame) -> str:
    """The tables of each architecture."""
    first = table.iloc[0]
    lines = [f"{first['device_name']}, torch {first['torch']}, {first['threads']} threads; {first['machine']}"]
    for name, rows in table.groupby("architecture", sort=False):
        top = rows.iloc[0]
        lines += ["", f"## {name}", "", f"{top['parameters'] / 1e6:.2f} M parameters, J is {top['m']} x {top['d']}"]
        for kind, columns in MARKDOWN.items():
            part = rows[rows["kind"] == kind]
            if not len(part):
                continue
            shown = [*columns, *(["status"] if (part["status"] != "ok").any() else [])]
            shown = [column for column in shown if column in part]
            fits = sorted(set(part["chunk_size"])) if kind != "chunk" else []
            lines += ["", f"### {kind}" + (f" (chunk_size {', '.join(map(str, fits))})" if fits else ""), ""]
            lines += ["| " + " | ".join(shown) + " |", "|" + "---|" * len(shown)]
            for _, row in part.iterrows():
                lines.append("| " + " | ".join(cell(row[column]) for column in shown) + " |")
    return "\n".join(lines) + "\n"


def bars(table: pd.DataFrame) -> list[str]:
    """What a basis of 50 on the shipped model is held to, and what was measured; nothing for other runs."""
    rows = table[(table["architecture"] == "embedded") & (table["kind"] == "solver") & (table["status"] == "ok")]
    if rows.empty or set(rows["rank"]) != {50}:
        return []
    ours, svds = rows[rows["solver"] == "golub_kahan"], rows[rows["solver"] == "scipy svds"]
    exact = ours[(ours["residual"] <= TOL) & (ours["angle"] <= 1e-3)]
    quickest = exact.sort_values("seconds").head(1)
    fewest = exact.sort_values("passes").head(1)
    lines = []

    def say_bar(what: str, value: float, limit: float, unit: str, *, least: bool = False) -> None:
        met = value >= limit if least else value <= limit
        sign = "at least" if least else "at most"
        lines.append(f"{'met    ' if met else 'NOT MET'} {what}: {value:.3g} {unit} ({sign} {limit:g})")

    def say_ratio(what: str, theirs: pd.DataFrame, mine: pd.DataFrame, limit: float) -> None:
        if len(theirs) and len(mine):
            say_bar(what, theirs["seconds"].min() / mine["seconds"].min(), limit, "times", least=True)

    nothing = float("inf")
    say_bar("cold, to 1e-3 rad, fewest", fewest["passes"].min() if len(fewest) else nothing, 350, "passes")
    say_bar("cold, to 1e-3 rad, quickest", quickest["passes"].min() if len(quickest) else nothing, 350, "passes")
    for road in ("forward mode", "ours"):
        iterated = rows[(rows["solver"] == "papers") & (rows["settings"] == f"J V {road}, iterations 50")]
        say_ratio(f"quicker than 50 subspace iterations, J V {road}", iterated, quickest, 12)
    arpack = svds[svds["settings"].str.contains("arpack")]
    equal = ours[ours["residual"] <= max(arpack["residual"].min(), EXACT)] if len(arpack) else ours.head(0)
    say_ratio("quicker than scipy svds, equally exact", arpack, equal, 1)
    say_ratio("quicker than scipy svds told the same tolerance", svds[svds["residual"] <= TOL], quickest, 1)
    return lines


def cell(value: Any) -> str:
    """A number with what digits it deserves."""
    if isinstance(value, float):
        if value != value:
            return ""
        if value.is_integer() and abs(value) < 1e6:
            return str(int(value))
        return f"{value:.2f}" if 0.1 <= abs(value) < 1e3 else f"{value:.0f}" if abs(value) >= 1e3 else f"{value:.1e}"
    return str(value)


def write(rows: list[Settings], out: Path, where: Settings) -> pd.DataFrame:
    """All rows so far as CSV, Parquet and Markdown."""
    table = summarise(rows, where)
    for suffix in (".csv", ".parquet", ".md"):
        with atomic(out / f"solvers{suffix}") as temporary:
            if suffix == ".csv":
                table.to_csv(temporary, index=False)
            elif suffix == ".parquet":
                table.to_parquet(temporary, index=False)
            else:
                temporary.write_text(markdown(table), encoding="utf-8")
    return table


def measure(name: str, args: argparse.Namespace, seconds: float, rows: list[Settings], save: Callable[[], Any]) -> None:
    """Everything for one architecture: the solvers first, then the curves, then repeats while there is time."""
    clock = Clock(seconds)
    bench = Bench(name, args, rows)
    if args.default_only:
        bench.default()
        save()
        return
    print(f"{name}: built in {time.perf_counter() - clock.started:.1f} s; {seconds:.0f} s to spend", flush=True)
    bench.fit_chunk()
    end = clock.until(1.0)
    solving = clock.until(0.75)
    bench.stop_at = solving
    bench.find_truth()
    save()
    bench.solvers(solving, repeat=0)
    save()
    bench.chunks(clock.until(0.5))
    save()
    bench.growth(end)
    save()
    for repeat in range(1, args.repeats):
        if clock.left > 0:
            bench.solvers(end, repeat)
    save()


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", nargs="+", choices=ARCHITECTURES, default=["embedded"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rank", type=int, default=50)
    parser.add_argument("--pool", choices=["none", "sum"], default="none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--chunk-size", type=int, help="columns per product (32 on a GPU); halved where memory ends")
    parser.add_argument("--most-chunk", type=int, default=CHUNKS[-1], help="end of the chunk_size curve")
    parser.add_argument("--budget-seconds", type=float, default=float("inf"), help="for all architectures together")
    parser.add_argument("--default-only", action="store_true", help="one basis by the defaults of local_basis")
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks"))
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run; 1 where a device disagrees with the CPU, or an architecture failed."""
    args = parse(argv)
    warnings.simplefilter("ignore", ConvergenceWarning)
    clock, where = Clock(args.budget_seconds), environment(args.device)
    print(", ".join(f"{k} {v}" for k, v in where.items()), flush=True)
    rows: list[Settings] = []
    failed = False
    if args.device != "cpu":
        for name in ("tiny_sd", "embedded"):
            try:
                failed |= not check_device(name, args, rows)
            except Exception:  # what works is still worth measuring
                failed = True
                traceback.print_exc()
        print(f"checked after {time.perf_counter() - clock.started:.1f} s", flush=True)
    waiting = list(args.architecture)
    while waiting:
        share = ARCHITECTURES[waiting[0]].weight / sum(ARCHITECTURES[name].weight for name in waiting)
        name = waiting.pop(0)
        try:
            measure(name, args, share * clock.left, rows, lambda: write(rows, args.out, where))
        except KeyboardInterrupt:  # keep what there is
            failed = True
            break
        except Exception as error:  # the other architectures are still worth measuring
            failed = True
            print(f"{name}: FAILED, {type(error).__name__}: {error}", flush=True)
            traceback.print_exc()
            if len(args.architecture) == 1:
                raise
        empty_memory()
    if rows:
        write(rows, args.out, where)
        print("\n" + (args.out / "solvers.md").read_text(encoding="utf-8"))
        print("\n".join(bars(pd.read_parquet(args.out / "solvers.parquet"))))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
