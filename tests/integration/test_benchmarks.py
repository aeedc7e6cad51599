"""The benchmarks of solvers and products, end to end on tiny networks."""

import importlib
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from diffgeo import JacobianOperator, ddim_invert, local_basis
from diffgeo.svd import GolubKahan

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    """Modules of benchmarks/, which is no package, by name."""
    sys.path.insert(0, str(FOLDER))
    try:
        names = (
            "solvers",
            "cases",
            "measurement",
            "tables",
            "plot",
            "released",
            "products",
            "stand_in",
            "inversion",
            "bound",
        )
        return SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    finally:
        sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def measured(bench, tmp_path_factory):
    out = tmp_path_factory.mktemp("benchmarks")
    arguments = ["--architecture", "tiny", "--rank", "4", "--repeats", "1", "--out", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.cases, "ITERATIONS", (2, 5))
        for name, few in (("CHUNKS", (4, 8)), ("RANKS", (2, 4)), ("POINTS", (1, 2)), ("STARTS", 3)):
            patch.setattr(bench.measurement, name, few)
        assert bench.solvers.main(arguments) == 0
    return out, pd.read_parquet(out / "solvers.parquet")


@pytest.mark.nightly
def test_every_case_is_a_row_with_where_it_was_measured(measured):
    _, table = measured
    rows = table[table["kind"] == "solver"].set_index(["solver", "settings"])
    assert {"dense", "golub_kahan", "papers", "scipy svds", "svd_lowrank", "randomized", "subspace"} == {
        solver for solver, _ in rows.index
    }
    for products in ("released", "ours"):
        row = rows.loc[("papers", f"products {products}, iterations 5")]
        assert row["passes"] == 2 * 4 * 5
        assert 0 <= row["angle_median"] <= row["angle"]
        assert row["within_0.1"] in range(5)
    starts = table[table["kind"] == "start"]
    assert starts["settings"].tolist() == ["seed 0", "seed 1", "seed 2"]
    assert starts["angle"].nunique() == 3
    assert table[["machine", "device_name", "torch"]].ne("").all(axis=None)
    assert (table["threads"] == torch.get_num_threads()).all()
    assert {"chunk", "rank", "resolution", "points"} < set(table["kind"])
    points = table[table["kind"] == "points"]
    assert (points["residual"] <= 1e-4).all()
    assert points["seconds"].gt(0).all()


@pytest.mark.nightly
def test_converged_cases_agree_with_the_dense_svd(measured):
    _, table = measured
    rows = table[table["solver"].isin(["golub_kahan", "subspace"]) & (table["kind"] == "solver")]
    assert (rows["status"] == "ok").all()
    assert (rows["residual"] <= 1e-4).all()
    assert (rows["angle"] < 1e-2).all()
    assert (rows["error_s"] < 1e-5).all()
    arpack = table[table["settings"].str.startswith("solver arpack")].iloc[0]
    assert arpack["angle"] < 1e-3


@pytest.mark.nightly
def test_tables_and_figures_are_written(measured, bench):
    out, table = measured
    assert len(pd.read_csv(out / "solvers.csv")) == len(table)
    assert "| golub_kahan | block_size 4, tol 0.0001 |" in (out / "solvers.md").read_text()
    bench.plot.main([str(out)])
    assert {path.name for path in out.glob("*.png")} == {"accuracy.png", "chunks.png", "growth.png"}


@pytest.mark.nightly
def test_bars_are_judged_on_the_shipped_model_alone(measured, bench):
    _, table = measured
    assert bench.tables.bars(table) == []
    rows = [
        ("golub_kahan", "block_size 3, tol 0.0001", 342, 2.0, 7e-4, 9e-5),
        ("golub_kahan", "block_size 6, tol 0.0001", 380, 1.0, 2e-3, 9e-5),  # quick, but not exact enough
        ("golub_kahan", "block_size 8, tol 0.0001", 500, 1.5, 9e-4, 9e-5),
        ("golub_kahan", "block_size 16, tol 0.0001", 576, 1.7, 9e-4, 9e-5),  # so wide a block has no bound
        ("golub_kahan", "block_size 8, tol 4e-07", 500, 2.5, 1e-6, 3e-7),
        ("papers", "products released, iterations 50", 5000, 21.0, 0.6, 0.1),
        ("papers", "products ours, iterations 50", 5000, 16.5, 0.6, 0.1),
        ("scipy svds", "solver arpack, tol 0.0001", 300, 2.0, 1e-5, 4e-7),
    ]
    made = pd.DataFrame(rows, columns=["solver", "settings", "passes", "seconds", "angle", "residual"])
    made = made.assign(architecture="embedded", kind="solver", status="ok", rank=50)
    assert bench.tables.bars(made) == [
        "met     cold, to 1e-3 rad, fewest passes, over the fewest that its block size allows: 1 times (at most 1.1)",
        "NOT MET cold, to 1e-3 rad, quickest, over the fewest that its block size allows: 1.12 times (at most 1.1)",
        "NOT MET quicker than the released 50 iterations, products released: 14 times (at least 25)",
        "NOT MET quicker than the released 50 iterations, products ours: 11 times (at least 12)",
        "NOT MET quicker than scipy svds, equally exact: 0.8 times (at least 1)",
        "met     quicker than scipy svds told the same tolerance: 1.33 times (at least 1)",
    ]
    inexact = bench.tables.bars(made.assign(angle=1.0))
    assert [line.partition(":")[2] for line in inexact[:2]] == [" inf times (at most 1.1)"] * 2


def test_the_bounds_are_those_of_the_page(bench):
    page = (FOLDER.parent / "docs" / "performance.md").read_text(encoding="utf-8")
    sizes, fewest = (
        [int(cell) for cell in re.search(rf"^\| {row} \|(.*)\|$", page, re.MULTILINE)[1].split("|")]
        for row in ("columns of a block", "fewest passes, median of nine starts")
    )
    assert dict(zip(sizes, fewest, strict=True)) == bench.tables.FEWEST


@pytest.mark.parametrize("block", [1, 3])
def test_no_solver_takes_fewer_passes_than_the_bound(bench, block):
    """Of a diagonal J; Golub–Kahan with one start is the bound itself, but for its own estimates of when to stop."""
    s = 0.9 ** np.arange(60)
    fewest = min(bench.bound.passes(s, 5, block, 1e-3, seed) for seed in range(3))
    assert 5 <= fewest < 2 * 60, "not the whole of J"
    diagonal = torch.from_numpy(s)
    x = torch.zeros(60, dtype=torch.float64)
    for tol in (1e-2, 1e-3, 1e-4):
        basis = local_basis(lambda x: diagonal * x, x, 5, solver=GolubKahan(block_size=block), tol=tol)
        sine = torch.linalg.matrix_norm(basis.V[5:], ord=2).item()
        if sine <= 1e-3:
            assert basis.certificate.passes >= 0.9 * fewest, "some starts are luckier"
    assert sine <= 1e-3


def test_fewer_passes_suffice_where_the_spectrum_falls_faster(bench):
    slow, fast = (bench.bound.passes(q ** np.arange(80), 5, 1, 1e-3, 0) for q in (0.97, 0.8))
    assert fast < slow


@pytest.mark.nightly
def test_the_bound_is_that_of_the_shipped_weights(bench):
    s = bench.bound.spectrum()
    found = [bench.bound.passes(s, 50, 3, 1e-3, seed) for seed in range(9)]
    assert int(np.median(found)) == bench.tables.FEWEST[3]


def test_the_released_products_are_those_of_the_operator(bench, tiny_model):
    x = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
    counted = []
    jacobian = JacobianOperator(tiny_model.feature_map(500), x, on_pass=counted.append)
    push, pull = bench.released.released_products(jacobian)
    v, u = torch.eye(jacobian.shape[1], 30).T, torch.eye(jacobian.shape[0], 3).T
    torch.testing.assert_close(push(v), jacobian.mv(v.T).T, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(pull(u), jacobian.rmv(u.T).T, rtol=1e-4, atol=1e-5)
    assert counted == [25, 5, 30, 3, 3], "25 columns at once, as released"


def test_all_ways_to_make_products_give_the_same(bench, tmp_path, capsys):
    arguments = ["--architecture", "tiny", "tiny_sd", "--turns", "2", "--out", str(tmp_path)]
    assert bench.products.main(arguments) == 0
    table = pd.read_csv(tmp_path / "products.csv")
    assert list(zip(table["architecture"], table["way"], strict=True)) == [
        (name, way) for name in ("tiny", "tiny_sd") for way in bench.products.WAYS
    ]
    assert table["difference"].lt(1e-5).all()
    assert table[["jv_s", "ju_s", "forward_s", "gb"]].gt(0).all(axis=None)
    ours = table[table["way"] == "diffgeo"]
    assert ours["times_ours"].eq(1).all()
    assert "met" not in capsys.readouterr().out.lower(), "tiny networks have no goals"


def test_memory_is_counted_on_shapes_alone_as_it_is_taken(bench, tmp_path, capsys):
    found = pd.DataFrame(bench.products.count("tiny_sd", (1, 4)))
    assert found["gb"].is_monotonic_increasing
    assert (found["graphs_gb"] < found["gb"]).all()
    model = bench.solvers.build("tiny_sd", "cpu")
    x = torch.randn(model.latent_shape, generator=torch.Generator().manual_seed(0))

    def take(k):
        way = bench.products.OneGraph(model.feature_map(model.schedule.T), x)
        way.prepare()
        way.pulled(way.pushed(x.expand(k, *x.shape)))

    taken = [bench.products.peak_bytes(lambda k=k: take(k)) / 1e9 for k in (1, 4)]
    assert found["gb"].tolist() == pytest.approx(taken, rel=0.05)
    assert bench.products.main(["--architecture", "tiny", "--count"]) == 0
    assert "with_weights_gb" in capsys.readouterr().out


def test_products_are_held_to_forward_passes_and_to_forward_mode(bench):
    rows = [
        {
            "architecture": "sd_narrow",
            "way": way,
            "jv_s": jv,
            "ju_s": 2.0,
            "passes": passes,
            "gb": 0.24,
            "difference": far,
        }
        for way, jv, passes, far in (("diffgeo", 2.0, 4.0, 2e-6), (bench.products.FORWARD, 8.0, 10.0, 0.0))
    ]
    found = bench.products.table(rows)
    assert found["times_ours"].tolist() == [1.0, 2.5]
    assert bench.products.goals(found) == [
        "met     sd_narrow: J V + Jᵀ U cost 4 forward passes (at most 5)",
        "NOT MET sd_narrow: 2.5 times cheaper than by forward mode (at least 3)",
        "met     sd_narrow: 0.24 GB beside the weights (at most 2.5)",
        "met     sd_narrow: products differ by 2e-06 from those of torch's rules (at most 1e-05)",
    ]


def test_the_released_iteration_is_subspace_iteration_that_returns_the_former_u(bench):
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(12, 9, generator=generator)
    start = bench.released.random_start(9, 3, 1, matrix)
    assert torch.allclose(start.T @ start, torch.eye(3), atol=1e-6)
    runs = list(
        zip(range(4), bench.released.subspaces(lambda v: v @ matrix.T, lambda u: u @ matrix, start), strict=False)
    )
    v = start.double()
    for _, iterate in runs:
        u = matrix.double() @ v
        basis, s, _ = torch.linalg.svd(matrix.double().T @ u, full_matrices=False)
        signs = (basis * iterate.v).sum(dim=0).sign()
        torch.testing.assert_close(iterate.v * signs, basis, check_dtype=False, rtol=0, atol=1e-4)
        torch.testing.assert_close(iterate.s, s.sqrt(), check_dtype=False, rtol=1e-4, atol=0)
        torch.testing.assert_close(iterate.u, u / u.norm(dim=0), check_dtype=False, rtol=0, atol=1e-4)
        v = iterate.v.double()


@pytest.mark.parametrize(("falls", "expected"), [(0.1, 12), (1.0, 12), (0.99, 50)])
def test_the_released_rule_stops_from_the_twelfth_iteration_on(bench, falls, expected):
    s = falls ** torch.arange(6.0)
    start = torch.eye(6, 2) if falls == 1 else bench.released.random_start(6, 2, 0, s)
    *_, last = bench.released.subspaces(lambda v: v * s, lambda u: u * s, start)
    assert last.number == expected
    assert last.stopped


def test_an_early_stop_is_the_result_under_every_later_bound(bench):
    s = 0.1 ** torch.arange(6.0)
    jacobian = JacobianOperator(lambda x: s * x, torch.zeros(6))
    found = {
        settings["iterations"]: basis for settings, basis in bench.cases.papers(2, released=False).solve(jacobian, 2, 0)
    }
    assert {bound: basis.certificate.passes for bound, basis in found.items()} == {10: 40, 30: 48, 50: 48}


def test_angles_by_start_are_those_of_any_matrix_with_these_singular_values(bench):
    s = torch.linspace(2, 1, 20)
    left, right = (torch.linalg.qr(torch.randn(20, 20, generator=torch.Generator().manual_seed(i))).Q for i in (1, 2))
    matrix = left @ torch.diag(s) @ right.T
    by_matrix = []
    for seed in range(200):
        start = bench.released.random_start(20, 4, 1000 + seed, s)
        *_, last = bench.released.subspaces(lambda v: v @ matrix.T, lambda u: u @ matrix, start)
        by_matrix.append(bench.released.principal_angles(right[:, :4], last.v).max())
    on_axes = [angles.max() for angles in bench.released.angles_by_start(s, 4, 200)]
    spread = torch.stack(by_matrix).std() + torch.stack(on_axes).std()
    assert abs(torch.stack(by_matrix).mean() - torch.stack(on_axes).mean()) < 4 * spread / 200**0.5


def test_the_default_alone_is_one_row(bench, tmp_path):
    bench.solvers.main(["--architecture", "tiny", "--rank", "4", "--default-only", "--out", str(tmp_path)])
    row = pd.read_parquet(tmp_path / "solvers.parquet").iloc[0]
    assert row["settings"] == "defaults of local_basis"
    assert row["status"] == "ok"
    assert row["passes"] > 0
    assert row["residual"] <= 1e-4
    assert "defaults of local_basis" in (tmp_path / "solvers.md").read_text()


@pytest.mark.slow
def test_what_the_budget_leaves_no_time_for_is_said(bench, tmp_path):
    arguments = ["--architecture", "tiny", "--rank", "4", "--budget-seconds", "1.5", "--out", str(tmp_path)]
    bench.solvers.main(arguments)
    table = pd.read_parquet(tmp_path / "solvers.parquet")
    left_out = table[table["status"] != "ok"]
    assert len(left_out) > 5
    assert left_out["status"].str.contains("skipped|stopped").all()
    assert table.loc[table["solver"] == "dense", "status"].item() == "ok"


def test_a_stand_in_is_ranked_within_portraits_lengths_and_kinds(bench):
    """A measure that knows only how far edits went orders lengths, and fails among edits of one length."""
    rows = [
        {"sample": s, "kind": kind, "length": length, "off_data": s + length + 0.01 * i, "change": length - 0.01 * i}
        for s in range(5)
        for length in (1.0, 2.0, 3.0)
        for i, kind in enumerate(("local", "random"))
    ]
    table = pd.DataFrame(rows)
    table["residual at 0.1 T"] = 2 * table["off_data"] - 20 * table["sample"]  # portraits are not compared
    table["difference"] = table["change"]
    found = {row.pop("stand-in"): row for row in bench.stand_in.summary(table)}
    assert set(found["residual at 0.1 T"].values()) == {"1.00 [1.00, 1.00]"}
    assert found["change"]["edits of one length"] == "-1.00 [-1.00, -1.00]"
    assert found["change"]["edits of one kind"] == "1.00 [1.00, 1.00]"
    assert 0 < bench.stand_in.correlations(table, "change", [])[0] < 1


def test_ways_of_inversion_are_compared_at_an_equal_number_of_evaluations(bench, shipped, monkeypatch):
    monkeypatch.setattr(bench.inversion, "load_model", lambda *_, **__: shipped)
    calls = []
    monkeypatch.setattr(bench.inversion, "ddim_sample", lambda model, x, **_: x)  # inversion's evaluations alone
    monkeypatch.setattr(type(shipped), "output", lambda self, x, t: calls.append(t) or 0.1 * x)
    rows = list(bench.inversion.measure(["factor_faces"], 1, 6))
    assert [row["steps"] for row in rows] == [6, 3, 6, 3]
    assert len(calls) == sum(row["evaluations"] for row in rows) + 1, "fireflow takes one more"


def test_psnr_is_that_of_the_pictures(bench, shipped, monkeypatch):
    monkeypatch.setattr(bench.inversion, "ddim_invert", lambda model, x, **_: x)
    monkeypatch.setattr(bench.inversion, "ddim_sample", lambda model, x, **_: x + 0.2)  # a tenth of the range: 20 dB
    pictures = 0.5 * bench.inversion.held_out(2, 32)
    assert bench.inversion.psnr(shipped, pictures, "ddim", 3).tolist() == pytest.approx([20.0, 20.0], abs=1e-3)


def test_inversions_with_some_steps_mended_lie_between_the_two_ways(bench, tiny_model):
    clean = 0.5 * torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    plain, exact = (ddim_invert(tiny_model, clean, steps=5, method=method) for method in ("ddim", "fixed_point"))
    torch.testing.assert_close(bench.inversion.mended(tiny_model, clean, 5, lambda _: False), plain)
    torch.testing.assert_close(bench.inversion.mended(tiny_model, clean, 5, lambda _: True), exact)
    some = bench.inversion.mended(tiny_model, clean, 5, lambda i: i < 2)
    assert not torch.allclose(some, plain)
    assert not torch.allclose(some, exact)
    assert all(0 < gap < 2 for gap in bench.inversion.gaps(tiny_model, clean, 5))
