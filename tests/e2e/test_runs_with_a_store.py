"""Runs with a store: what is taken from it, what is computed, and that a killed run loses nothing."""

import multiprocessing
import random
import signal
import sys
import time
from unittest import mock

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from diffgeo.cli import store as store_command
from diffgeo.composition import register, typed
from diffgeo.config import config_folder
from diffgeo.errors import OutputError
from diffgeo.session.entries import Record
from diffgeo.session.store import Store
from stored import fetch

STUDIES = "study=[discovery,frequency,tangent_distance,global_consistency]"


@pytest.fixture
def settings(tiny_pipeline, tmp_path):
    """``settings(*overrides)``: a run of seconds with a store of its own."""
    register()
    common = [
        "model=local",
        f"model.path={tiny_pipeline}",
        "scale=smoke",
        "schedule.steps=4",
        "schedule.edit=[1.0,0.5]",
        "device=cpu",
        "tracking=none",
        f"store.path={tmp_path / 'store'}",
        STUDIES,
    ]

    def make(*overrides):
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            return typed(compose("config", [*common, *overrides]))

    yield make
    GlobalHydra.instance().clear()


def execute(cfg, folder):
    from diffgeo.runner.run import execute as run

    folder.mkdir(parents=True, exist_ok=True)
    return run(cfg, folder)[0]


def files(folder):
    """Relative path → bytes of everything a study writes."""
    parts = ("tables", "figures", "tensors", "directions")
    return {p.relative_to(folder).as_posix(): p.read_bytes() for part in parts for p in (folder / part).rglob("*.*")}


@pytest.mark.slow
def test_a_second_run_computes_nothing_and_writes_the_same(settings, tmp_path):
    first = execute(settings(), tmp_path / "a")
    with mock.patch("diffgeo.studies.study.Study.run", side_effect=AssertionError("computed again")):
        second = execute(settings("tracking.project=other"), tmp_path / "b")
        with mock.patch("diffgeo.runner.helpers._start", side_effect=AssertionError("nothing is left to help with")):
            execute(settings("processes=2"), tmp_path / "c")
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert str(first) == str(second)  # NaN and all


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize(
    ("change", "bases", "pictures"),
    [
        pytest.param("study.discovery.directions=1", False, True, marks=pytest.mark.nightly),
        pytest.param("edit.strength=0.1", False, True, marks=pytest.mark.slow),
        pytest.param("svd.rank=5", True, True, marks=pytest.mark.slow),
        pytest.param("study.frequency.low=0.3", False, False, marks=pytest.mark.nightly),
    ],
)
def test_a_changed_setting_computes_only_what_depends_on_it(settings, tmp_path, change, bases, pictures):
    study = "study=[discovery,frequency]"
    execute(settings(study), tmp_path / "a")
    store = Store(tmp_path / "store")
    before = {entry.path for entry in store.entries()}
    execute(settings(study, change), tmp_path / "b")
    new = {entry.stage for entry in store.entries() if entry.path not in before}
    assert "latents" not in new
    assert ("bases" in new, "pictures" in new) == (bases, pictures)
    assert "studies" in new
    plain = settings(study, change, "store.enabled=false")
    execute(plain, tmp_path / "c")
    assert files(tmp_path / "b") == files(tmp_path / "c"), "the store changes no number"


@pytest.mark.nightly
def test_other_weights_are_another_model(settings, tmp_path, tiny_unet, tiny_pipeline):
    import shutil

    from diffusers import DDPMPipeline, DDPMScheduler

    folder = tmp_path / "model"
    shutil.copytree(tiny_pipeline, folder)
    execute(settings(f"model.path={folder}"), tmp_path / "a")
    shutil.rmtree(folder)
    DDPMPipeline(tiny_unet(size=16, seed=5), DDPMScheduler()).save_pretrained(folder)
    execute(settings(f"model.path={folder}"), tmp_path / "b")
    a, b = files(tmp_path / "a"), files(tmp_path / "b")
    assert a["tables/discovery.csv"] != b["tables/discovery.csv"]


@pytest.mark.slow
def test_a_damaged_store_gives_the_same_tables(settings, tmp_path, caplog):
    execute(settings(), tmp_path / "a")
    for entry in Store(tmp_path / "store").entries():
        data = entry.path.read_bytes()
        entry.path.write_bytes(data[: len(data) // 2])
    execute(settings(), tmp_path / "b")
    assert "is damaged" in caplog.text
    assert files(tmp_path / "a") == files(tmp_path / "b")


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_pictures_count_by_what_they_show(settings, tmp_path):
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(3):
        Image.new("RGB", (16, 16), (60 * i, 90, 30)).save(folder / f"{i}.png")
    own = ("data=images", f"data.images={folder}", "study=[discovery]")
    execute(settings(*own), tmp_path / "a")
    Image.new("RGB", (16, 16), (255, 0, 90)).save(folder / "1.png")
    execute(settings(*own), tmp_path / "b")
    assert files(tmp_path / "a")["tables/discovery.csv"] != files(tmp_path / "b")["tables/discovery.csv"]


def _work(cfg, folder, started):
    started.set()
    with mock.patch("diffgeo.runner.finish.draw", return_value={}):
        execute(cfg, folder)


@pytest.mark.slow
def test_kills_at_random_change_no_table(settings, tmp_path):
    """SIGKILL at random moments of the work that is left; the last run is let through."""
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    with mock.patch("diffgeo.runner.finish.draw", return_value={}):
        start = time.monotonic()
        execute(settings("store.enabled=false"), whole)
        takes = time.monotonic() - start
    spawn, chance, killed = multiprocessing.get_context("forkserver"), random.Random(0), 0
    spawn.set_forkserver_preload(["diffgeo.runner.run"])
    for _ in range(8):
        started = spawn.Event()
        worker = spawn.Process(target=_work, args=(settings(), pieces, started))
        worker.start()
        assert started.wait(120)
        worker.join(chance.uniform(0.2, 0.5 + takes))
        worker.kill()
        worker.join()
        killed += worker.exitcode == -signal.SIGKILL
    assert killed >= 3, "most runs were through before they were killed: the test says nothing"
    with mock.patch("diffgeo.runner.finish.draw", return_value={}):
        execute(settings(), pieces)
    assert files(whole) == files(pieces)
    left = [p for root in (pieces, tmp_path / "store") for p in root.rglob("*") if p.name.startswith(".tmp-")]
    Store(tmp_path / "store").prune()  # of entries that were not needed again
    assert [p for p in left if p.exists()] == []
    assert not Store(tmp_path / "store").verify()


def store_says(capsys, *words):
    """(exit code, stdout, stderr) of ``diffgeo-store WORDS``."""
    code = 0
    with mock.patch.object(sys, "argv", ["diffgeo-store", *map(str, words)]):
        try:
            store_command.main()
        except SystemExit as stop:
            code = stop.code or 0
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.usefixtures("without_figures")
def test_the_command_lists_verifies_and_prunes(capsys, settings, tmp_path):
    execute(settings("study=[discovery]"), tmp_path / "a")
    where = f"path={tmp_path / 'store'}"
    code, out, _ = store_says(capsys, "ls", where)
    assert code == 0
    for stage in ("bases", "latents", "pictures", "studies", "all"):
        assert stage in out
    assert store_says(capsys, "verify", where)[0] == 0
    entry = next(Store(tmp_path / "store").entries())
    entry.path.write_bytes(entry.path.read_bytes()[:-1])
    code, out, _ = store_says(capsys, "verify", where)
    assert code == 8
    assert str(entry.path) in out
    code, out, _ = store_says(capsys, "prune", "max_gb=0", where)
    assert code == 0
    assert not list(Store(tmp_path / "store").entries())
    assert "Usage" in store_says(capsys)[1]


def test_a_store_that_cannot_be_written_says_what_stays(capsys, tmp_path):
    """Pruning and verifying tell the truth, with the exit codes of results that cannot be written and of damage."""
    store = Store(tmp_path / "store")
    for i in range(2):
        fetch(store, "bases", {"i": i}, lambda: Record({"x": torch.ones(9)}))
    damaged = sorted(store.entries(), key=lambda entry: entry.path)[0].path
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with mock.patch("pathlib.Path.unlink", side_effect=PermissionError(13, "Permission denied")):
        code, out, err = store_says(capsys, "prune", "max_gb=0", f"path={store.folder}")
        assert code == OutputError.exit_code
        assert "removed 0 entries" in out
        assert "cannot be removed" in err
        code, out, _ = store_says(capsys, "verify", f"path={store.folder}")
        assert code == 8
        assert f"damaged, cannot be removed: {damaged}" in out
    assert f"damaged, removed: {damaged}" in store_says(capsys, "verify", f"path={store.folder}")[1]


def test_the_command_refuses_a_folder_of_other_files(capsys, tmp_path):
    weights = tmp_path / "weights" / "nets" / "v1" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_text("weights")
    for words in (("ls",), ("verify",), ("prune", "max_gb=0")):
        code, _, err = store_says(capsys, *words, f"path={tmp_path / 'weights'}")
        assert code == 2
        assert "is no store of diffgeo" in err
    assert weights.read_text() == "weights"


@pytest.mark.parametrize("words", [["clean"], ["ls", "folder=x"], ["prune", "max_gb=-1"], ["prune", "max_gb=many"]])
def test_a_wrong_word_is_refused(capsys, words):
    code, _, err = store_says(capsys, *words)
    assert code == 2
    assert err.startswith("Error: ")


def test_without_a_store_the_command_says_so(capsys, monkeypatch):
    monkeypatch.setenv("DIFFGEO_STORE", "")
    code, _, err = store_says(capsys, "ls")
    assert code == 2
    assert "path=FOLDER" in err
