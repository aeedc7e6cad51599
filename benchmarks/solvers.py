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
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from architectures import ARCHITECTURES, build
from cases import Settings, say
from machine import Clock, empty_memory, environment
from measurement import CHUNKS, Bench
from tables import bars, write
from torch import Tensor

from diffgeo import DiffusionModel, JacobianOperator, principal_angles
from diffgeo.errors import ConvergenceWarning
from diffgeo.svd import GolubKahan


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
    solver, tol = GolubKahan(block_size=16), 1e-5
    a, b = (solver.solve(j, rank, tol=tol, seed=args.seed) for j in (there, here))
    values["error_s"] = ((a.s.cpu() - b.s) / b.s).abs().max().item()
    values["angle"] = principal_angles(a.V.cpu(), b.V).max().item()
    agrees = values["error_s"] <= 1e-5 and a.V.device == there.x.device == a.s.device == a.U.device
    passes = a.certificate.passes
    settings = say({"tol": tol, "block_size": solver.block_size})
    bench.add("check", solver=solver.name, rank=rank, settings=settings, passes=passes, **values)
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
