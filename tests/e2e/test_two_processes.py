"""Two processes at one run on the CPU, by ``processes=2`` or ``torchrun``: tables of one process, one run folder."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LAUNCHER = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
STUDIES = "[discovery,frequency,tangent_distance,global_consistency,curvedness,ablation,disentanglement]"


def run(folder, store, settings, *launcher):
    kept = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT")}
    environment = kept | {"OMP_NUM_THREADS": "1", "DIFFGEO_STORE": str(store), "CUDA_VISIBLE_DEVICES": ""}
    words = ["scale=smoke", "tracking=none", f"hydra.run.dir={folder}", *settings]
    command = [sys.executable, *launcher, "-m", "diffgeo", *words]
    return subprocess.run(command, cwd=folder.parent, env=environment, capture_output=True, text=True, timeout=900)


@pytest.fixture
def tiny(tiny_pipeline, colours):
    """Settings of a model of random weights, whose attributes are its pictures' colours."""
    reader = ["predictor=classifier", f"predictor.path={colours}", "predictor.names=[red,green,blue]"]
    few = ["study=[discovery,tangent_distance,ablation]", "study.ablation.variants=[local,random]"]
    return ["model=local", f"model.path={tiny_pipeline}", "svd.rank=3", *reader, "predictor.size=16", *few]


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "more"), [(LAUNCHER, []), ([], ["processes=2"])], ids=["torchrun", "own"])
@pytest.mark.parametrize("model", ["tiny", pytest.param("shipped", marks=pytest.mark.nightly)])
def test_tables_are_those_of_one_process(request, tmp_path, model, launcher, more):
    settings = ["schedule.steps=4", "schedule.edit=[1.0,0.5]", "data.samples=3"]
    settings += request.getfixturevalue("tiny") if model == "tiny" else [f"study={STUDIES}"]
    alone = run(tmp_path / "alone", tmp_path / "store_a", settings)
    assert alone.returncode == 0, alone.stderr
    both = run(tmp_path / "both", tmp_path / "store_b", [*settings, *more], *launcher)
    assert both.returncode == 0, both.stderr
    assert both.stdout.count(str(tmp_path / "both")) == 1
    tables = sorted(path.name for path in (tmp_path / "alone" / "tables").iterdir())
    assert len(tables) > (3 if model == "tiny" else 12)
    assert sorted(path.name for path in (tmp_path / "both" / "tables").iterdir()) == tables
    for name in tables:
        first, second = ((tmp_path / one / "tables" / name).read_bytes() for one in ("alone", "both"))
        assert first == second, name
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"alone", "both", "store_a", "store_b"}  # the helping process leaves no folder
    assert list((tmp_path / "store_b").rglob(".t*")) == []


@pytest.mark.nightly
def test_a_switched_off_store_is_refused_in_two_lines(tmp_path):
    failed = run(tmp_path / "run", "", [], *LAUNCHER)
    assert failed.returncode != 0
    assert "several processes share their results through the store" in failed.stderr.lower()


def helping() -> set[int]:
    """Processes that help runs."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"diffgeo.runner.helpers" in (process / "cmdline").read_bytes():
                found.add(int(process.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the helping processes in /proc, which Linux alone has")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_helping_process_does_not_outlive_the_run(tmp_path, tiny, number):
    before = helping()
    words = ["scale=smoke", "tracking=none", "processes=2", "data.samples=200", *tiny, "schedule.edit=[1.0,0.5]"]
    words.append(f"hydra.run.dir={tmp_path / 'run'}")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "DIFFGEO_STORE": str(tmp_path / "store")}
    with subprocess.Popen([sys.executable, "-m", "diffgeo", *words], env=environment, stderr=subprocess.DEVNULL) as one:
        deadline = time.monotonic() + 120
        while not (mine := helping() - before):
            assert one.poll() is None, "the run ended before a helper began"
            assert time.monotonic() < deadline
            time.sleep(0.1)
        one.send_signal(number)
    deadline = time.monotonic() + 30
    while mine & helping():
        assert time.monotonic() < deadline, "still there"
        time.sleep(0.1)
