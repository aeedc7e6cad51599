"""Progress bars on a terminal, silence elsewhere, and a first Ctrl-C that lets the sample in hand finish."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TextIO, TypeVar

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from diffgeo.signals import Ended, end_if_told, heeded, leave_terminal

log = logging.getLogger(__name__)
T = TypeVar("T")


class Interruption:
    """Turns the first signal to end into a request to stop after the item in hand; a further Ctrl-C stops at once.

    A further SIGTERM or SIGHUP does not: both may well come twice, to a sweep's process and to its child.

    Attributes:
        requested: whether the work is to stop.
        number: of the signal that asked for it.
    """

    def __init__(self) -> None:
        self.requested = False
        self.number: int = signal.SIGINT

    @contextmanager
    def listening(self) -> Iterator[Interruption]:
        """Handle SIGINT, SIGTERM and SIGHUP while the block runs (in the main thread; elsewhere do nothing).

        Ignored signals stay ignored, as in :func:`diffgeo.signals.signals_end`.

        Raises:
            Ended: a signal came before the block and was swallowed.
        """
        end_if_told()
        before = {}
        with suppress(ValueError):  # not the main thread: the signals are not ours
            for number in heeded():
                before[number] = signal.signal(number, self._handle)
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop_if_requested(self) -> None:
        """End the run, now that what was in hand is written.

        Raises:
            Ended: a signal asked for it.
        """
        if self.requested:
            raise Ended(self.number)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if number not in (signal.SIGINT, signal.SIGTERM):
            leave_terminal()
        if self.requested:
            if number == signal.SIGINT:
                raise Ended(number)
            return
        self.requested, self.number = True, number
        log.warning("interrupted: finishing the timestep in hand and writing what is done; Ctrl-C again stops at once")


class _Bars(Progress):
    """Bars below a line of words."""

    words: Callable[[], str] | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        """See the base class."""
        if self.words is not None:
            yield Text(self.words())
        yield from super().get_renderables()


class Display:
    """Progress bars with the time left, one line a task; nothing when stderr is no terminal.

    Tasks nest: the bars of a study and of the sampling inside it are shown together. What is logged meanwhile stands
    above them.
    """

    def __init__(self) -> None:
        self._bars: _Bars | None = None

    @contextmanager
    def headed(self, words: Callable[[], str]) -> Iterator[None]:
        """Show a line above the bars while the block runs.

        Args:
            words: what it says, asked again whenever it is drawn.
        """
        with self._shown() as bars:
            bars.words = words
            try:
                yield
            finally:
                bars.words = None

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Callable[..., None]]:
        """Show a bar while the block runs.

        Args:
            description: shown beside it.
            total: number of steps, None when unknown.

        Yields:
            A function to call after every step, or with a number after several.
        """
        with self._shown() as bars:
            task = bars.add_task(description, total=total)
            try:
                yield lambda steps=1: bars.advance(task, steps)
            finally:
                bars.remove_task(task)

    @contextmanager
    def _shown(self) -> Iterator[_Bars]:
        """The bars, on the screen until the outermost block ends."""
        if self._bars is not None:
            yield self._bars
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        on_terminal = sys.stderr.isatty()
        self._bars = _Bars(
            *columns,
            console=Console(stderr=True),
            transient=True,
            disable=not on_terminal,
            redirect_stdout=sys.stdout.isatty(),  # else it is a file or a pipe, which is to get its lines
        )
        streams = sys.stdout, sys.stderr
        with self._bars as bars:
            handlers = _moved(dict(zip(streams, (sys.stdout, sys.stderr), strict=True)))
            try:
                yield bars
            finally:
                for handler, stream in handlers:
                    handler.setStream(stream)
                self._bars = None

    def track(self, items: Sequence[T], description: str, interruption: Interruption | None = None) -> Iterator[T]:
        """Iterate with a bar; end before the next item when an interruption is requested.

        Args:
            items: what to go through.
            description: shown beside the bar.
            interruption: checked before every item.
        """
        log.debug("%s (%d)", description, len(items))
        with self.task(description, len(items)) as advance:
            for item in items:
                if interruption is not None and interruption.requested:
                    return
                yield item
                advance()


def _moved(streams: Mapping[TextIO, TextIO]) -> list[tuple[logging.StreamHandler[TextIO], TextIO]]:
    """Have the log written to other streams than before; the handlers that were changed, with their own streams."""
    handlers = [one for one in logging.getLogger().handlers if isinstance(one, logging.StreamHandler)]
    found = [(handler, handler.stream) for handler in handlers if handler.stream in streams]
    for handler, stream in found:
        handler.setStream(streams[stream])
    return found
