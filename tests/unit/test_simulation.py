"""The simulation of docs/scaling.md against cases that can be worked out by hand, and the count of what a run costs."""

import importlib
import math
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from diffgeo import JacobianOperator

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def benchmark(name):
    """A module of benchmarks/, which is no package."""
    sys.path.insert(0, str(FOLDER))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def simulate():
    return benchmark("simulate")


FREE = {"size": 1.0, "rate": math.inf}


@pytest.mark.parametrize("way", ["team", "jobs"])
def test_one_worker_computes_and_writes_one_item_after_the_other(simulate, way):
    more = {} if way == "team" else {"per_job": 2, "start": 0.0}
    took = getattr(simulate, way)([2.0, 3.0, 5.0], 1, size=10.0, rate=5.0, **more)
    assert took == pytest.approx(2 + 3 + 5 + 3 * 2)


@pytest.mark.parametrize("workers", [1, 2, 4, 8])
def test_a_store_that_costs_nothing_gives_a_linear_gain(simulate, workers):
    assert simulate.team([3.0] * 16, workers, **FREE) == pytest.approx(48 / workers)
    assert simulate.jobs([3.0] * 16, workers, **FREE, per_job=2, start=0.0) == pytest.approx(48 / workers)


@pytest.mark.parametrize("workers", [1, 3, 10])
def test_a_sweep_is_never_quicker_than_its_store(simulate, workers):
    took = simulate.jobs([1e-6] * 40, workers, size=10.0, rate=5.0, per_job=4, start=0.0)
    assert took == pytest.approx(80, rel=1e-3)  # all bytes at that rate, whatever the number of workers


def test_processes_of_one_run_read_what_the_others_computed(simulate):
    # by halves: each computes 2 items (4 s), then both read 2; 4 writes and 4 reads of 1 s by one store
    took = simulate.team([2.0] * 4, 2, size=1.0, rate=1.0)
    assert 4 + 2 < took <= 4 + 8
    # past some number every further process only takes the store from the first one
    times = [simulate.team([1.0] * 64, n, size=1.0, rate=4.0) for n in (1, 4, 64)]
    assert times[1] < times[0]
    assert times[2] > times[1]


def test_a_process_waits_for_what_another_one_computes(simulate):
    # 3 processes begin at 0, 0 and 1 of 2 items: the second one waits for the first one's
    assert simulate.team([5.0, 7.0], 3, **FREE) == pytest.approx(7)


def test_every_job_pays_for_its_start_and_the_last_one_counts(simulate):
    assert simulate.jobs([1.0] * 6, 1, **FREE, per_job=2, start=10.0) == pytest.approx(36)
    assert simulate.jobs([1.0] * 6, 2, **FREE, per_job=2, start=10.0) == pytest.approx(24)  # 3 jobs on 2 workers


def test_bases_are_drawn_with_the_mean_and_spread_asked_for(simulate):
    seconds = pd.Series(simulate.drawn(20_000, passes=500, spread=0.1, seconds=0.03))
    assert seconds.mean() == pytest.approx(15, rel=0.01)
    assert seconds.std() / seconds.mean() == pytest.approx(0.1, rel=0.05)
    assert simulate.drawn(3, passes=500, spread=0.0, seconds=0.03) == pytest.approx([15.0] * 3)
    assert simulate.drawn(5, passes=9, spread=0.2, seconds=1, seed=3) == simulate.drawn(
        5, passes=9, spread=0.2, seconds=1, seed=3
    )


def test_the_command_writes_a_table_and_a_figure(simulate, tmp_path, capsys):
    words = ["--items", "60", "--per-job", "10", "--team-items", "30", "--rates", "0.01", "2", "--out", str(tmp_path)]
    rows = simulate.main(words)
    assert len(rows) == 2 * 2 * len(simulate.WORKERS)
    assert rows["efficiency"].between(0, 1).all()
    written = pd.read_csv(tmp_path / "scaling.csv")
    pd.testing.assert_frame_equal(written, rows)
    assert (tmp_path / "scaling.png").read_bytes()[:4] == b"\x89PNG"
    assert "efficiency" in capsys.readouterr().out


def test_passes_and_evaluations_are_counted_apart(tiny_model):
    costs, cost = benchmark("cost"), benchmark("cost").Cost()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 8, 8, generator=generator)
    with costs.counting(cost):
        jacobian = JacobianOperator(lambda y: tiny_model.predict_noise(y[None], 500)[0], x)
        jacobian.mv(torch.randn(192, 5, generator=generator))
        jacobian.rmv(torch.randn(192, 2, generator=generator))
        tiny_model.predict_noise(x.expand(3, -1, -1, -1), 10)
    assert cost.passes == jacobian.passes == 7
    assert cost.evaluations == 1 + 3  # the graph of the Jacobian is one
    assert cost.seconds >= cost.passes_seconds + cost.evaluations_seconds > 0
    assert "| passes | 7 |" in "\n".join(cost.lines())
    before = cost.passes
    jacobian.mv(torch.randn(192, 1, generator=generator))
    assert cost.passes == before  # nothing is counted outside
