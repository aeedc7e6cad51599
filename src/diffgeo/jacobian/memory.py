"""How much memory a computation takes, and how many columns fit.

Bytes are those of the tensors that are alive at once, counted as they are made and freed, below function transforms and
autograd: what it takes on a CPU is what it takes on a GPU, and a count comes out the same every time, so that batches,
and with them the last digits of results, do not depend on what else the machine does. Workspace of kernels and the
allocator's own loss come on top (a tenth to a third on a GPU); where they were too much, :class:`JacobianOperator`
halves its chunks and goes on.
"""

from __future__ import annotations

import platform
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from diffgeo.errors import ValueRangeError

__all__ = ["device_name", "is_out_of_memory", "most_that_fits", "peak_bytes"]


class _Ledger(TorchDispatchMode):
    """Counts the bytes of all storages made inside it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive: dict[int, int] = {}
        self.held = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._enter(leaf.untyped_storage())
        return result

    def _enter(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self.alive:
            return
        self.alive[key] = storage.nbytes()
        self.held += self.alive[key]
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._leave, key).atexit = False

    def _leave(self, key: int) -> None:
        self.held -= self.alive.pop(key, 0)


def peak_bytes(compute: Callable[[], object]) -> int:
    """The most bytes that tensors made by ``compute`` take up at once; what existed before is not counted."""
    ledger = _Ledger()
    with ledger:
        compute()
    return ledger.peak


def most_that_fits(take: Callable[[int], object], max_bytes: float, most: int, *, what: str) -> int:
    """The largest number of columns (or pictures) that a computation may take at once.

    Args:
        take: does the work for so many; called with 1 and 2, from which larger numbers follow: memory is a constant
            and a share a column.
        max_bytes: what tensors may take, beside those that exist already.
        most: no more than so many.
        what: what one is, for the message.

    Returns:
        1 … most.

    Raises:
        ValueRangeError: not even one fits.
    """
    one = peak_bytes(lambda: take(1))
    if one > max_bytes:
        raise ValueRangeError(
            f"max_memory={max_bytes / 1e9:g} GB is too little, {what} takes {one / 1e9:.2g} GB", "raise max_memory"
        )
    each = max(peak_bytes(lambda: take(2)) - one, 1) if most > 1 else 1
    return max(1, min(most, 1 + int((max_bytes - one) / each)))


def device_name(device: torch.device) -> str:
    """What the device is called, for records: a GPU's name, or the kind of processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} {platform.processor()}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine had no memory left: CUDA's error, or the CPU allocator's."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
