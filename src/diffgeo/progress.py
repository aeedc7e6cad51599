"""Progress bars on a terminal, silence elsewhere, and a first Ctrl-C that lets the sample in hand finish."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["Interruption", "track"]

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
        log.warning("interrupted: finishing the sample in hand and writing what is done; Ctrl-C again stops at once")


def track(items: Sequence[T] | Iterable[T], description: str, interruption: Interruption | None = None) -> Iterator[T]:
    """Iterate with a bar and the time left, when stderr is a terminal; end early when interrupted.

    Args:
        items: what to go through.
        description: shown beside the bar, and logged once.
        interruption: checked before every item.
    """
    total = len(items) if isinstance(items, Sequence) else None
    log.info("%s%s", description, f" ({total})" if total is not None else "")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(description, total=total)
        for item in items:
            if interruption is not None and interruption.requested:
                return
            yield item
            bar.advance(task)
