import io
import itertools
import logging
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress

import pytest

from diffgeo.session.progress import Display, Interruption
from diffgeo.signals import SIGNALS, Ended, signals_end


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
for other in (signal.SIGTERM, signal.SIGHUP):  # the tests themselves may run under nohup
    signal.signal(other, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1], sys.argv[2]])
"""
"""Runs Python code as a script's job in the background: without SIGINT from its first moment."""

WORK = """
import os, signal, sys
from diffgeo.signals import signals_end
from diffgeo.session.progress import Interruption
with signals_end(), Interruption().listening() as interruption:
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    print(interruption.requested)
"""


@pytest.mark.parametrize(
    ("signal_name", "requested"),
    [("SIGINT", "False"), ("SIGTERM", "True"), pytest.param("SIGHUP", "True", marks=pytest.mark.slow)],
)
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


class Terminal(io.StringIO):
    def isatty(self):
        return True


@contextmanager
def one_screen(monkeypatch):
    """A terminal, on which the output and the log are shown."""
    shown = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    handler = logging.StreamHandler(shown)
    handler.setFormatter(logging.Formatter("logged: %(message)s"))
    logging.getLogger().addHandler(handler)
    with monkeypatch.context() as patched:  # pytest sets its own between a fixture and the test
        for name in ("stdout", "stderr"):
            patched.setattr(sys, name, shown)
        yield shown
        assert sys.stdout is sys.stderr is handler.stream is shown
    logging.getLogger().removeHandler(handler)


def lines(screen):
    """What is left to read when all that was erased is gone."""
    kept = [""]
    for part in re.split(r"(\r|\n|\x1b\[\d*[A-Za-z]|\x1b\[\?\d+[hl])", screen.getvalue()):
        if part == "\n":
            kept.append("")
        elif part == "\x1b[2K":
            kept[-1] = ""
        elif part == "\x1b[1A":
            kept.pop()
        elif not part.startswith(("\r", "\x1b")):
            kept[-1] += part
    return [line for line in kept if line.strip()]


def test_a_line_above_the_bars_says_at_every_moment_how_far_the_run_is(monkeypatch):
    display, said = Display(), (f"study 1 of 2, {n} s left" for n in itertools.count())
    with one_screen(monkeypatch) as screen:
        with display.headed(lambda: next(said)), display.task("samples", 3) as advance:
            advance()
            display._bars.refresh()
            now = lines(screen)
            display._bars.refresh()
            later = lines(screen)
        assert lines(screen) == [], "nothing stays"
    assert now[0].startswith("study 1 of 2, ")
    assert re.match(r"samples .*1/3", now[1])
    assert len(now) == len(later) == 2
    assert now[0] != later[0]


def test_what_is_logged_under_the_bars_stays_above_them(monkeypatch):
    display = Display()
    with one_screen(monkeypatch) as screen:
        with display.headed(lambda: "study 1 of 2"), display.task("samples", 3):
            display._bars.refresh()
            logging.getLogger().warning("one basis")
            display._bars.refresh()
            print("printed")
            shown = lines(screen)
        assert shown[:3] == ["logged: one basis", "printed", "study 1 of 2"]
        assert shown[3].startswith("samples ")
        assert lines(screen) == shown[:2]


@pytest.mark.parametrize("pipe", ["stdout", "stderr"])
def test_a_pipe_gets_its_lines_and_no_bars(monkeypatch, pipe):
    with one_screen(monkeypatch) as screen, monkeypatch.context() as patched:
        patched.setattr(sys, pipe, file := io.StringIO())
        with (display := Display()).headed(lambda: "study 1 of 2"), display.task("samples", 3):
            print("a line", file=getattr(sys, pipe))
    assert file.getvalue() == "a line\n"
    assert "a line" not in screen.getvalue()
