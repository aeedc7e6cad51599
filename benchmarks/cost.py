"""Where the time of a run goes: its passes, its evaluations of the network, and the rest.

python benchmarks/cost.py                                        the default run, without its store
python benchmarks/cost.py "study=[discovery]" data.samples=2     any other

A pass is one Jacobian-vector or vector-Jacobian product, of the blocks that the solver takes; an evaluation is one
picture through the whole U-Net, in the batches of sampling. Seconds are of processor time, so that other work on the
machine disturbs them little; say OMP_NUM_THREADS=1 and they are the wall clock of an idle machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from hydra import compose, initialize_config_dir
from torch import Tensor

from diffgeo.config import config_folder, register, typed
from diffgeo.jacobian import JacobianOperator
from diffgeo.models import DiffusionModel
from diffgeo.runner import execute


@dataclass
class Cost:
    """Counts and processor seconds of a run."""

    passes: int = 0
    passes_seconds: float = 0.0
    evaluations: int = 0
    evaluations_seconds: float = 0.0
    seconds: float = 0.0

    def lines(self) -> list[str]:
        """As rows of a table in Markdown."""
        rest = self.seconds - self.passes_seconds - self.evaluations_seconds
        rows = [
            ("passes", self.passes, self.passes_seconds),
            ("evaluations of the network", self.evaluations, self.evaluations_seconds),
            ("the rest", None, rest),
            ("all", None, self.seconds),
        ]
        lines = ["| part | number | seconds | ms each | share |", "|---|---|---|---|---|"]
        for name, number, seconds in rows:
            each = "" if not number else f"{1e3 * seconds / number:.2f}"
            share = f"{seconds / self.seconds:.0%}" if self.seconds else ""
            lines.append(f"| {name} | {'' if number is None else number} | {seconds:.1f} | {each} | {share} |")
        return lines


@contextmanager
def counting(cost: Cost) -> Iterator[None]:
    """Count what Jacobian operators and models do while the block runs."""
    products: Callable[..., Tensor] = JacobianOperator._columnwise
    evaluate = DiffusionModel.predict_noise
    inside = False

    def columnwise(self: JacobianOperator, product: Any, columns: Tensor, *rest: Any) -> Tensor:
        nonlocal inside
        start, inside = time.process_time(), True
        try:
            return products(self, product, columns, *rest)
        finally:
            inside = False
            cost.passes += columns.shape[1]
            cost.passes_seconds += time.process_time() - start

    def predict_noise(self: DiffusionModel, x: Tensor, t: int) -> Tensor:
        start = time.process_time()
        output = evaluate(self, x, t)
        if not inside:  # a Jacobian of ε runs the network, too
            cost.evaluations += len(x)
            cost.evaluations_seconds += time.process_time() - start
        return output

    start = time.process_time()
    with (
        mock.patch.object(JacobianOperator, "_columnwise", columnwise),
        mock.patch.object(DiffusionModel, "predict_noise", predict_noise),
    ):
        yield
    cost.seconds = time.process_time() - start


def main(words: Sequence[str] = ()) -> Cost:
    """Run the settings and print where the time went."""
    register()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        cfg = typed(compose("config", ["tracking=none", "device=cpu", "store.enabled=false", *words]))
    cost = Cost()
    with tempfile.TemporaryDirectory() as folder, counting(cost):
        execute(cfg, Path(folder))
    print("\n".join(cost.lines()))
    return cost


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="settings, as for diffgeo")
    main(parser.parse_args().words)
