"""A solver of the user's own, as docs/extending.md shows it: one file and one YAML, chosen by name."""

import importlib
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

import diffgeo
from diffgeo.svd import Dense

GUIDE = Path(__file__).parents[2] / "docs" / "examples" / "solver"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The folder of the example; its file lies on the import path."""
    folder = tmp_path / "own"
    shutil.copytree(GUIDE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "arpack", raising=False)
    yield folder
    sys.modules.pop("arpack", None)


@pytest.fixture
def words(own):
    return [
        f"hydra.searchpath=[file://{own / 'conf'}]",
        "svd=arpack",
        "study=[discovery]",
        "svd.rank=3",
        "svd.tol=1e-3",
    ]


def test_the_solver_finds_what_the_dense_one_finds(own):
    arpack = importlib.import_module("arpack").Arpack()
    torch.manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(n, 6, dtype=torch.float64)).Q for n in (30, 20))
    matrix = u @ torch.diag(torch.tensor([9.0, 6, 4, 2.5, 1.5, 1]).double()) @ v.T
    jacobian = diffgeo.JacobianOperator(lambda x: x @ matrix.T, torch.zeros(20, dtype=torch.float64))
    basis = arpack.solve(jacobian, 4, tol=1e-8, seed=0)
    spent = jacobian.passes
    truth = Dense().solve(jacobian, 4, tol=1e-8)
    assert basis.certificate.converged
    assert basis.certificate.passes == spent
    torch.testing.assert_close(basis.s, truth.s)
    torch.testing.assert_close(basis.V, truth.V, atol=1e-6, rtol=0)
    torch.testing.assert_close(basis.U, truth.U, atol=1e-6, rtol=0)


def test_the_solver_is_a_choice(words, tiny_run):
    run = tiny_run(*words)
    assert run.code == 0, run.err
    table = pd.read_parquet(run.folder / "tables" / "discovery.parquet")
    assert set(table["solver"]) == {"arpack"}
    assert table["converged"].all()


def test_its_fields_are_settings_and_others_are_refused_in_two_lines(words, tiny_run):
    assert tiny_run(*words, "svd.max_restarts=100").code == 0
    for wrong, said in {
        "svd.restarts=3": ["there is no setting svd.restarts", "Did you mean svd.max_restarts?"],
        "svd.max_restarts=0": ["svd.max_restarts=0 is not possible", "null, or 1 or more"],
        "svd.max_restarts=many": ["svd.max_restarts=many is not possible", "int or null"],
    }.items():
        refused = tiny_run(*words, wrong)
        refused.assert_failed(2, *said)
        assert len(refused.err.strip().splitlines()) == 2


def test_it_is_one_file_and_one_yaml_and_the_page_says_so(own):
    assert sorted(path.name for path in own.rglob("*") if path.is_file()) == ["arpack.py", "arpack.yaml"]
    page = (GUIDE.parents[1] / "extending.md").read_text()
    assert "Adding a solver, an edit, a predictor or a perceptual measure is therefore one file and one YAML" in page


@pytest.mark.slow
def test_its_results_are_stored_by_its_settings_and_its_code(own, words, tiny_run, tmp_path):
    store = [f"store.path={tmp_path / 'store'}", "store.enabled=true"]

    def stored(*more):
        run = tiny_run(*words, *store, *more)
        assert run.code == 0, run.err
        sys.modules.pop("arpack")  # as in another process
        return len(list((tmp_path / "store" / "bases").rglob("*.safetensors")))

    first = stored()
    assert first > 0
    assert stored() == first
    assert stored("svd.max_restarts=100") == 2 * first
    with (own / "arpack.py").open("a") as file:
        file.write("# another version\n")
    assert stored() == 3 * first
