"""Further processes of one run on this machine, which the run itself starts (``processes=2``).

Each is a Python of its own with the same settings. It works through the studies beside the first process, as
:mod:`diffgeo.session.processes` says, writes nothing but the store, and ends with the first one, however that ends.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

from diffgeo.session.processes import Processes, started_by_launcher

_PATIENCE = 5.0
"""Seconds in which a helping process may leave what it has in hand."""


@contextmanager
def helpers(processes: Processes, work: Callable[..., object], *arguments: Any) -> Iterator[None]:
    """Have all processes but this first one do ``work(*arguments)`` while the block runs.

    The machine's threads are shared out among all.

    Args:
        processes: of the run; nothing happens if this is the only one, or if a launcher started the others.
        work: can be pickled, and so can its arguments; what it returns or raises is dropped, as the first process meets
            what is wrong and says it.
        arguments: given to it.
    """
    if processes.size == 1 or started_by_launcher():
        yield
        return
    threads = torch.get_num_threads()
    share = max(1, threads // processes.size)
    torch.set_num_threads(share)
    started = [_start(rank, share, (work, arguments)) for rank in range(1, processes.size)]
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        for one in started:
            _end(one)


def _start(rank: int, threads: int, task: tuple[Callable[..., object], tuple[Any, ...]]) -> subprocess.Popen[bytes]:
    """A helping process, which lives as long as its standard input is open."""
    started = subprocess.Popen(
        [sys.executable, "-m", "diffgeo.runner.helpers"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"RANK": str(rank), "OMP_NUM_THREADS": str(threads)},
        start_new_session=True,  # Ctrl-C is the first process's
    )
    assert started.stdin is not None
    with suppress(BrokenPipeError):  # it died, and the run goes on without it
        pickle.dump(task, started.stdin)
        started.stdin.flush()
    return started


def _end(helper: subprocess.Popen[bytes]) -> None:
    assert helper.stdin is not None
    with suppress(BrokenPipeError):
        helper.stdin.close()
    try:
        helper.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        helper.kill()
        helper.wait()


def _help() -> None:
    """What a helping process does."""
    work, arguments = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_first, daemon=True).start()
    with suppress(KeyboardInterrupt, Exception):
        work(*arguments)


def _end_with_first() -> None:
    """Stop when the first process is done or gone: first after the item in hand, then at once."""
    while os.read(sys.stdin.fileno(), 1):  # not through a buffer, whose lock Python needs when it ends
        pass
    main = threading.main_thread().ident or 0
    while True:  # two that come before Python looks count as one
        signal.pthread_kill(main, signal.SIGINT)
        time.sleep(1)


if __name__ == "__main__":
    _help()
