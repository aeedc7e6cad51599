"""Runs with Python's own warnings as errors, and without a home that can be written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROC = pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that root cannot write")


def run(words, folder, *flags, **environment):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "DIFFGEO_", "XDG_"))}
    return subprocess.run(
        [sys.executable, *flags, "-m", "diffgeo", *words, "hydra.run.dir=out"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=folder,
        env=kept | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | environment,
    )


@pytest.fixture
def words(tiny_settings):
    kept = [word for word in tiny_settings if not word.startswith(("study=", "tracking="))]
    return [*kept, "study=[spectrum]", "predictor=none"]


@pytest.mark.parametrize("flags", [("-W", "error"), ("-X", "dev")])
def test_a_run_raises_no_warning_of_pythons_own(words, tmp_path, flags):
    done = run([*words, "tracking=none", "store.path=store"], tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    assert "ResourceWarning" not in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_dry_run_raises_no_warning_of_pythons_own(words, tmp_path):
    done = run([*words, "tracking=none", "--dry-run"], tmp_path, "-W", "error")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@PROC
@pytest.mark.parametrize("tracked", ["offline", "none"])
def test_a_home_that_cannot_be_written_costs_the_store_and_nothing_else(words, tmp_path, tracked):
    tracking = ["tracking=none"] if tracked == "none" else ["tracking=wandb_offline"]
    done = run([*words, *tracking], tmp_path, HOME="/proc", WANDB_SILENT="true")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "/proc/.cache/diffgeo/store cannot be written" in done.stderr + done.stdout
    assert (tmp_path / "out" / "report.html").is_file()
    if tracked == "offline":
        assert list((tmp_path / "out" / "wandb").glob("offline-run-*"))
