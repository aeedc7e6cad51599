"""Run folders: one for each run, however many start at once; a used one shows its last run alone, and loses nothing."""

import json
import multiprocessing
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest

from diffgeo.composition import at_home
from diffgeo.errors import ConfigError, OutputError
from diffgeo.report import runs as gathering
from diffgeo.report.reading import read_run
from diffgeo.run_folders import FOLDERS, LOCK, held
from diffgeo.studies import study_named

CLOCK = "${now:%Y}"  # in which all runs of a test start


@pytest.fixture(scope="module")
def first_run(tiny_run):
    """A run of seed 52 with its figures."""
    outcome = tiny_run("seed=52", "data.samples=2", "study=[discovery,spectrum]", figures=True)
    assert outcome.code == 0, outcome.err
    return outcome


@pytest.fixture
def first(first_run, tmp_path):
    """The same in the folder ``out``, which a second run may use."""
    return replace(first_run, folder=Path(shutil.copytree(first_run.folder, tmp_path / "out")))


def start(words, barrier):
    from command_line import run_cli

    barrier.wait()
    with mock.patch("diffgeo.runner.finish.draw", return_value={}), mock.patch("diffgeo.runner.manifest._draw_page"):
        raise SystemExit(run_cli(*words).code)


def at_once(*command_lines):
    """Run several commands in processes that start together; their exit codes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["diffgeo.runner.run"])
    barrier = context.Barrier(len(command_lines))
    workers = [context.Process(target=start, args=(words, barrier)) for words in command_lines]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
    return [worker.exitcode for worker in workers]


def seeds(folder):
    return sorted(json.loads(path.read_text())["seed"] for path in folder.rglob("run.json"))


@pytest.fixture
def words(tiny_settings, tmp_path):
    """A run of a second, in a store of its own."""
    return [*tiny_settings[:-1], "study=[spectrum]", f"store.path={tmp_path}/store"]


@pytest.mark.slow
def test_runs_that_start_in_one_second_have_a_folder_each(words, tmp_path):
    where = f"hydra.run.dir={tmp_path}/out/{CLOCK}"
    assert at_once(*([*words, where, f"seed={seed}"] for seed in (1, 2, 3))) == [0, 0, 0]
    assert seeds(tmp_path / "out") == [1, 2, 3]
    for folder in (tmp_path / "out").iterdir():
        facts = json.loads((folder / "run.json").read_text())
        assert facts["status"] == "completed"
        assert set(pd.read_parquet(folder / "tables" / "spectrum.parquet")["seed"]) == {facts["seed"]}
        assert f"seed={facts['seed']}" in (folder / ".hydra" / "overrides.yaml").read_text()


@pytest.mark.nightly
def test_sweeps_that_start_in_one_second_have_a_folder_each(words, tmp_path):
    where = f"hydra.sweep.dir='{tmp_path}/its, out/{CLOCK}'"
    assert at_once(*(["-m", *words, where, f"seed={s},{s + 1}"] for s in (10, 20))) == [0, 0]
    out = tmp_path / "its, out"
    assert seeds(out) == [10, 11, 20, 21]
    assert [len(seeds(folder)) for folder in out.iterdir()] == [2, 2]
    assert all((folder / "multirun.yaml").is_file() for folder in out.iterdir())


@pytest.mark.slow
def test_the_default_folders_are_named_by_the_clock_and_made_anew(words, tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with mock.patch("hydra.core.utils.datetime") as clock, mock.patch("diffgeo.runner.finish.draw", return_value={}):
        clock.now.return_value.strftime.side_effect = lambda pattern: pattern.replace("%", "")
        for seed in (1, 2):
            assert command(*words, f"seed={seed}").code == 0
        assert command("-m", *words, "seed=3").code == 0
    found = {path.parent.relative_to("outputs").as_posix() for path in Path("outputs").rglob("run.json")}
    assert found == {"Y-m-d/H-M-S", "Y-m-d/H-M-S-2", "Y-m-d/H-M-S-3/0"}


def test_asking_for_settings_makes_no_folder(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command("--cfg", "job").code == 0
    assert list(tmp_path.iterdir()) == []


def theirs(folder):
    """The user's own files in a run folder."""
    names = ("notes.md", "tables/discovery_notes.csv", "tables/mine.parquet", "figures/photo.png", ".tmp-mine/x")
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    return [folder / name for name in names]


@pytest.mark.slow
def test_a_used_folder_shows_its_last_run_alone(tiny_run, tmp_path, first):
    folder = tmp_path / "out"
    written = first.manifest["files"]
    assert written
    assert {Path(file).parts[0] for file in written} == set(FOLDERS) - {"directions"}
    assert sorted(written) == [file for file in first.files() if Path(file).parts[0] in FOLDERS]
    own = theirs(folder)
    second = tiny_run("seed=99", "study=[frequency]", folder=folder, figures=True)
    assert second.code == 0, second.err
    assert [file for file in written if (folder / file).exists()] == []
    assert all(path.read_text() == "mine" for path in own)
    assert second.manifest["seed"] == 99
    assert "earlier" not in second.manifest
    run = read_run(folder)
    assert set(run.tables) == {"frequency"}, "neither the earlier run's, nor the user's"
    page = (folder / "report.html").read_text()
    assert "seed 99" in page
    assert "seed 52" not in page
    runs = gathering.read_runs([folder])
    with pytest.raises(Exception, match="no run has a table mine; there are frequency"):
        gathering.study_rows(runs, "mine")


def test_a_manifest_that_lists_no_files_claims_none(tiny_run, tmp_path, first):
    folder = tmp_path / "out"
    facts = first.manifest
    written = facts.pop("files")
    (folder / "run.json").write_text(json.dumps(facts))
    assert read_run(folder).tables == {}
    assert tiny_run("seed=99", folder=folder).code == OutputError.exit_code
    assert all((folder / file).is_file() for file in written if file.startswith("tables/"))


def test_a_mistyped_setting_costs_no_results(tiny_run, tmp_path, first):
    folder = tmp_path / "out"
    kept = {file: (folder / file).read_bytes() for file in first.manifest["files"]}
    assert tiny_run("seed=99", "svd.rank=0", folder=folder).code == ConfigError.exit_code
    assert {file: (folder / file).read_bytes() for file in kept} == kept
    assert read_run(folder).tables == {}, "but they are not of this run"
    assert tiny_run("seed=99", "study=[spectrum]", folder=folder).code == 0
    assert [file for file in kept if (folder / file).exists() and "spectrum" not in file] == []


def test_a_run_that_was_killed_between_two_studies_is_cleaned_too(tiny_run, tmp_path, first):
    folder = tmp_path / "out"
    facts = first.manifest | {"status": "running", "scalars": {}}
    (folder / "run.json").write_text(json.dumps(facts))
    assert tiny_run("study=[spectrum]", folder=folder).code == 0
    assert sorted(path.name for path in (folder / "tables").iterdir()) == ["spectrum.csv", "spectrum.parquet"]


@pytest.mark.parametrize(
    ("name", "text"), [("run.json", '{"experiment": 7}'), ("run.json", "[]"), ("run.json", ""), ("report.html", "<p>")]
)
def test_a_folder_with_anothers_manifest_or_page_is_refused(tiny_run, tmp_path, name, text):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / name).write_text(text)
    outcome = tiny_run(folder=folder)
    assert outcome.code == OutputError.exit_code
    assert f"{name} is not of a run of diffgeo" in outcome.err
    assert "hydra.run.dir=" in outcome.err
    assert "Traceback" not in outcome.err
    assert (folder / name).read_text() == text
    assert not (folder / "tables").exists()


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        *[("tables/spectrum.csv", False), ("tables/spectrum_summary.csv", False), ("figures/spectrum.png", False)],
        *[("tables/spectra.csv", True), ("notes/spectrum.csv", True), ("spectrum.csv", True)],
    ],
)
@pytest.mark.parametrize("used", [False, True], ids=["strangers folder", "our folder"])
def test_a_table_of_the_users_own_is_not_replaced(tiny_run, tmp_path, name, fits, used):
    """In a folder that no run tells of, or beside the files of a completed one."""
    folder = tmp_path / "out"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text("mine")
    if used:
        facts = {"status": "completed", "settings": {"study": {"frequency": {}}}, "files": ["tables/frequency.csv"]}
        (folder / "run.json").write_text(json.dumps(facts))
    outcome = tiny_run("study=[spectrum]", folder=folder)
    assert outcome.code == (0 if fits else OutputError.exit_code), outcome.err
    assert (folder / name).read_text() == "mine"
    if not fits:
        assert f"{name} is in the way" in outcome.err
        assert (folder / "run.json").exists() == used, "nothing is written"


@pytest.mark.parametrize("used", [False, True], ids=["strangers folder", "our folder"])
def test_so_it_is_after_a_run_that_was_refused(tiny_run, tmp_path, used):
    folder = tmp_path / "out"
    (folder / "tables").mkdir(parents=True)
    (folder / "tables" / "spectrum.csv").write_text("mine")
    if used:
        facts = {"status": "completed", "settings": {"study": {"frequency": {}}}, "files": ["tables/frequency.csv"]}
        (folder / "run.json").write_text(json.dumps(facts))
    for word, code in (("svd.rank=0", ConfigError.exit_code), ("svd.rank=3", OutputError.exit_code)):
        assert tiny_run("study=[spectrum]", word, folder=folder).code == code
        assert (folder / "tables" / "spectrum.csv").read_text() == "mine"


def test_files_that_no_run_would_replace_are_in_nobodys_way(tiny_run, tmp_path):
    folder = tmp_path / "out"
    (folder / "tables").mkdir(parents=True)
    for name in ("spectrum.xlsx", "spectrum_notes.txt"):
        (folder / "tables" / name).write_text("mine")
    assert tiny_run("study=[spectrum]", folder=folder).code == 0
    assert (folder / "tables" / "spectrum.xlsx").read_text() == "mine"


def test_a_file_that_came_meanwhile_is_not_replaced(tiny_run, tmp_path):
    """Files are listed before they are written, each by its own name."""
    folder, run = tmp_path / "out", study_named("spectrum").part("measure", "run")

    def slow(context, settings):
        (folder / "tables").mkdir()
        (folder / "tables" / "spectrum.csv").write_text("mine")
        return run(context, settings)

    with mock.patch("diffgeo.studies.spectrum.measure.run", slow):
        outcome = tiny_run("study=[spectrum]", "store.enabled=false", folder=folder)
    assert outcome.code == OutputError.exit_code
    assert (folder / "tables" / "spectrum.csv").read_text() == "mine"


def test_what_a_killed_run_had_begun_to_write_is_cleaned(tiny_run, tmp_path):
    folder = tmp_path / "out"
    with (
        mock.patch("diffgeo.runner.finish.draw", side_effect=KeyboardInterrupt),
        mock.patch("diffgeo.runner.manifest.Manifest._end"),
    ):
        assert tiny_run("study=[discovery]", "store.enabled=false", folder=folder, figures=True).code == 130
    assert (folder / "tables" / "discovery.csv").exists()
    assert json.loads((folder / "run.json").read_text())["status"] == "running"
    assert tiny_run("study=[spectrum]", folder=folder).code == 0
    assert sorted(path.name for path in (folder / "tables").iterdir()) == ["spectrum.csv", "spectrum.parquet"]


def test_the_log_is_of_the_last_run_alone(tiny_run, tmp_path, first):
    folder = tmp_path / "out"
    assert "Traversals" in (folder / "diffgeo.log").read_text()
    assert tiny_run("study=[frequency]", folder=folder).code == 0
    log = (folder / "diffgeo.log").read_text()
    assert "Frequencies" in log
    assert "Traversals" not in log


def test_jobs_that_would_share_a_folder_are_refused(command, tiny_settings, tmp_path):
    words = ["-m", *tiny_settings, "seed=1,2", f"hydra.sweep.dir={tmp_path}/out", "hydra.sweep.subdir=."]
    command(*words).assert_failed(ConfigError.exit_code, "hydra.sweep.subdir=. is one folder", "${hydra:job.num}")


class TestTwoRunsInOneFolder:
    """That the user names, so that neither gets another: the second one is refused, and the first one loses nothing."""

    @pytest.mark.slow
    def test_one_of_two_that_start_at_once_is_refused(self, words, tmp_path):
        where = f"hydra.run.dir={tmp_path}/out"
        codes = at_once(*([*words, where, f"seed={seed}"] for seed in (1, 2)))
        assert sorted(codes) == [0, OutputError.exit_code]
        facts = json.loads((tmp_path / "out" / "run.json").read_text())
        assert facts["seed"] == 1 + codes.index(0)
        assert facts["status"] == "completed"
        assert f"seed={facts['seed']}" in (tmp_path / "out" / ".hydra" / "overrides.yaml").read_text()

    @pytest.mark.parametrize("word", ["seed=99", "svd.rank=0"])
    def test_a_second_one_is_refused_and_leaves_all_as_it_is(self, tiny_run, tmp_path, first, word):
        folder = tmp_path / "out"
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        with other_process_holds(folder):
            outcome = tiny_run(word, folder=folder)
        assert outcome.code == OutputError.exit_code
        assert "another run is writing into" in outcome.err
        assert "hydra.run.dir=" in outcome.err
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before

    def test_so_is_a_sweep(self, command, tiny_settings, tmp_path):
        with other_process_holds(tmp_path / "out"):
            outcome = command("-m", *tiny_settings, "seed=1,2", f"hydra.sweep.dir={tmp_path}/out")
        outcome.assert_failed(OutputError.exit_code, "another run is writing into", "hydra.sweep.dir=")
        assert list((tmp_path / "out").iterdir()) == []

    def test_so_is_a_run_from_python(self, tmp_path):
        import diffgeo

        with other_process_holds(tmp_path / "out"), pytest.raises(OutputError, match="another run is writing"):
            diffgeo.run(diffgeo.settings("scale=smoke", "tracking=none"), tmp_path / "out")

    def test_the_folder_is_free_once_the_run_has_ended(self, tmp_path):
        for _ in range(2):
            with held(tmp_path), held(tmp_path):
                assert (tmp_path / LOCK).exists()
            assert not (tmp_path / LOCK).exists()

    def test_a_folder_that_cannot_be_written_is_not_held(self, tmp_path):
        (tmp_path / "file").write_text("")
        with held(tmp_path / "file" / "out"):
            pass


@contextmanager
def other_process_holds(folder):
    """Another process writes into a folder while the block runs."""
    code = f"from pathlib import Path; from diffgeo.run_folders import held\nwith held(Path({str(folder)!r})):"
    code += " print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        other.stdout.readline()
        yield
        other.communicate("\n")


@pytest.mark.parametrize("file", ["../precious", "tables/../../precious", "/tmp/x/precious", "notes/a.csv", "run.json"])
def test_a_manifest_that_lists_other_files_removes_none(tiny_run, tmp_path, first, file):
    folder = tmp_path / "out"
    for path in (tmp_path / "precious", folder / "notes" / "a.csv"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("keep")
    for part in FOLDERS:
        shutil.rmtree(folder / part, ignore_errors=True)
    (folder / "run.json").write_text(json.dumps(first.manifest | {"files": [file]}))
    assert tiny_run("study=[spectrum]", folder=folder).code == 0
    assert (tmp_path / "precious").read_text() == (folder / "notes" / "a.csv").read_text() == "keep"


def test_a_linked_folder_of_tables_is_not_emptied(tiny_run, tmp_path, first):
    folder, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    (folder / "tables").rename(elsewhere)
    (folder / "tables").symlink_to(elsewhere)
    (elsewhere / ".tmp-spectrum-0123abcd.csv").write_text("theirs")
    before = sorted(path.name for path in elsewhere.iterdir())
    assert any(file.startswith("tables/") for file in first.manifest["files"])
    assert tiny_run("study=[spectrum]", folder=folder).code == 0
    assert set(before) <= {path.name for path in elsewhere.iterdir()}


@pytest.mark.parametrize("empty", ["store.path=", "store.path=''", "store.path=' '"])
def test_an_empty_store_path_is_refused(tiny_run, tmp_path, monkeypatch, empty):
    monkeypatch.chdir(tmp_path)
    outcome = tiny_run(empty, folder=tmp_path / "out")
    outcome.assert_failed(ConfigError.exit_code, "store.path=", "is not possible", "store.enabled=false")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_foreign_folder_as_a_store_is_refused_before_anything_is_computed(tiny_run, tmp_path):
    (tmp_path / "data" / "nets" / "v1").mkdir(parents=True)
    weights = tmp_path / "data" / "nets" / "v1" / "model.safetensors"
    weights.write_text("weights")
    with mock.patch("diffgeo.runner.prepare.build", side_effect=AssertionError("too late")):
        outcome = tiny_run(f"store.path={tmp_path}/data", "store.max_gb=0.0001", folder=tmp_path / "out")
    outcome.assert_failed(ConfigError.exit_code, "is no store of diffgeo", "nets/v1", "store.path=")
    assert [path for path in (tmp_path / "data").rglob("*") if path.is_file()] == [weights]


def test_a_tilde_is_the_users_home(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    outcome = tiny_run("store.path=~/store", "study=[spectrum]", folder="~/out")
    assert outcome.code == 0, outcome.err
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == ["out", "store"]
    assert not (tmp_path / "~").exists()
    assert at_home(["a=~", "b=x~", "~c", "d=~nobody-here/x", "e=a=~/b"]) == [
        f"a={tmp_path}/home",
        "b=x~",
        "~c",
        "d=~nobody-here/x",
        "e=a=~/b",
    ]
