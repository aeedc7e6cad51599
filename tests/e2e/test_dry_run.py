"""``--dry-run``: it says what a run would compute, and leaves nothing behind."""

import re

import pytest


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """An empty working folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def plain(words):
    """The settings of a tiny run, less its folder."""
    return [word for word in words if not word.startswith("study=")]


def test_it_lists_the_studies_and_writes_nothing(command, tiny_settings, alone):
    outcome = command("--dry-run", *plain(tiny_settings), "study=[discovery,spectrum]", "study.discovery.directions=2")
    assert outcome.code == 0, outcome.err
    assert re.search(r"discovery\s+│ 1 × 3 of mid, tol 1e-4 +│ +~\d+", outcome.out), outcome.out
    assert re.search(r"spectrum\s+│ none beyond those above", outcome.out)
    assert "1 samples" in outcome.out
    assert "GB of memory" in outcome.out
    assert list(alone.iterdir()) == []


def test_it_lists_every_job_of_a_grid(command, tiny_settings, alone):
    words = [*plain(tiny_settings), "study=[spectrum]", "-m", "svd.rank=2,3"]
    outcome = command("--dry-run", *words)
    assert outcome.code == 0, outcome.err
    assert "1 × 2 of mid" in outcome.out
    assert "1 × 3 of mid" in outcome.out
    assert "all 2 runs:" in outcome.out
    assert list(alone.iterdir()) == []


def test_it_reads_settings_that_lie_elsewhere(command, tiny_settings, alone):
    (alone / "mine" / "metric").mkdir(parents=True)
    (alone / "mine" / "metric" / "own.yaml").write_text("defaults: [auto]\n")
    words = [f"hydra.searchpath=[file://{alone}/mine]", "metric=own", "study=[spectrum]"]
    outcome = command("--dry-run", *plain(tiny_settings), *words)
    assert outcome.code == 0, outcome.err
    assert "1 × 3 of mid" in outcome.out


def test_it_says_what_it_does_not_price(command, tiny_settings, alone):
    outcome = command("--dry-run", *plain(tiny_settings), "study=[spectrum]", "svd.points=2", "max_memory=1")
    assert outcome.code == 0, outcome.err
    assert "Not in the time, which is that of passes without it: svd.points=2" in outcome.out


def test_it_knows_what_the_store_holds(command, tiny_run, tiny_settings, alone, tmp_path):
    own = [f"store.path={tmp_path / 'store'}", "study=[spectrum]"]
    assert tiny_run(*own).code == 0
    outcome = command("--dry-run", *plain(tiny_settings), *own)
    assert re.search(r"spectrum\s+│ in the store", outcome.out), outcome.out + outcome.err
    assert list(alone.iterdir()) == []


def test_a_study_that_says_nothing_is_not_estimated(command, tiny_settings, alone, monkeypatch):
    monkeypatch.delattr("diffgeo.studies.spectrum.work")
    outcome = command("--dry-run", *plain(tiny_settings), "study=[spectrum]")
    assert outcome.code == 0
    assert re.search(r"spectrum\s+│ not estimated", outcome.out), outcome.out


def test_it_fails_as_the_run_would(command, tiny_settings, alone):
    outcome = command("--dry-run", *plain(tiny_settings), "study=[spectrum]", "feature.block=up.9")
    outcome.assert_failed(2, "up.9")
    command("--dry-run", "--frob").assert_failed(2, "there is no flag --frob")
    command("--dry-run", "svd.rnak=3").assert_failed(2, "did you mean svd.rank")
    command("--dry-run", "hydra/sweeper=optuna").assert_failed(2, "a search chooses its own")
    assert list(alone.iterdir()) == []
