"""Signals that end a command: Ctrl-C (SIGINT), SIGTERM and SIGHUP, each an exception that carries its number.

An exception that is raised while a library is imported may be swallowed there, by a ``try`` around an optional part for
instance. So a signal is also remembered, and the command ends when it next looks.
"""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

_told: int | None = None
"""The first signal that came and that no command has ended by yet."""


class Ended(KeyboardInterrupt):
    """A signal asked for the end.

    Attributes:
        number: of the signal.
        exit_code: 128 + number, as shells have it: 130 for Ctrl-C.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.number = number
        self.exit_code = 128 + number


def heeded() -> list[int]:
    """The signals that are not ignored: SIGHUP is after ``nohup``, and SIGINT in a script's job in the background."""
    return [number for number in SIGNALS if signal.getsignal(number) not in (signal.SIG_IGN, None)]


@contextmanager
def signals_end() -> Iterator[None]:
    """Raise :class:`Ended` at a signal while the block runs, or after it if the block swallowed that.

    Ignored signals stay ignored (:func:`heeded`). Outside the main thread nothing changes. Blocks may be nested.

    Raises:
        Ended: a signal came.
    """
    before = {}
    with suppress(ValueError):  # not the main thread: the signals are not ours
        for number in heeded():
            before[number] = signal.signal(number, _end)
    outermost = _end not in before.values()
    try:
        yield
        end_if_told()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if outermost:
            ended()


def _end(number: int, _frame: FrameType | None) -> None:
    global _told
    _told = _told or number
    if number not in (signal.SIGINT, signal.SIGTERM):
        leave_terminal()
    raise Ended(number)


def end_if_told() -> None:
    """Raise :class:`Ended` if a signal came before and was swallowed."""
    if _told is not None:
        raise Ended(_told)


def ended() -> None:
    """Forget the signal: what it asked for was done."""
    global _told
    _told = None


def leave_terminal() -> None:
    """Stop writing to a terminal that hung up, where every line would fail from now on."""
    for descriptor in (1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                nothing = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, descriptor)
                os.close(nothing)
