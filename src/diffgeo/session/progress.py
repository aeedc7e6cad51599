"""Progress bars on a terminal, silence elsewhere, and a first Ctrl-C that lets the sample in hand finish."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["Display", "Interruption"]

log = logging.getLogger(__name__)
T = TypeVar("T")


class Interruption:
    """Turns the first Ctrl-C into a request to stop after the item in hand; the second one stops at once.

    Attributes:
        requested: whether somebody pressed Ctrl-C.
    """

    def __init__(self) -> None:
        self.requested = False

    @contextmanager
    def listening(self) -> Iterator[Interruption]:
        """Handle SIGINT while the block runs (in the main thread; elsewhere do nothing)."""
        try:
            previous = signal.signal(signal.SIGINT, self._handle)
        except ValueError:  # not the main thread: somebody else owns the signals
            yield self
            return
        try:
            yield self
        finally:
            signal.signal(signal.SIGINT, previous)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        log.warning("interrupted: finishing the timestep in hand and writing what is done; Ctrl-C again stops at once")


class Display:
    """Progress bars with the time left, one line a task; nothing when stderr is no terminal.

    Tasks nest: the bars of a study and of the sampling inside it are shown together.
    """

    def __init__(self) -> None:
        self._bars: Progress | None = None

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Callable[..., None]]:
        """Show a bar while the block runs.

        Args:
            description: shown beside it.
            total: number of steps, None when unknown.

        Yields:
            A function to call after every step, or with a number after several.
        """
        outermost = self._bars is None
        if self._bars is None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
            )
            self._bars = Progress(
                *columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
            )
            self._bars.start()
        bars = self._bars
        task = bars.add_task(description, total=total)
        try:
            yield lambda steps=1: bars.advance(task, steps)
        finally:
            bars.remove_task(task)
            if outermost:
                bars.stop()
                self._bars = None

    def track(self, items: Sequence[T], description: str, interruption: Interruption | None = None) -> Iterator[T]:
        """Iterate with a bar; end before the next item when an interruption is requested.

        Args:
            items: what to go through.
            description: shown beside the bar, and logged once.
            interruption: checked before every item.
        """
        log.info("%s (%d)", description, len(items))
        with self.task(description, len(items)) as advance:
            for item in items:
                if interruption is not None and interruption.requested:
                    return
                yield item
                advance()
