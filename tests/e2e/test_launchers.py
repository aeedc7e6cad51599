"""Sweeps on workers: the tables of a serial sweep, also where a job's process is killed."""

import json
import os
import shlex
import signal
import threading
import time
from pathlib import Path
from unittest import mock

import pytest
import yaml

from diffgeo.errors import ConfigError, WorkerError
from diffgeo.report import runs as gathering
from diffgeo.report.reading import read_run


def sweep(command, tiny_settings, folder, *words):
    settings = [word for word in tiny_settings if not word.startswith("study=")]
    grid = ["grid=rank", "study=[spectrum]", "svd.rank=2,3"]  # the preset, with other studies and values
    return command("-m", *settings, *grid, f"hydra.sweep.dir={folder}", *words, folder=folder)


@pytest.fixture(scope="module")
def serial(command, tiny_settings, tmp_path_factory):
    with mock.patch("diffgeo.runner.finish.draw", return_value={}):
        outcome = sweep(command, tiny_settings, tmp_path_factory.mktemp("serial") / "out")
    assert outcome.code == 0, outcome.err
    assert "2 of 2 jobs completed" in outcome.err
    return outcome.folder


def assert_same_tables(folder, other, jobs=("0", "1")):
    for job in jobs:
        for name in ("spectrum.parquet", "spectrum.csv"):
            assert (folder / job / "tables" / name).read_bytes() == (other / job / "tables" / name).read_bytes()


def test_a_preset_gives_its_runs_a_group_and_a_report_their_difference(serial):
    groups = {json.loads(path.read_text())["settings"]["tracking"]["group"] for path in serial.glob("*/run.json")}
    assert groups == {f"grid rank {serial.parent.name} {serial.name}"}
    assert gathering.deciding(gathering.read_runs(gathering.find_runs([serial]))) == ["svd.rank"]


class Killer(threading.Thread):
    """Kills processes of a run while it goes on: those whose question is of this test."""

    def __init__(self, marker, times, ready=lambda: True):
        super().__init__(daemon=True)
        self.marker, self.times, self.ready, self.killed = marker, times, ready, []
        self.over = threading.Event()

    def children(self):
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
            except OSError:
                continue
            if b"diffgeo.runner.sweeping" in words and self.marker.encode() in environment:
                yield int(folder.name)

    def run(self):
        while len(self.killed) < self.times and not self.over.is_set():
            for pid in self.children():
                if pid not in self.killed and len(self.killed) < self.times and self.ready():
                    os.kill(pid, signal.SIGKILL)
                    self.killed.append(pid)
            time.sleep(0.02)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


@pytest.fixture
def marked(monkeypatch, tmp_path):
    """A word in the environment of all that this test starts."""
    monkeypatch.setenv("DIFFGEO_TEST", str(tmp_path))
    return str(tmp_path)


@pytest.fixture
def without_figures():
    """Drawing takes most of a tiny run's time (in this process; children draw)."""
    with mock.patch("diffgeo.runner.finish.draw", return_value={}):
        yield


needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")


@pytest.mark.nightly
@needs_proc
def test_a_job_that_dies_twice_costs_only_itself(command, tiny_settings, serial, tmp_path, marked):
    with Killer(marked, times=2) as killer:
        outcome = sweep(command, tiny_settings, tmp_path / "out", "retries=1")
    assert len(killer.killed) == 2
    assert outcome.code == WorkerError.exit_code
    assert "Job 0 failed (svd.rank=2): the job's process was killed by SIGKILL (exit code 137)" in outcome.err
    assert "1 of 2 jobs completed" in outcome.err
    assert "Traceback" not in outcome.err
    assert_same_tables(outcome.folder, serial, jobs=("1",))


@needs_proc
@pytest.mark.nightly
def test_joblib_gives_the_serial_tables_though_a_job_is_killed(command, tiny_settings, serial, tmp_path, marked):
    running = tmp_path / "out"
    words = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"store.path={tmp_path}/store"]
    with Killer(marked, times=1, ready=lambda: any(running.glob("*/run.json"))) as killer:
        outcome = sweep(command, tiny_settings, running, *words)
    assert len(killer.killed) == 1
    assert outcome.code == 0, outcome.err
    logs = "".join(path.read_text() for path in running.glob("*/diffgeo.log"))
    assert logs.count("was killed by SIGKILL (exit code 137); it starts again") == 1
    assert_same_tables(running, serial)


@pytest.mark.nightly
def test_submitit_gives_the_serial_tables(command, tiny_settings, serial, tmp_path):
    pytest.importorskip("submitit")
    outcome = sweep(command, tiny_settings, tmp_path / "out", "hydra/launcher=submitit_local")
    assert outcome.code == 0, outcome.err
    assert_same_tables(outcome.folder, serial)


@pytest.mark.nightly
def test_ray_gives_the_serial_tables(command, tiny_settings, serial, tmp_path):
    pytest.importorskip("ray", reason="diffgeo[ray] needs another cloudpickle than the rest of the environment")
    outcome = sweep(command, tiny_settings, tmp_path / "out", "hydra/launcher=ray")
    assert outcome.code == 0, outcome.err
    assert_same_tables(outcome.folder, serial)


def test_a_launcher_that_is_not_installed_names_its_extra(command):
    outcome = command("-m", "hydra/launcher=ray", "seed=0,1")
    if outcome.code:
        outcome.assert_failed(ConfigError.exit_code, "hydra/launcher/ray is not installed", "diffgeo[ray]")


@pytest.mark.slow
def test_the_page_of_a_grids_job_shows_a_command_that_can_be_typed(command, tiny_settings, tmp_path):
    words = [w for w in tiny_settings if not w.startswith(("svd.rank=", "study=", "hydra.run.dir="))]
    words += ["study=[spectrum]", "svd=golub_kahan"]
    sweep = command("-m", "grid=rank", "svd.rank=2,3", *words, f"hydra.sweep.dir={tmp_path}/sweep", folder=tmp_path)
    assert sweep.code == 0, sweep.err
    name, *own = shlex.split(read_run(tmp_path / "sweep" / "1").command)
    assert {name, "grid=rank", "svd.rank=3"} <= {"diffgeo", *own}
    again = command(*own, f"hydra.run.dir={tmp_path}/again", folder=tmp_path / "again")
    assert again.code == 0, again.err
    first, second = (tmp_path / one / "tables" / "spectrum.parquet" for one in ("sweep/1", "again"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("choice", ["grid=rank", "search=precision"])
def test_a_sweep_without_its_flag_says_it(command, choice, tmp_path):
    outcome = command(choice, f"hydra.run.dir={tmp_path}/run", folder=tmp_path / "run")
    outcome.assert_failed(ConfigError.exit_code, f"{choice} is a sweep of many runs", f"diffgeo -m {choice}")
    assert len(outcome.err.splitlines()) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_a_search_improves_a_scalar_of_its_runs(command, tiny_settings, tmp_path):
    pytest.importorskip("optuna")
    settings = [word for word in tiny_settings if not word.startswith("study=")]
    outcome = command(
        *("-m", *settings, "study=[ablation]", "study.ablation.variants=[local]", "hydra/sweeper=optuna"),
        *("objective=ablation/gamma/local", "hydra.sweeper.direction=minimize", "hydra.sweeper.sampler.seed=0"),
        *("hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=1", "edit.strength=interval(0.02,0.2)"),
        f"hydra.sweep.dir={tmp_path}",
        folder=tmp_path,
    )
    assert outcome.code == 0, outcome.err
    best = yaml.safe_load((tmp_path / "optimization_results.yaml").read_text())
    runs = [json.loads((tmp_path / job / "run.json").read_text()) for job in "012"]
    gammas = [run["scalars"]["ablation"]["gamma/local"] for run in runs]
    assert best["best_value"] == min(gammas)
    assert best["best_params"]["edit.strength"] == runs[gammas.index(min(gammas))]["settings"]["edit"]["strength"]
    assert len(set(gammas)) == 3


@pytest.mark.usefixtures("without_figures")
def test_an_objective_that_no_run_has_stops_the_sweep_at_once(command, tiny_settings, tmp_path):
    words = ["objective=spectrum/effective_dimensoin/t_1", "svd.rank=2,3", f"hydra.sweep.dir={tmp_path}/out"]
    settings = [word for word in tiny_settings if not word.startswith("study=")]
    outcome = command("-m", *settings, "study=[spectrum]", *words, folder=tmp_path / "out")
    assert outcome.code == ConfigError.exit_code
    assert "Did you mean spectrum/effective_dimension/t_1?" in outcome.err
    assert not (tmp_path / "out" / "1").exists()
