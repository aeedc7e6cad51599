"""Signals end a command, even if a library swallows what they raise."""

import os
import pickle
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from diffgeo.cli.errors import worded_errors
from diffgeo.signals import SIGNALS, Ended, ended, leave_terminal, signals_end


@pytest.fixture(autouse=True)
def own_handlers():
    """Each test begins with handlers that are not ignored, as a command does, and leaves none behind."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in SIGNALS}
    yield
    ended()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_raised_with_its_number(number, monkeypatch):
    monkeypatch.setattr("diffgeo.signals.leave_terminal", lambda: None)
    with pytest.raises(Ended) as caught, signals_end():
        signal.raise_signal(number)
    assert caught.value.exit_code == 128 + number
    assert pickle.loads(pickle.dumps(caught.value)).number == number


@pytest.mark.parametrize("nested", [False, True])
def test_a_swallowed_signal_ends_the_block_all_the_same(nested):
    def swallow():
        with suppress(BaseException):  # as around an optional import
            signal.raise_signal(signal.SIGTERM)

    def inner():
        with signals_end():
            swallow()

    with pytest.raises(Ended) as caught, signals_end():
        (inner if nested else swallow)()
    assert caught.value.exit_code == 143


def test_an_error_that_a_signal_left_behind_is_no_error(capsys):
    """A library that was interrupted half-way may fail in what it does next."""

    def fail():
        with suppress(BaseException):
            signal.raise_signal(signal.SIGTERM)
        raise AttributeError("'NoneType' object has no attribute")

    with pytest.raises(SystemExit) as caught, signals_end(), worded_errors():
        fail()
    assert caught.value.code == 143
    assert capsys.readouterr().err == "Interrupted.\n"


def test_handlers_are_put_back_and_nothing_is_remembered():
    for _ in range(2):
        with pytest.raises(Ended), signals_end():
            signal.raise_signal(signal.SIGINT)
        with signals_end():  # the earlier signal does not end this one
            pass
        assert {signal.getsignal(number) for number in SIGNALS} == {signal.default_int_handler}


@pytest.mark.parametrize("number", SIGNALS)
def test_an_ignored_signal_stays_ignored(number):
    signal.signal(number, signal.SIG_IGN)
    with signals_end():
        signal.raise_signal(number)


def test_a_signal_that_was_acted_upon_is_forgotten():
    with signals_end():
        try:
            signal.raise_signal(signal.SIGINT)
        except Ended:
            ended()


def test_after_a_hang_up_lines_go_nowhere_but_files_are_still_written(tmp_path):
    import pty

    ours, theirs = pty.openpty()
    code = (
        "import signal, sys\nfrom diffgeo.signals import signals_end, Ended\n"
        "with signals_end():\n    try: signal.raise_signal(signal.SIGHUP)\n"
        "    except Ended: print('to nowhere', flush=True); print('kept', file=sys.stderr, flush=True); raise"
    )
    with (tmp_path / "err").open("w") as errors:
        child = subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stderr=errors)
        assert child.wait(timeout=30) != 0
    os.close(theirs)
    os.set_blocking(ours, False)
    with suppress(OSError):  # nothing to read
        assert os.read(ours, 100) == b""
    assert "kept" in (tmp_path / "err").read_text()


def test_leaving_a_terminal_leaves_pipes_and_files(capfd):
    leave_terminal()
    os.write(1, b"still here")
    assert capfd.readouterr().out == "still here"
