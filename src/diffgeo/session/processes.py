"""Several processes that work on one run: which of them this is, and where each begins.

``accelerate launch`` or ``torchrun`` starts the processes, or the run itself (:mod:`diffgeo.runner.helpers`); here each
only learns its number and how many there are. They send each other nothing, and work through the same studies and
samples, each from another place in the list. What one has computed (a study, latents, a basis, pictures) goes into the
store, where the others find it.

One process at a time owns a study: it goes through it in order and stores the result. Meanwhile the others compute
parts of the same study, from other samples on, so that the owner finds them in the store; they leave the study as soon
as its result is there. Tables are therefore those of a single process, however many there are. Only the first process
writes the run folder. A process that is slow or lost costs time, never results.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from diffgeo.errors import ConfigError

T = TypeVar("T")


class StudyDone(Exception):  # noqa: N818  # no error: it takes a helping process out of a study
    """Another process has finished this study."""


@dataclass
class Processes:
    """The processes of one run.

    Attributes:
        rank: of this process, 0 … size − 1.
        size: how many there are.
        device: the accelerator that is this process's own, such as ``cuda:1``; None on CPUs.
    """

    rank: int = 0
    size: int = 1
    device: str | None = None
    _done: Callable[[], bool] | None = None
    _ahead: bool = False

    def in_turn(self, items: Sequence[T]) -> list[T]:
        """Items in the order in which this process takes them.

        Outside :meth:`ahead` that is the order given. Inside, each further process starts at its own share of the list
        and continues at the front, so that no two work on the same item.
        """
        start = max(self.rank, 1) * len(items) // self.size if self._ahead else 0
        return [*items[start:], *items[:start]]

    @contextmanager
    def ahead(self) -> Iterator[None]:
        """Compute, in another order, what another process computes too, to fill the store; the results are not used."""
        self._ahead = True
        try:
            yield
        finally:
            self._ahead = False

    def from_both_ends(self, items: Sequence[T]) -> list[T]:
        """Items from the front if this process's number is even, from the back if it is odd."""
        return [*items] if self.rank % 2 == 0 else [*reversed(items)]

    @contextmanager
    def unless(self, done: Callable[[], bool]) -> Iterator[None]:
        """Leave the block with :class:`StudyDone` when ``done``, which :meth:`check` asks, says that it is."""
        self._done = done
        try:
            yield
        finally:
            self._done = None

    def check(self) -> None:
        """Between two items.

        Raises:
            StudyDone: inside :meth:`unless`, when there is nothing left to do.
        """
        if self._done is not None and self._done():
            raise StudyDone


def is_first() -> bool:
    """Whether this process writes the run folder, by what started it says; cheap, and before anything is loaded."""
    return _rank() == 0


def started_by_launcher() -> bool:
    """Whether a launcher started several processes for this run."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def started_processes(store: Path | None, wanted: int = 1, *, cpu: bool) -> Processes:
    """The processes of this run; just this one if there is no launcher and no more are wanted.

    Args:
        store: the folder through which they share results.
        wanted: how many there are without a launcher, ``processes``.
        cpu: whether accelerators are to be left alone.

    Raises:
        ConfigError: there are several, but no store, or one that they do not share; or a launcher started some, and
            more are wanted.
    """
    launched = started_by_launcher()
    if launched and wanted > 1:
        raise ConfigError(f"processes={wanted} inside a launcher, which started the processes", "leave processes out")
    if not launched and wanted == 1:
        return Processes()
    if store is None:
        raise ConfigError("several processes share their results through the store", "leave store.enabled=true")
    return _launched(store, cpu) if launched else Processes(_rank(), wanted)


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


@cache  # the processes meet once, at the first job of a sweep
def _launched(store: Path, cpu: bool) -> Processes:
    import torch
    from accelerate import PartialState

    # where there is no accelerator, it has to be told that processes may meet on the CPU
    state = PartialState(cpu=cpu or not torch.accelerator.is_available())
    sign = store / f".team-{os.environ.get('TORCHELASTIC_RUN_ID', '')}-{os.environ.get('MASTER_PORT', '')}"
    if state.process_index == 0:
        store.mkdir(parents=True, exist_ok=True)
        sign.touch()
    state.wait_for_everyone()
    shared = sign.exists()
    state.wait_for_everyone()
    if state.process_index == 0:
        sign.unlink(missing_ok=True)
    if not shared:
        raise ConfigError(
            f"process {state.process_index} does not see the store {store}", "put store.path on a shared disk"
        )
    # each process computes for itself, and shares through the store alone
    state.destroy_process_group()
    device = None if state.device.type == "cpu" else str(state.device)
    return Processes(state.process_index, state.num_processes, device)
