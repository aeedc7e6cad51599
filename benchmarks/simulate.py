r"""What many workers gain, by simulation from measured pass times: a run of many processes, and a sweep of many jobs.

python benchmarks/simulate.py --out outputs/scaling              Stable Diffusion 1.5 on H100s, see docs/scaling.md

Items are local bases, each a sample at a timestep. An item costs passes · seconds a pass, its passes drawn from a
log-normal law of the spread given; then its bytes go to the store. All workers share one store, which serves one
transfer after the other at a fixed rate. Two ways to share the work:

    team   one run of N processes (``torchrun``): each goes through all items, beginning at its own share
           (``Team.in_turn``); what it finds in the store it reads, what another one computes it waits for. Over when
           the first process is through, as that one writes the tables.
    jobs   a sweep of many runs (submitit): the items are dealt out to jobs, workers take one job after the other, and
           nobody reads what another one has computed. Over when the last job is done.

Efficiency is the time of the computation alone, divided by workers and by the time that the whole takes.
"""

from __future__ import annotations

import argparse
import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from diffgeo.team import Team

WORKERS = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass
class Store:
    """One transfer after the other.

    Args:
        rate: bytes a second; infinity costs nothing.
        free: when it can begin another one.
    """

    rate: float
    free: float = 0.0

    def transfer(self, now: float, size: float) -> float:
        """When a transfer asked for at ``now`` is over."""
        self.free = max(now, self.free) + size / self.rate
        return self.free


@dataclass
class Item:
    """A basis: nobody's (``started`` False), being computed, or in the store (``there``)."""

    started: bool = False
    there: bool = False
    waiting: list[int] = field(default_factory=list)


def team(seconds: Sequence[float], workers: int, *, size: float, rate: float) -> float:
    """Seconds until the first of several processes of one run is through all items.

    Args:
        seconds: of computing each item.
        workers: processes.
        size: bytes of an item.
        rate: of the store they share, bytes a second.
    """
    store, items = Store(rate), [Item() for _ in seconds]
    orders = [deque(_order(rank, workers, len(items))) for rank in range(workers)]
    # (when, serial number, worker, item that it has computed or -1 where it looks for the next one)
    events = [(0.0, rank, rank, -1) for rank in range(workers)]
    serial = workers
    while events:
        now, _, worker, computed = heapq.heappop(events)
        following: list[tuple[float, int, int]] = []
        if computed >= 0:
            done = store.transfer(now, size)
            items[computed].there = True
            following += [(done, one, -1) for one in (worker, *items[computed].waiting)]
            orders[worker].popleft()
        elif not orders[worker]:
            if worker == 0:
                return now
        else:
            item = items[orders[worker][0]]
            if item.there:
                orders[worker].popleft()
                following.append((store.transfer(now, size), worker, -1))
            elif item.started:
                item.waiting.append(worker)
            else:
                item.started = True
                following.append((now + seconds[orders[worker][0]], worker, orders[worker][0]))
        for when, who, what in following:
            heapq.heappush(events, (when, serial, who, what))
            serial += 1
    raise AssertionError("the first process always ends")


def _order(rank: int, workers: int, count: int) -> list[int]:
    """Items as a process takes them: the first holds the study, the others are at it from elsewhere."""
    one = Team(rank, workers)
    if rank == 0:
        return one.in_turn(range(count))
    with one.ahead():
        return one.in_turn(range(count))


def jobs(seconds: Sequence[float], workers: int, *, size: float, rate: float, per_job: int, start: float) -> float:
    """Seconds until the last job of a sweep is done.

    Args:
        seconds: of computing each item.
        workers: jobs at a time.
        size: bytes of an item, written once.
        rate: of the store they share, bytes a second.
        per_job: items of a job.
        start: seconds that a job needs before its first item: Python, the model.
    """
    store = Store(rate)
    left = deque(deque(seconds[i : i + per_job]) for i in range(0, len(seconds), per_job))
    mine: list[deque[float]] = [deque() for _ in range(workers)]
    events = [(0.0, worker, False) for worker in range(workers)]
    last = 0.0
    while events:
        now, worker, computed = heapq.heappop(events)
        if computed:
            last = max(last, done := store.transfer(now, size))
            heapq.heappush(events, (done, worker, False))
        elif mine[worker]:
            heapq.heappush(events, (now + mine[worker].popleft(), worker, True))
        elif left:
            mine[worker] = left.popleft()
            heapq.heappush(events, (now + start, worker, False))
    return last


def drawn(n: int, *, passes: float, spread: float, seconds: float, seed: int = 0) -> list[float]:
    """Seconds of n bases: log-normal passes of this mean and relative standard deviation, times seconds a pass."""
    sigma = math.sqrt(math.log1p(spread**2))
    law = np.random.default_rng(seed).lognormal(math.log(passes) - sigma**2 / 2, sigma, n)
    return [float(x) for x in law * seconds]


def table(arguments: argparse.Namespace) -> pd.DataFrame:
    """One row per way to share the work, rate of the store and number of workers."""
    law = {"passes": arguments.passes, "spread": arguments.spread, "seconds": arguments.pass_ms / 1e3}
    work = {
        "team": drawn(arguments.team_items, **law, seed=arguments.seed),
        "jobs": drawn(arguments.items, **law, seed=arguments.seed),
    }
    size = arguments.size_mb * 1e6
    rows = []
    for gigabytes in arguments.rates:
        for workers in WORKERS:
            for way, seconds in work.items():
                rate = gigabytes * 1e9
                if way == "team":
                    took = team(seconds, workers, size=size, rate=rate)
                else:
                    per_job, start = arguments.per_job, arguments.start
                    took = jobs(seconds, workers, size=size, rate=rate, per_job=per_job, start=start)
                row = {
                    "way": way,
                    "store GB/s": gigabytes,
                    "workers": workers,
                    "items": len(seconds),
                    "hours": took / 3600,
                }
                rows.append(row | {"efficiency": sum(seconds) / (workers * took)})
    return pd.DataFrame(rows)


def figure(rows: pd.DataFrame, path: Path) -> None:
    """Efficiency against workers, a panel a way, a line a rate."""
    titles = {"team": "one run, N processes (torchrun)", "jobs": "a sweep, N jobs at a time (submitit)"}
    drawing, axes = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True, layout="constrained")
    for axis, (way, title) in zip(axes, titles.items(), strict=True):
        here = rows[rows["way"] == way]
        for rate, line in here.groupby("store GB/s"):
            axis.plot(line["workers"], line["efficiency"], "o-", label=f"{rate:g} GB/s")
        axis.set_xscale("log", base=2)
        axis.set_xticks(WORKERS, [str(n) for n in WORKERS])
        axis.set_ylim(0, 1.05)
        axis.set_xlabel("workers, a GPU each")
        axis.set_title(f"{title}: {here['items'].iloc[0]:,} bases", fontsize=10)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("efficiency")
    axes[0].legend(title="store", frameon=False)
    drawing.savefig(path, dpi=150)
    plt.close(drawing)


def main(words: Sequence[str] | None = None) -> pd.DataFrame:
    """Simulate, write ``scaling.csv`` and ``scaling.png``, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--pass-ms", type=float, default=30.2, help="a pass: SD 1.5 on an H100, blocks of 8, (40 + 17) / 2 · 1.06")
    add("--passes", type=float, default=512, help="of a basis, on average")
    add("--spread", type=float, default=0.08, help="their standard deviation by their mean")
    add("--size-mb", type=float, default=19.66, help="of a basis: (m + d) n float32")
    add("--items", type=int, default=100_000, help="bases of the sweep")
    add("--per-job", type=int, default=100, help="bases of one of its jobs")
    add("--team-items", type=int, default=500, help="bases of the run of many processes")
    add("--start", type=float, default=60.0, help="seconds before a job's first basis")
    add("--rates", type=float, nargs="+", default=[0.1, 0.5, 2.0], help="of the store, GB/s")
    add("--seed", type=int, default=0)
    add("--out", type=Path, default=Path("outputs/scaling"))
    arguments = parser.parse_args(words)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = table(arguments)
    rows.to_csv(arguments.out / "scaling.csv", index=False)
    figure(rows, arguments.out / "scaling.png")
    print(rows.to_string(index=False, float_format=lambda x: f"{x:.3g}"))
    return rows


if __name__ == "__main__":
    main()
