"""Runs with Python's own warnings as errors, and without a home that can be written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROC = pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that root cannot write")


RUNS = """
import sys
from diffgeo.__main__ import main
for line in sys.stdin.read().splitlines():
    sys.argv = ["diffgeo", *line.split()]
    main()
"""


def run(lines, folder, *flags, **environment):
    """Commands ``diffgeo LINE``, one after another in one process, as imports take most of its time."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "DIFFGEO_", "XDG_"))}
    return subprocess.run(
        [sys.executable, *flags, "-c", RUNS],
        input="\n".join(" ".join(words) for words in lines),
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


@pytest.mark.nightly
def test_no_run_and_no_dry_run_raises_a_warning_of_pythons_own(words, tmp_path):
    """Warnings that are raised where an object ends cannot end the process: they stand in what it prints."""
    lines = [[*words, "tracking=none", *more] for more in (["--dry-run"], ["store.path=store", "hydra.run.dir=out"])]
    done = run(lines, tmp_path, "-W", "error", "-X", "dev")
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out" / "report.html").is_file()


@PROC
@pytest.mark.nightly
def test_a_home_that_cannot_be_written_costs_the_store_and_nothing_else(words, tmp_path):
    lines = [[*words, f"tracking={kind}", f"hydra.run.dir={kind}"] for kind in ("none", "wandb_offline")]
    done = run(lines, tmp_path, HOME="/proc", WANDB_SILENT="true")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (done.stderr + done.stdout).count("/proc/.cache/diffgeo/store cannot be written") == 2
    for kind in ("none", "wandb_offline"):
        assert (tmp_path / kind / "report.html").is_file()
    assert list((tmp_path / "wandb_offline" / "wandb").glob("offline-run-*"))
