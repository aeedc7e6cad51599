"""How long the explorer takes to answer a slider: wall-clock and CPU time of one edit with its HTML.

    OMP_WAIT_POLICY=passive OMP_NUM_THREADS=2 python benchmarks/explorer.py [model=… preview=20] [--repetitions 12]

Prints a line for each timestep: the median, least and greatest of the repetitions. The browser's part is not in it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import torch

from diffgeo.cli.explore import read, settings
from diffgeo.explore import Explorer, page
from diffgeo.runner.prepare import prepare
from diffgeo.session.progress import Interruption


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("words", nargs="*", metavar="key=value", help="what diffgeo-explore takes")
    parser.add_argument("--repetitions", type=int, default=12, help="edits to take the median of")
    args = parser.parse_args()
    wanted = read(args.words)
    explorer = Explorer(prepare(settings(wanted), Interruption()), overrides=wanted.overrides, preview=wanted.preview)
    for t_frac in (1.0, 0.5):
        place = explorer.place(replace(explorer.start, t_frac=t_frac))
        walls, cpus = [], []
        for i in range(1 + args.repetitions):
            wall, cpu = time.perf_counter(), time.process_time()
            edited = explorer.edit(place, [1 + i / 20, -0.5])
            page.figures(edited, place, explorer.context.cfg.schedule.steps)
            page.bars(edited)
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
        walls, cpus = walls[1:], cpus[1:]  # the first one warms up
        print(
            f"t = {place.t}, {edited.steps} steps, {torch.get_num_threads()} threads: "
            f"{statistics.median(walls):.3f} s ({min(walls):.3f} to {max(walls):.3f}), "
            f"CPU {statistics.median(cpus):.3f} s"
        )


if __name__ == "__main__":
    main()
