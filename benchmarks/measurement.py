"""One architecture on one device: every case once, or as often as there is time, and the curves."""

from __future__ import annotations

import argparse
import statistics
import time
from functools import cached_property
from typing import Any

import torch
from architectures import ARCHITECTURES, build
from cases import TOL, Case, OutOfTimeError, Settings, cases, probed, say
from machine import Peak, empty_memory
from released import angles_by_start
from torch import Tensor

from diffgeo import JacobianOperator, LocalBasis, initial_noise, principal_angles
from diffgeo.diffusion.feature_map import Pool
from diffgeo.svd import Dense, GolubKahan, SolveSpec, decompose, local_bases, probe_block_size

TRUTH_TOL = 1e-6
DENSE_SIDE = 4096
CHUNKS = (1, 4, 8, 16, 32, 64)
RANKS = (10, 25, 50, 100)
POINTS = (1, 2, 4, 8)
STARTS = 12


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
        certificate = decompose(self.jacobian, SolveSpec(rank=self.args.rank, seed=self.args.seed)).certificate
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
            self.truth = Dense().solve(self.jacobian, self.args.rank, tol=TRUTH_TOL)
        else:
            most = 40 * self.args.rank
            if stop_at < float("inf"):  # a truth less true is better than none
                per_pass = self.milliseconds("mv", self.jacobian.chunk_size, 1) / 1000
                before = self.jacobian.passes
                started = self.now()
                most = min(most, max(int(0.4 * (stop_at - started) / per_pass), 4 * self.args.rank))
            patient = GolubKahan(block_size=16, max_passes=most)
            self.truth = patient.solve(self.jacobian, self.args.rank, tol=TRUTH_TOL, seed=self.args.seed + 1)
        certificate = self.truth.certificate
        self.add(
            "solver",
            solver="dense" if exact else "truth",
            settings=say(settings),
            passes=self.jacobian.passes - before,
            seconds=self.now() - started,
            residual=certificate.residual,
            gap=certificate.gap,
            **gist(torch.zeros(self.args.rank)),
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

    def fresh(self) -> JacobianOperator:
        """J without graphs that an earlier case has left."""
        x, chunk = self.jacobian.x, self.jacobian.chunk_size
        self.jacobian.forget()
        return JacobianOperator(self.f, x, chunk_size=chunk, on_pass=self.count)

    def run(self, case: Case, repeat: int) -> None:
        """One case, once; rows for all that it promised, whether it came that far or not."""
        done: set[str] = set()
        seconds, peak, before = 0.0, Peak(self.device), self.jacobian.passes
        started = self.now()
        try:
            warm = self.fresh()
            for product, side in zip(case.products(warm), (1, 0), strict=True):
                product(self.columns(case.width, side).T)
            del warm
            if case.prepare is not None:
                case.prepare()
            empty_memory()
            peak, before, started = Peak(self.device), self.jacobian.passes, self.now()
            jacobian = self.fresh()  # its graphs are made within the time
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
        self, case: Case, settings: Settings, basis: LocalBasis, passes: int, seconds: float, peak: Peak, repeat: int
    ) -> None:
        """The row of one basis; what it takes to judge it is not counted."""
        mib, stop_at, self.stop_at = peak.mib(), self.stop_at, float("inf")
        residual = basis.certificate.residual
        if residual != residual:
            residual = residuals(self.jacobian, basis)
        angles, error = {}, float("nan")
        if self.truth is not None:
            angles = gist(principal_angles(self.truth.V.cpu(), basis.V.cpu()))
            error = ((basis.s - self.truth.s) / self.truth.s).abs().max().item()
        self.stop_at = stop_at
        self.add(
            "solver",
            solver=case.solver,
            settings=say(settings),
            passes=passes,
            seconds=seconds,
            **angles,
            error_s=error,
            residual=residual,
            gap=basis.certificate.gap,
            peak_mib=mib,
            repeat=repeat,
        )

    def solvers(self, deadline: float, repeat: int) -> None:
        """All cases in turn, until the deadline."""
        for case in [*cases(self.args.rank), probed(lambda: self.quickest)]:
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
                basis = GolubKahan(block_size=block).solve(self.jacobian, n, tol=TOL, seed=self.args.seed)
                seconds, passes = self.now() - started, self.jacobian.passes - before
                values |= {"seconds": seconds, "passes": passes, "ms_per_pass": 1000 * seconds / passes}
                certificate = basis.certificate
                self.add(kind, **values, residual=certificate.residual, gap=certificate.gap, peak_mib=peak.mib())
            except OutOfTimeError:
                self.add(kind, **values, status="stopped: the budget ended")
        self.jacobian = full
        self.batch(deadline)
        self.starts(deadline)

    def batch(self, deadline: float) -> None:
        """Seconds a basis as more points are solved together."""
        for count in POINTS:
            values: Settings = {"solver": "local_bases", "settings": say({"points": count})}
            if time.perf_counter() > deadline:
                self.add("points", **values, status="skipped: no time left")
                continue
            xs = initial_noise(self.model, [self.args.seed + i for i in range(count)])
            spec = SolveSpec(rank=self.args.rank, tol=TOL, chunk_size=self.jacobian.chunk_size)
            self.stop_at = deadline
            try:
                local_bases(self.f, xs, spec.of_rank(2, tol=0.5), on_pass=self._tick)  # warm
                peak, started = Peak(self.device), self.now()
                found = local_bases(self.f, xs, spec, on_pass=self._tick)
                seconds, passes = self.now() - started, sum(basis.certificate.passes for basis in found)
                values |= {"seconds": seconds / count, "passes": passes / count, "ms_per_pass": 1000 * seconds / passes}
                residual = max(basis.certificate.residual for basis in found)
                self.add("points", **values, residual=residual, peak_mib=peak.mib())
            except OutOfTimeError:
                self.add("points", **values, status="stopped: the budget ended")
            except torch.OutOfMemoryError:
                self.add("points", **values, status="stopped: out of memory")
                empty_memory()

    def starts(self, deadline: float) -> None:
        """Angles of the released iteration from several random starts, if the dense J is at hand to do it cheaply."""
        m, d = self.jacobian.shape
        values: Settings = {"solver": "papers"}
        if d > DENSE_SIDE:
            return
        if time.perf_counter() > deadline:
            self.add("start", **values, status="skipped: no time left")
            return
        self.stop_at = float("inf")
        s = torch.linalg.svdvals(self.jacobian.dense().double())
        s = torch.cat([s, s.new_zeros(max(0, d - m))]).cpu()
        for seed, angles in enumerate(angles_by_start(s, self.args.rank, STARTS)):
            self.add("start", **values, settings=say({"seed": seed}), **gist(angles))


def gist(angles: Tensor) -> dict[str, float]:
    """Of the principal angles to the truth: the largest, the median, and how many are below 0.1 rad."""
    return {
        "angle": angles.max().item(),
        "angle_median": angles.median().item(),
        "within_0.1": int((angles < 0.1).sum()),
    }


def residuals(jacobian: JacobianOperator, basis: LocalBasis) -> float:
    """The largest residual relative to s_1, for bases that come without a certificate (2 n passes)."""
    u, s, v = basis.U.double(), basis.s.double(), basis.V.double()
    left = (jacobian.mv(basis.V).double() - u * s).norm(dim=0).max()
    right = (jacobian.rmv(basis.U).double() - v * s).norm(dim=0).max()
    return (torch.maximum(left, right) / s[0]).item()
