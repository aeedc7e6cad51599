"""The benchmark of the solvers, end to end on a tiny network."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from diffgeo import JacobianOperator
from diffgeo.svd import Subspace

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    """Modules of benchmarks/, which is no package, by name."""
    sys.path.insert(0, str(FOLDER))
    try:
        names = ("solvers", "cases", "measurement", "tables", "plot")
        return SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    finally:
        sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def measured(bench, tmp_path_factory):
    out = tmp_path_factory.mktemp("benchmarks")
    arguments = ["--architecture", "tiny", "--rank", "4", "--repeats", "1", "--out", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.cases, "ITERATIONS", (2, 5))
        for name, few in (("CHUNKS", (4, 8)), ("RANKS", (2, 4)), ("POINTS", (1, 2))):
            patch.setattr(bench.measurement, name, few)
        assert bench.solvers.main(arguments) == 0
    return out, pd.read_parquet(out / "solvers.parquet")


def test_every_case_is_a_row_with_where_it_was_measured(measured):
    _, table = measured
    rows = table[table["kind"] == "solver"].set_index(["solver", "settings"])
    assert {"dense", "golub_kahan", "papers", "scipy svds", "svd_lowrank", "randomized", "subspace"} == {
        solver for solver, _ in rows.index
    }
    for road in ("forward mode", "ours"):
        assert rows.loc[("papers", f"J V {road}, iterations 5"), "passes"] == 2 * 4 * 5
    assert table[["machine", "device_name", "torch"]].ne("").all(axis=None)
    assert (table["threads"] == torch.get_num_threads()).all()
    assert {"chunk", "rank", "resolution", "points"} < set(table["kind"])
    points = table[table["kind"] == "points"]
    assert (points["residual"] <= 1e-4).all()
    assert points["seconds"].gt(0).all()


def test_converged_cases_agree_with_the_dense_svd(measured):
    _, table = measured
    rows = table[table["solver"].isin(["golub_kahan", "subspace"]) & (table["kind"] == "solver")]
    assert (rows["status"] == "ok").all()
    assert (rows["residual"] <= 1e-4).all()
    assert (rows["angle"] < 1e-2).all()
    assert (rows["error_s"] < 1e-5).all()
    arpack = table[table["settings"].str.startswith("solver arpack")].iloc[0]
    assert arpack["angle"] < 1e-3


def test_tables_and_figures_are_written(measured, bench):
    out, table = measured
    assert len(pd.read_csv(out / "solvers.csv")) == len(table)
    assert "| golub_kahan | block_size 4, tol 0.0001 |" in (out / "solvers.md").read_text()
    bench.plot.main([str(out)])
    assert {path.name for path in out.glob("*.png")} == {"accuracy.png", "chunks.png", "growth.png"}


def test_bars_are_judged_on_the_shipped_model_alone(measured, bench):
    _, table = measured
    assert bench.tables.bars(table) == []
    rows = [
        ("golub_kahan", "block_size 3, tol 0.0001", 342, 2.0, 7e-4, 9e-5),
        ("golub_kahan", "block_size 6, tol 0.0001", 380, 1.0, 2e-3, 9e-5),  # quick, but not exact enough
        ("golub_kahan", "block_size 8, tol 0.0001", 400, 1.5, 9e-4, 9e-5),
        ("golub_kahan", "block_size 8, tol 4e-07", 500, 2.5, 1e-6, 3e-7),
        ("papers", "J V forward mode, iterations 50", 5000, 21.0, 0.6, 0.1),
        ("papers", "J V ours, iterations 50", 5000, 16.5, 0.6, 0.1),
        ("scipy svds", "solver arpack, tol 0.0001", 300, 2.0, 1e-5, 4e-7),
    ]
    made = pd.DataFrame(rows, columns=["solver", "settings", "passes", "seconds", "angle", "residual"])
    made = made.assign(architecture="embedded", kind="solver", status="ok", rank=50)
    assert bench.tables.bars(made) == [
        "met     cold, to 1e-3 rad, fewest: 342 passes (at most 350)",
        "NOT MET cold, to 1e-3 rad, quickest: 400 passes (at most 350)",
        "met     quicker than 50 subspace iterations, J V forward mode: 14 times (at least 12)",
        "NOT MET quicker than 50 subspace iterations, J V ours: 11 times (at least 12)",
        "NOT MET quicker than scipy svds, equally exact: 0.8 times (at least 1)",
        "met     quicker than scipy svds told the same tolerance: 1.33 times (at least 1)",
    ]


def test_the_papers_iteration_is_the_subspace_solver(bench, tiny_model):
    jacobian = JacobianOperator(tiny_model.feature_map(500), torch.randn(3, 8, 8, generator=torch.Generator()))
    ours = Subspace(oversample=0, max_passes=40).solve(jacobian, 4, tol=1e-9, seed=1)
    theirs = next(basis for i, basis in bench.cases.subspace_iteration(jacobian, 4, seed=1) if i == 5)
    assert theirs.certificate.passes == ours.certificate.passes == 40
    torch.testing.assert_close(theirs.V, ours.V)
    torch.testing.assert_close(theirs.certificate.right, ours.certificate.right)


def test_the_default_alone_is_one_row(bench, tmp_path):
    bench.solvers.main(["--architecture", "tiny", "--rank", "4", "--default-only", "--out", str(tmp_path)])
    row = pd.read_parquet(tmp_path / "solvers.parquet").iloc[0]
    assert row["settings"] == "defaults of local_basis"
    assert row["status"] == "ok"
    assert row["passes"] > 0
    assert row["residual"] <= 1e-4
    assert "defaults of local_basis" in (tmp_path / "solvers.md").read_text()


def test_what_the_budget_leaves_no_time_for_is_said(bench, tmp_path):
    arguments = ["--architecture", "tiny", "--rank", "4", "--budget-seconds", "1.5", "--out", str(tmp_path)]
    bench.solvers.main(arguments)
    table = pd.read_parquet(tmp_path / "solvers.parquet")
    left_out = table[table["status"] != "ok"]
    assert len(left_out) > 5
    assert left_out["status"].str.contains("skipped|stopped").all()
    assert table.loc[table["solver"] == "dense", "status"].item() == "ok"
