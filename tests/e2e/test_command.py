"""The process itself: start-up time, exit codes, Ctrl-C, the wheel."""

import json
import os
import random
import re
import select
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from diffgeo.config import config_folder

ROOT = Path(__file__).resolve().parents[2]
DIFFGEO = [sys.executable, "-m", "diffgeo"]
GROUPS = ("model", "data", "schedule", "feature", "svd", "edit", "study", "tracking")


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


def test_help_takes_under_three_seconds_and_names_every_choice(tmp_path):
    start = time.monotonic()
    done = run(*DIFFGEO, "--help", cwd=tmp_path)
    assert time.monotonic() - start < 3
    assert done.returncode == 0
    for group in GROUPS:
        for path in (config_folder() / group).glob("*.yaml"):
            assert f"{group}={path.stem}" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "code", ["import diffgeo", "import diffgeo.cli.command, diffgeo.config, diffgeo.cli.help, diffgeo.errors"]
)
def test_importing_the_package_does_not_import_torch(code):
    heavy = "{'torch', 'diffusers', 'pandas', 'matplotlib', 'wandb', 'numpy'}"
    done = run(sys.executable, "-c", f"{code}; import sys; print(sorted({heavy} & set(sys.modules)))")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_help_does_not_import_torch(tmp_path):
    done = run(sys.executable, "-X", "importtime", "-m", "diffgeo", "-h", cwd=tmp_path)
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "diffgeo.cli.help" in imported
    assert not imported & {"torch", "diffusers", "wandb"}


def test_a_typo_ends_the_process_with_two_lines_and_code_2(tmp_path):
    done = run(*DIFFGEO, "svd.rnak=3", cwd=tmp_path, env={**os.environ, "HYDRA_FULL_ERROR": "0"})
    assert done.returncode == 2
    assert done.stderr == "Error: there is no setting svd.rnak\nDid you mean svd.rank?\n"
    assert list(tmp_path.iterdir()) == []


def test_a_traceback_is_shown_on_demand(tmp_path):
    done = run(*DIFFGEO, "svd.rnak=3", cwd=tmp_path, env={**os.environ, "HYDRA_FULL_ERROR": "1"})
    assert done.returncode == 1
    assert "Traceback" in done.stderr


class Started:
    """A run in a process of its own, watched through its output."""

    def __init__(self, arguments, folder):
        self.folder, self.said = folder, ""
        self.process = subprocess.Popen(
            [*DIFFGEO, *arguments, f"hydra.run.dir={folder}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder.parent,
        )

    def wait_for(self, text, timeout=60):
        deadline = time.monotonic() + timeout
        while text not in self.said:
            assert time.monotonic() < deadline, f"no {text!r} in {self.said}"
            if select.select([self.process.stdout], [], [], 1)[0]:
                chunk = os.read(self.process.stdout.fileno(), 65536).decode()
                assert chunk, f"ended without {text!r}: {self.said}"
                self.said += chunk

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)

    def end(self, timeout=30):
        rest, _ = self.process.communicate(timeout=timeout)
        self.said += rest.decode()
        return self.process.returncode

    @property
    def manifest(self):
        return json.loads((self.folder / "run.json").read_text())


@pytest.fixture
def started(tiny_settings, tmp_path):
    runs = []

    def start(*overrides):
        arguments = [*tiny_settings, "study.discovery.directions=2", *overrides]
        runs.append(Started(arguments, tmp_path / "out"))
        return runs[-1]

    yield start
    for run_ in runs:
        if run_.process.poll() is None:
            run_.process.kill()
            run_.process.wait()


@pytest.mark.slow
def test_ctrl_c_keeps_the_samples_that_were_finished(started):
    job = started("data.samples=400", "study.discovery.directions=1")
    job.wait_for("[1/3]")
    time.sleep(0.2)
    job.interrupt()
    assert job.end() == 130, job.said
    assert "Traceback" not in job.said
    assert job.manifest["status"] == "interrupted"
    rows = pd.read_parquet(job.folder / "tables" / "discovery.parquet")
    done = rows["sample"].nunique()
    assert 1 <= done < 400
    assert len(rows) == 3 * done  # whole samples only
    assert list(rows["sample"].unique()) == list(range(done))
    assert len(pd.read_csv(job.folder / "tables" / "discovery_traversals.csv")) == 3 * done
    assert not [p for p in job.folder.rglob(".*") if p.is_file()]


def test_ctrl_c_during_a_sample_finishes_that_sample(tiny_run, monkeypatch):
    from diffgeo.session.bases import local_basis

    bases = []

    def interrupted_in_the_second(*arguments, **options):
        bases.append(local_basis(*arguments, **options))
        if len(bases) == 2:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        return bases[-1]

    monkeypatch.setattr("diffgeo.session.bases.local_basis", interrupted_in_the_second)
    outcome = tiny_run("data.samples=5")
    assert outcome.code == 130
    assert outcome.manifest["status"] == "interrupted"
    rows = pd.read_parquet(outcome.folder / "tables" / "discovery.parquet")
    assert list(rows["sample"].unique()) == [0, 1]
    assert outcome.leftovers() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_end_a_run_as_ctrl_c_does(tiny_run, monkeypatch, number, request):
    from diffgeo.session.bases import local_basis

    def told(*arguments, **options):
        os.kill(os.getpid(), number)
        return local_basis(*arguments, **options)

    monkeypatch.setattr("diffgeo.session.progress.leave_terminal", lambda: None)
    monkeypatch.setattr("diffgeo.session.bases.local_basis", told)
    before = signal.signal(number, signal.SIG_DFL)
    request.addfinalizer(lambda: signal.signal(number, before))
    outcome = tiny_run("data.samples=3")
    assert outcome.code == 128 + number
    assert outcome.manifest["status"] == "interrupted"
    assert list(pd.read_parquet(outcome.folder / "tables" / "discovery.parquet")["sample"].unique()) == [0]


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in (0, 2, 3))])
def test_ctrl_c_while_a_command_starts_is_never_swallowed(started, seed):
    job = started("data.samples=400", "study.discovery.directions=1")
    time.sleep(random.Random(seed).uniform(0.05, 6))
    job.interrupt()
    assert job.end(60) != 0, job.said


def test_a_second_ctrl_c_stops_at_once(tiny_run, monkeypatch, request):
    def endless(*_, **__):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)  # the first one lets the sample go on
        heard.append("first")
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(30)
        heard.append("still running")

    heard = []
    monkeypatch.setattr("diffgeo.session.bases.local_basis", endless)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    outcome = tiny_run(figures=True)
    assert outcome.code == 130
    assert heard == ["first"]
    assert "This run was interrupted" in (outcome.folder / "report.html").read_text()
    assert outcome.manifest["status"] == "interrupted"
    assert outcome.files("tables/*") == []
    assert "Interrupted" in outcome.err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
def test_the_wheel_holds_the_settings_and_the_shipped_models(tmp_path):
    built = run(
        *(sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "--no-index"),
        *("-q", "-w", str(tmp_path)),
    )
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(next(tmp_path.glob("diffgeo-*.whl"))) as wheel:
        names = set(wheel.namelist())
        wheel.extractall(tmp_path / "site")
    assert "diffgeo/conf/config.yaml" in names
    assert "diffgeo/py.typed" in names
    assert not [name for name in names if re.search(r"^(diffgeo/)?(tools|training|importing)/|conf/train", name)]
    assert {f"diffgeo/conf/{p.relative_to(ROOT / 'conf')}" for p in (ROOT / "conf").rglob("*.yaml")} <= names
    assets = ROOT / "src" / "diffgeo" / "assets"
    assert {f"diffgeo/assets/{p.relative_to(assets)}" for p in assets.rglob("*") if p.is_file()} <= names
    assert "diffgeo/assets/factor_faces/unet/diffusion_pytorch_model.safetensors" in names
    probe = "import diffgeo.config; print(diffgeo.config.config_folder()); from diffgeo.cli.command import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    installed = run(sys.executable, "-c", probe, "--cfg", "job", cwd=tmp_path, env=environment)
    assert installed.returncode == 0, installed.stderr
    assert str(tmp_path / "site" / "diffgeo" / "conf") in installed.stdout
    assert "path: factor_faces" in installed.stdout
