"""Weights & Biases as a mirror: its variables are heeded, its folders stay in the run folder, it never costs a run."""

import logging
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import wandb

from diffgeo.config import Config, TrackingConfig, heed_wandb
from diffgeo.convergence import Convergence
from diffgeo.errors import ConfigError
from diffgeo.results import Result
from diffgeo.runner.tracking import job_name, run_name, tracking

RESULT = Result("spectrum", pd.DataFrame({"a": [1]}), {"x": 1.0})


@pytest.mark.parametrize(
    ("words", "environment", "expected"),
    [
        ([], {}, ("wandb", "offline", "diffgeo")),
        ([], {"WANDB_MODE": "disabled"}, ("none", "offline", "diffgeo")),
        ([], {"WANDB_MODE": "online", "WANDB_PROJECT": "mine"}, ("wandb", "online", "mine")),
        ([], {"WANDB_MODE": "dryrun"}, ("wandb", "offline", "diffgeo")),
        ([], {"WANDB_MODE": "", "WANDB_PROJECT": ""}, ("wandb", "offline", "diffgeo")),
        (["tracking=wandb_offline"], {"WANDB_MODE": "disabled"}, ("wandb", "offline", "diffgeo")),
        (["++tracking.mode=offline"], {"WANDB_MODE": "online"}, ("wandb", "offline", "diffgeo")),
        (["tracking.project=diffgeo"], {"WANDB_PROJECT": "mine"}, ("wandb", "offline", "diffgeo")),
        (["tracking.tags=[a]"], {"WANDB_MODE": "disabled"}, ("none", "offline", "diffgeo")),
        (["tracking=none"], {"WANDB_MODE": "bogus"}, ("wandb", "offline", "diffgeo")),
    ],
)
def test_variables_of_wandb_are_heeded_where_the_command_line_is_silent(words, environment, expected):
    cfg = Config(tracking=TrackingConfig(backend="wandb"))
    heed_wandb(cfg, words, environment)
    assert (cfg.tracking.backend, cfg.tracking.mode, cfg.tracking.project) == expected


def test_a_mode_that_wandb_does_not_have_is_refused():
    with pytest.raises(ConfigError, match="WANDB_MODE=bogus is not possible; allowed: online, offline, disabled"):
        heed_wandb(Config(), [], {"WANDB_MODE": "bogus"})


def test_the_command_heeds_them(tiny_settings, command, tmp_path, monkeypatch):
    words = [word for word in tiny_settings if word != "tracking=none"]
    monkeypatch.setenv("WANDB_MODE", "bogus")
    command(*words, f"hydra.run.dir={tmp_path}/a").assert_failed(2, "WANDB_MODE=bogus is not possible")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    outcome = command(*words, f"hydra.run.dir={tmp_path}/b", folder=tmp_path / "b")
    assert outcome.code == 0, outcome.err
    assert outcome.manifest["settings"]["tracking"]["backend"] == "none"
    assert not (tmp_path / "b" / "wandb").exists()


@pytest.mark.parametrize("setting", [{"project": "a/b"}, {"project": "p" * 129}, {"tags": ["t" * 65]}])
def test_settings_that_wandb_refuses_are_refused(tmp_path, setting):
    with (
        pytest.raises(ConfigError, match="W&B could not start, offline"),
        tracking(TrackingConfig(backend="wandb", **setting), tmp_path, {}),
    ):
        pytest.fail("it started")


class Kept:
    """A run of W&B's that keeps what it is told."""

    def __init__(self):
        self.summary, self.tags = {}, ("mine",)

    def log(self, *_, **__):
        pass

    save = finish = log
    settings = type("Settings", (), {"mode": "online"})


def test_bases_that_missed_their_tolerance_are_counted_and_tagged(tmp_path, monkeypatch):
    kept = Kept()
    monkeypatch.setattr("wandb.init", lambda **_: kept)
    good, missed = Convergence(4, 0, 0.5), Convergence(4, 3, 41.5)
    with tracking(TrackingConfig(backend="wandb"), tmp_path, {}) as tracker:
        tracker.log_result(RESULT, {})
        tracker.log_result(replace(RESULT, study="frequency", convergence=good), {})
        assert kept.tags == ("mine",)
        for study in ("discovery", "curvedness"):
            tracker.log_result(replace(RESULT, study=study, convergence=missed), {})
    assert kept.tags == ("mine", "not converged")
    counts = {key: value for key, value in kept.summary.items() if key.endswith("unconverged_bases")}
    assert counts == {
        "frequency/unconverged_bases": 0,
        "discovery/unconverged_bases": 3,
        "curvedness/unconverged_bases": 3,
    }


class Broken:
    """A run of W&B's that fails at everything."""

    summary = property(lambda _: 1 / 0)

    def log(self, *_, **__):
        raise OSError(28, "No space left on device")

    save = finish = log


def test_a_mirror_that_fails_is_a_warning(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("wandb.init", lambda **_: Broken())
    with tracking(TrackingConfig(backend="wandb"), tmp_path, {}) as tracker:
        tracker.log_result(RESULT, {})
        tracker.log_page(tmp_path / "report.html")
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    assert all("W&B" in line and "No space left" in line and "the run goes on" in line for line in said)


def test_the_runs_own_error_passes_through_a_mirror_that_fails(tmp_path, monkeypatch):
    monkeypatch.setattr("wandb.init", lambda **_: Broken())
    with pytest.raises(ConfigError, match="its own"), tracking(TrackingConfig(backend="wandb"), tmp_path, {}):
        raise ConfigError("its own", "mend it")


@pytest.mark.parametrize("error", [OSError(13, "denied"), RuntimeError("service"), TimeoutError()])
def test_offline_a_mirror_that_does_not_start_is_a_warning_and_online_an_error(tmp_path, monkeypatch, caplog, error):
    def fail(**_):
        raise error

    monkeypatch.setattr("wandb.init", fail)
    with tracking(TrackingConfig(backend="wandb"), tmp_path, {}) as tracker:
        tracker.log_result(RESULT, {})
    assert "W&B could not start" in caplog.text
    with (
        pytest.raises(ConfigError, match="wandb login"),
        tracking(TrackingConfig(backend="wandb", mode="online"), tmp_path, {}),
    ):
        pytest.fail("it started")


@pytest.mark.slow
def test_nothing_is_written_to_the_home_folder(tmp_path, monkeypatch):
    home, folder = tmp_path / "home", tmp_path / "run"
    home.mkdir()
    folder.mkdir()
    code = (
        "import sys\nfrom pathlib import Path\nfrom diffgeo.config import TrackingConfig\n"
        "from diffgeo.runner.tracking import tracking\n"
        "with tracking(TrackingConfig(backend='wandb'), Path(sys.argv[1]), {'a': 1}): pass"
    )
    monkeypatch.setenv("HOME", str(home))
    for name in ("CACHE", "DATA", "CONFIG"):
        monkeypatch.delenv(f"WANDB_{name}_DIR", raising=False)
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=60, check=True
    )
    assert list(home.rglob("*")) == []
    assert len(list(folder.glob("wandb/offline-run-*/*.wandb"))) == 1
    assert done.stderr == ""


def test_a_run_is_called_in_words_by_its_model_and_studies():
    assert (
        run_name("factor_faces", ["discovery", "global_consistency"]) == "factor faces: discovery, global consistency"
    )
    assert run_name("m", ["a", "b", "c", "d"]) == "m: a, b, c, d"
    assert run_name("m", ["a", "b", "c", "d", "e"]) == "m: a, b, c, 2 more"
    words = ["svd.rank=3", "+tracking.project=p", "seed=1"]
    assert job_name(words, ["diffgeo", "-m", "svd.rank=3", "+tracking.project=p", "seed=1,2"]) == "seed=1 svd.rank=3"
    assert len(job_name(["x" * 500])) == len(run_name("y" * 500, [])) == 120


@pytest.mark.parametrize("folder", ["run", "a run's folder"])
def test_the_end_says_how_to_sync(tmp_path, caplog, folder):
    folder = tmp_path / folder
    folder.mkdir()
    with caplog.at_level(logging.INFO), tracking(TrackingConfig(backend="wandb"), folder, {}):
        pass
    (line,) = [record.getMessage() for record in caplog.records if "wandb sync" in record.getMessage()]
    record = Path(shlex.split(line)[-1])
    assert record.parent == folder / "wandb"
    assert list(record.glob("*.wandb"))


@pytest.mark.slow
def test_the_command_names_the_run_and_tells_before_the_page_how_to_sync(tiny_settings, command, tmp_path, monkeypatch):
    started, init = [], wandb.init
    starts = lambda **given: started.append(given["name"]) or (init(**given) if len(started) == 1 else Broken())  # noqa: E731
    monkeypatch.setattr("wandb.init", starts)
    words = [word for word in tiny_settings if word != "tracking=none"]
    words.append("tracking=wandb_offline")
    said = command(*words, f"hydra.run.dir={tmp_path}/a", folder=tmp_path / "a")
    assert said.code == 0, said.err
    assert "wandb sync" in said.err + said.out
    assert "wandb sync" not in said.out.splitlines()[-1]
    words[-2] = "study=[spectrum]"
    command(*words, "tracking.name=mine", f"hydra.run.dir={tmp_path}/b", folder=tmp_path / "b")
    command("-m", *words, "seed=4,5", f"hydra.sweep.dir={tmp_path}/c", folder=tmp_path / "c")
    assert started[0].endswith(": discovery, spectrum, frequency")
    assert started[1] == "mine"
    assert [one.split()[0] for one in started[2:]] == ["seed=4", "seed=5"]
