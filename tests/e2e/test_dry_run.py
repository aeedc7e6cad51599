"""``--dry-run``: it says what a run would compute and how long a similar one took, and leaves nothing behind."""

import json
import re
from datetime import datetime
from unittest import mock

import pytest


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """An empty working folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def plain(words):
    """The settings of a tiny run, less its studies."""
    return [word for word in words if not word.startswith("study=")]


def row(out, study):
    """The lines of a study's row, as one."""
    lines, inside = [], False
    for line in out.splitlines():
        cells = [cell.strip() for cell in re.split("[│┃|]", line)[1:-1]]
        inside = len(cells) == 3 and (cells[0] == study or (inside and not cells[0]))
        lines += [cells[1:]] if inside else []
    return " | ".join(" ".join(part).strip() for part in zip(*lines, strict=True))


def test_it_lists_the_studies_and_writes_nothing(command, tiny_settings, alone):
    outcome = command("--dry-run", *plain(tiny_settings), "study=[discovery,spectrum]", "study.discovery.directions=2")
    assert outcome.code == 0, outcome.err
    assert row(outcome.out, "discovery") == (
        "What changes when a latent moves along its own leading directions? (directions 2) | no similar run yet"
    ), outcome.out
    assert row(outcome.out, "spectrum").endswith("| no similar run yet")
    said = " ".join(outcome.out.split())
    assert "on cpu: 1 sample at t = 1 of T (log-SNR -10.1), 3 directions per basis (golub_kahan)" in said
    assert "h of block mid, whole" in said
    assert "similar runs" not in outcome.out.splitlines()[-1]
    assert list(alone.iterdir()) == []


def test_it_lists_every_job_of_a_grid(command, tiny_settings, alone):
    words = [*plain(tiny_settings), "study=[spectrum]", "-m", "svd.rank=2,3"]
    outcome = command("--dry-run", *words)
    assert outcome.code == 0, outcome.err
    assert "2 directions per basis" in " ".join(outcome.out.split())
    assert "3 directions per basis" in " ".join(outcome.out.split())
    assert list(alone.iterdir()) == []


def test_it_reads_settings_that_lie_elsewhere(command, tiny_settings, alone):
    (alone / "mine" / "metric").mkdir(parents=True)
    (alone / "mine" / "metric" / "own.yaml").write_text("defaults: [auto]\n")
    words = [f"hydra.searchpath=[file://{alone}/mine]", "metric=own", "study=[spectrum]"]
    outcome = command("--dry-run", *plain(tiny_settings), *words)
    assert outcome.code == 0, outcome.err
    assert "no similar run yet" in outcome.out


def test_it_knows_what_the_store_holds(command, tiny_run, tiny_settings, alone, tmp_path):
    own = [f"store.path={tmp_path / 'store'}", "study=[spectrum]"]
    assert tiny_run(*own).code == 0
    outcome = command("--dry-run", *plain(tiny_settings), *own)
    assert row(outcome.out, "spectrum").endswith("nothing to compute, the store has it"), outcome.out + outcome.err
    assert list(alone.iterdir()) == []


def test_it_says_what_the_run_took_that_differs_least(command, tiny_run, tiny_settings, alone):
    """Of a run with other samples, one with another rank and samples, and one of another model, the first."""
    own = ["study=[spectrum,frequency]", "store.enabled=false"]
    for i, words in enumerate((["data.samples=2"], ["data.samples=2", "svd.rank=2"])):
        folder = alone / "outputs" / f"{i}"
        with mock.patch("diffgeo.runner.finish.perf_counter", side_effect=[0.0, 30.0 + i, 0.0, 12.0]):
            assert tiny_run(*own, *words, folder=folder).code == 0
    other = json.loads((alone / "outputs" / "0" / "run.json").read_text())
    other["settings"] |= {"model": other["settings"]["model"] | {"path": "another"}, "data": {"samples": 1}}
    for name, text in (("2", json.dumps(other)), ("3", "{"), ("4", '{"status": "failed"}')):
        (alone / "outputs" / name).mkdir()
        (alone / "outputs" / name / "run.json").write_text(text)
    outcome = command("--dry-run", *plain(tiny_settings), "study=[spectrum,frequency,discovery]", "store.enabled=false")
    assert outcome.code == 0, outcome.err
    assert re.search(r"\| 30 s \(\d{4}-\d\d-\d\d \d\d:\d\d, with data\.samples=2\)$", row(outcome.out, "spectrum"))
    assert row(outcome.out, "frequency").split("| ")[1].startswith("12 s")
    assert row(outcome.out, "discovery").endswith("no similar run yet")
    assert outcome.out.splitlines()[-1] == "2 of 3 studies to compute took 42 s in similar runs."


def test_a_run_writes_when_where_and_how_long(tiny_run, tmp_path):
    own = [f"store.path={tmp_path / 'store'}", "study=[spectrum]"]
    first, again = (tiny_run(*own).manifest for _ in range(2))
    assert datetime.fromisoformat(first["started"]).tzinfo is not None
    assert first["host"]
    assert first["duration"] >= first["seconds"]["spectrum"] > 0
    assert again["seconds"] == first["seconds"], "those of the computation, though the store had it"


def test_it_fails_as_the_run_would(command, tiny_settings, alone):
    outcome = command("--dry-run", *plain(tiny_settings), "study=[spectrum]", "feature.block=up.9")
    outcome.assert_failed(2, "up.9")
    command("--dry-run", "--frob").assert_failed(2, "there is no flag --frob")
    command("--dry-run", "svd.rnak=3").assert_failed(2, "did you mean svd.rank")
    command("--dry-run", "hydra/sweeper=optuna").assert_failed(2, "a search chooses its own")
    assert list(alone.iterdir()) == []
