"""A job in a process of its own, what a search improves, and what became of a sweep's jobs."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from diffgeo.errors import ModelError, ObjectiveError, ValueRangeError, WorkerError
from diffgeo.runner.sweeping import isolated, objective, outcomes


def test_a_child_returns_what_the_call_does():
    assert isolated(math.sqrt, 9.0, retries=0) == 3.0
    assert isolated(os.getpid, retries=0) != os.getpid()


def test_what_the_child_raises_is_raised_here_with_its_kind():
    with pytest.raises(ModelError, match="no such model"):
        isolated(
            exec, "from diffgeo.errors import ModelError\nraise ModelError('no such model', 'say another')", retries=1
        )
    with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
        isolated(math.sqrt, -1.0, retries=1)


DIES = "import os, pathlib, signal\nf = pathlib.Path({file!r})\nf.write_text(f.read_text() + 'x')\n"


def test_a_killed_child_is_started_once_more(tmp_path, caplog):
    calls = tmp_path / "calls"
    calls.write_text("")
    code = DIES.format(file=str(calls)) + "if len(f.read_text()) == 1:\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    assert isolated(exec, code, retries=1) is None
    assert calls.read_text() == "xx"
    assert "was killed by SIGKILL (exit code 137); it starts again" in caplog.text


def test_a_child_that_always_dies_is_given_up(tmp_path):
    calls = tmp_path / "calls"
    calls.write_text("")
    with pytest.raises(WorkerError, match=r"SIGKILL .* at each of 2 tries; if memory ran out"):
        isolated(exec, DIES.format(file=str(calls)) + "os.kill(os.getpid(), signal.SIGKILL)", retries=1)
    assert calls.read_text() == "xx"
    assert WorkerError.exit_code == 9


LOCAL_ERROR = "class Odd(Exception):\n    def __reduce__(self):\n        raise TypeError('no')\nraise Odd('so it is')"


def test_an_error_that_cannot_be_pickled_is_told_and_not_tried_again(tmp_path):
    calls = tmp_path / "calls"
    calls.write_text("")
    with pytest.raises(RuntimeError, match="Odd: so it is"):
        isolated(exec, DIES.format(file=str(calls)) + LOCAL_ERROR, {}, retries=1)
    assert calls.read_text() == "x"


WORKER = "from diffgeo.runner.sweeping import isolated; isolated(exec, {code!r}, retries=0)"
SLEEPS = "import os, pathlib, time\npathlib.Path({file!r}).write_text(str(os.getpid()))\ntime.sleep(60)"


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="no /proc to see processes in")
def test_a_child_does_not_outlive_a_worker_that_is_killed(tmp_path):
    file = tmp_path / "child"
    worker = subprocess.Popen([sys.executable, "-c", WORKER.format(code=SLEEPS.format(file=str(file)))])
    wait_until(lambda: file.is_file() and file.read_text())
    child = Path("/proc") / file.read_text()
    assert child.is_dir()
    worker.kill()
    worker.wait()
    wait_until(lambda: not child.is_dir() or "\nState:\tZ" in (child / "status").read_text())


def wait_until(true, seconds=30):
    for _ in range(10 * seconds):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("in vain")


def test_the_worker_itself_does_not_load_torch():
    code = "import diffgeo.cli.command, diffgeo.runner.sweeping, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


SCALARS = {
    "ablation": {"precision/local": 3.0, "precision/random": 1.5, "matched_share": math.nan},
    "discovery": {"s_first/t_1": 2.0, "s_first/t_0.5": 4.0},
}


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        ("ablation/precision/local", 3.0),
        ("discovery/s_first/t_*", 3.0),
        ("ablation/*/random", 1.5),
        (["ablation/precision/local", "discovery/s_first/t_1"], [3.0, 2.0]),
    ],
)
def test_an_objective_is_a_scalar_or_the_mean_of_those_that_match(wanted, value):
    assert objective(SCALARS, wanted) == value


def test_an_unknown_objective_names_the_nearest_scalar():
    with pytest.raises(ObjectiveError, match=r"did you mean ablation/precision/local\?"):
        objective(SCALARS, "ablation/precison/local")
    with pytest.raises(ObjectiveError, match="there are ablation/matched_share, "):
        objective(SCALARS, "zzz")
    with pytest.raises(ObjectiveError, match="there are none"):
        objective({}, "ablation/precision/local")


def test_an_objective_that_is_no_number_is_refused():
    with pytest.raises(ValueRangeError, match="ablation/matched_share is nan in this run"):
        objective(SCALARS, "ablation/matched_share")


def test_outcomes_are_in_the_order_of_the_jobs(tmp_path):
    assert outcomes(tmp_path / "nowhere") == []
    for job, facts in {"10": {"status": "completed"}, "2": {"status": "failed", "error": "no"}, "3": None}.items():
        (tmp_path / job).mkdir()
        if facts is not None:
            (tmp_path / job / "run.json").write_text(json.dumps(facts))
    (tmp_path / "3" / ".hydra").mkdir()
    (tmp_path / "3" / ".hydra" / "overrides.yaml").write_text("[]")
    (tmp_path / ".submitit").mkdir()
    assert outcomes(tmp_path) == [("2", "failed", "no"), ("3", "failed", ""), ("10", "completed", "")]


def test_outcomes_are_found_whatever_the_jobs_folders_are_called(tmp_path):
    for job, status in {"x/10": "completed", "x/9": "failed", "seed=3": "completed"}.items():
        (tmp_path / job).mkdir(parents=True)
        (tmp_path / job / "run.json").write_text(json.dumps({"status": status}))
    assert sorted(outcomes(tmp_path)) == [("seed=3", "completed", ""), ("x/10", "completed", ""), ("x/9", "failed", "")]


def test_the_child_of_a_job_in_the_background_ignores_ctrl_c_as_its_worker_does(tmp_path):
    started, finished = tmp_path / "started", tmp_path / "finished"
    work = (
        "import os, pathlib, signal, time\nfrom diffgeo.session.progress import Interruption\n"
        "with Interruption().listening() as interruption:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(0.1)\n"
        f"    assert not interruption.requested\n    pathlib.Path({str(started)!r}).touch()\n"
        "    for _ in range(3000):\n        time.sleep(0.01)\n"
        f"        if interruption.requested: pathlib.Path({str(finished)!r}).touch(); break\n"
    )
    code = (
        "import signal\nfrom diffgeo.runner.sweeping import isolated\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"isolated(exec, {work!r}, retries=0)"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        assert appears(started), "the child ended at the signal that its worker ignores"
        worker.kill()
        assert appears(finished), "the child goes on without its worker"
    finally:
        worker.kill()


def appears(path, seconds=60):
    deadline = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    return path.exists()


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, *(pytest.param(one, marks=pytest.mark.slow) for one in (signal.SIGINT, signal.SIGHUP))]
)
def test_a_child_is_told_when_only_the_worker_is(tmp_path, number):
    started, finished = tmp_path / "started", tmp_path / "finished"
    work = (
        "import time, pathlib\nfrom diffgeo.session.progress import Interruption\n"
        "with Interruption().listening() as interruption:\n"
        f"    pathlib.Path({str(started)!r}).touch()\n"
        "    for _ in range(3000):\n        time.sleep(0.01)\n"
        f"        if interruption.requested: pathlib.Path({str(finished)!r}).touch(); break\n"
        "interruption.stop_if_requested()"
    )
    code = (
        "import signal\nfrom diffgeo.signals import SIGNALS, signals_end, Ended\n"
        "from diffgeo.runner.sweeping import isolated\n"
        "for number in SIGNALS: signal.signal(number, signal.default_int_handler)\n"  # not ignored
        f"try:\n    with signals_end(): isolated(exec, {work!r}, retries=1)\n"
        "except Ended as error: raise SystemExit(error.exit_code)"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        assert appears(started)
        worker.send_signal(number)  # not to its process group
        assert worker.wait(timeout=20) == 128 + number
        assert finished.exists()
    finally:
        worker.kill()
