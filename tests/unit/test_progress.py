import signal
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from diffgeo.ending import SIGNALS, Ended, signals_end
from diffgeo.session.progress import Display, Interruption


def interrupt():
    signal.raise_signal(signal.SIGINT)


def test_every_item_comes_once_and_in_order():
    assert list(Display().track([3, 1, 2], "counting")) == [3, 1, 2]


def test_tasks_nest_and_a_display_can_be_used_again():
    display, seen = Display(), []
    for _ in range(2):
        for outer in display.track([0, 1], "outer"):
            seen += [(outer, inner) for inner in display.track([0, 1], "inner")]
    assert seen == 2 * [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_the_first_interrupt_lets_the_item_in_hand_finish():
    interruption, finished = Interruption(), []
    with interruption.listening():
        for item in Display().track(range(5), "work", interruption):
            if item == 2:
                interrupt()
            finished.append(item)
    assert finished == [0, 1, 2]
    assert interruption.requested


def test_the_second_interrupt_stops_at_once():
    interruption = Interruption()
    with interruption.listening():
        interrupt()
        with pytest.raises(KeyboardInterrupt):
            interrupt()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_let_the_item_in_hand_finish_too_however_often_they_come(number, monkeypatch):
    monkeypatch.setattr("diffgeo.session.progress.leave_terminal", lambda: None)
    before = signal.signal(number, signal.SIG_DFL)  # not ignored, as by nohup
    interruption = Interruption()
    with interruption.listening():
        signal.raise_signal(number)
        signal.raise_signal(number)
    assert interruption.requested
    with pytest.raises(Ended) as caught:
        interruption.stop_if_requested()
    assert caught.value.exit_code == 128 + number
    assert signal.signal(number, before) == signal.SIG_DFL


IGNORING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1], sys.argv[2]])
"""
"""Runs Python code as a script's job in the background: without SIGINT from its first moment."""

WORK = """
import os, signal, sys
from diffgeo.ending import signals_end
from diffgeo.session.progress import Interruption
with signals_end(), Interruption().listening() as interruption:
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    print(interruption.requested)
"""


@pytest.mark.parametrize(("signal_name", "requested"), [("SIGINT", "False"), ("SIGTERM", "True"), ("SIGHUP", "True")])
def test_a_job_in_the_background_of_a_script_goes_on_after_the_terminals_ctrl_c(signal_name, requested):
    done = subprocess.run(
        [sys.executable, "-c", IGNORING, WORK, signal_name], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, requested), done.stderr


@pytest.mark.parametrize("number", SIGNALS)
def test_an_ignored_signal_stays_ignored(number):
    before = signal.signal(number, signal.SIG_IGN)
    with Interruption().listening() as interruption:
        signal.raise_signal(number)
        assert signal.getsignal(number) is signal.SIG_IGN
    assert not interruption.requested
    signal.signal(number, before)


def test_a_signal_that_an_import_swallowed_stops_the_work_before_it_begins():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def work():
        with suppress(BaseException):
            interrupt()
        with Interruption().listening():
            pytest.fail("the work began")

    with pytest.raises(Ended), signals_end():
        work()
    signal.signal(signal.SIGINT, before)


def test_the_former_handler_is_put_back():
    before = signal.getsignal(signal.SIGINT)
    with Interruption().listening():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_other_threads_leave_the_signals_alone():
    seen = []

    def work():
        with Interruption().listening() as interruption:
            seen.append((interruption.requested, signal.getsignal(signal.SIGINT)))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
