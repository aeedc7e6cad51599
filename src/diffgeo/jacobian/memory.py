"""How much memory a computation takes, how much there is, and how many columns fit.

Bytes are those of the tensors that are alive at once, counted as they are made and freed, below function transforms and
autograd: what it takes on a CPU is what it takes on a GPU, and a count comes out the same every time, so that batches,
and with them the last digits of results, do not depend on what else the machine does. Workspace of kernels and the
allocator's own loss come on top (a tenth to a third on a GPU); if they were too much, :class:`JacobianOperator`
halves its chunks and goes on. A CPU that runs out of memory may end the process instead of raising an error, so that
nothing is begun there that is counted to take more than :func:`free_bytes`. The count itself stops at the operation
that passes this bound, so that it may pass it by the result of that one.
"""

from __future__ import annotations

import contextlib
import platform
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from diffgeo.errors import DeviceError, ValueRangeError

__all__ = [
    "Ledger",
    "cpu_bytes",
    "device_name",
    "free_bytes",
    "is_out_of_memory",
    "most_that_fits",
    "peak_bytes",
    "refuse_whole",
]

_OURS = 0.8
"""Share of what is free that tensors may take; the rest is for kernels' workspace, the allocator, other processes."""


class Ledger(TorchDispatchMode):
    """Counts the bytes of all storages made inside it.

    Args:
        limit: more than so many at once is refused.

    Raises:
        MemoryError: inside it, as soon as storages hold more than ``limit``.
    """

    def __init__(self, limit: float = float("inf")) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive: dict[int, int] = {}
        self.held = self.peak = 0
        self.limit = limit

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {storage._cdata for storage in _storages((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for storage in _storages(result):
            if storage._cdata not in given:  # else a view, of what is counted already or was there before
                self._enter(storage)
        return result

    def _enter(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self.alive:
            return
        self.alive[key] = storage.nbytes()
        self.held += self.alive[key]
        self.peak = max(self.peak, self.held)
        if self.held > self.limit:
            raise MemoryError(f"tensors take more than {self.limit / 1e9:.2g} GB")
        weakref.finalize(storage, self._leave, key).atexit = False

    def _leave(self, key: int) -> None:
        self.held -= self.alive.pop(key, 0)


def _storages(tree: object) -> list[torch.UntypedStorage]:
    """Those of all tensors in a tree of arguments or results."""
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def peak_bytes(compute: Callable[[], object]) -> int:
    """The most bytes that tensors made by ``compute`` take up at once; what existed before is not counted."""
    ledger = Ledger()
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


def free_bytes(device: torch.device) -> float:
    """How many bytes new tensors may take on a device: four fifths of what is free.

    Args:
        device: a GPU's memory counts with what its allocator holds unused; a CPU's is that of :func:`cpu_bytes`.

    Returns:
        Bytes; infinity if the system does not tell.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return _OURS * (torch.cuda.mem_get_info(device)[0] + unused)
    return _OURS * cpu_bytes() if device.type == "cpu" else float("inf")


def refuse_whole(shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> None:
    """Raise if a device has too little memory for the whole of J.

    Args:
        shape: of J.
        dtype: of its numbers.
        device: where it is to be made or decomposed; either takes three matrices of its size at once.

    Raises:
        DeviceError: they take more than :func:`free_bytes`.
    """
    m, d = shape
    needed, free = 3.0 * m * d * dtype.itemsize, free_bytes(device)
    if needed > free:
        raise DeviceError(
            f"the whole of J, {m} x {d}, takes {needed / 1e9:.2g} GB, {device} has {free / 1e9:.2g} GB for tensors",
            "use svd=golub_kahan with few directions, or a device with more memory",
        )


def cpu_bytes() -> float:
    """Bytes that this process can still take: the least of what machine, control group and ``ulimit -v`` leave.

    In a container, or a job of SLURM, the machine may have much more free than the control group allows.
    """
    return min(float(psutil.virtual_memory().available), _group_leaves(), _process_leaves())


def _group_leaves(groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> float:
    """Of the process's control group and those around it, version 1 or 2; files in the page cache count as free."""
    least = float("inf")
    with contextlib.suppress(OSError, ValueError):
        for line in groups.read_text(encoding="utf-8").splitlines():
            _, controllers, inner = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            top = root / "memory" if controllers else root
            own = top / inner.strip("/")
            for folder in (own, *(parent for parent in own.parents if parent == top or top in parent.parents)):
                least = min(least, _leaves(folder, *(_VERSION_1 if controllers else _VERSION_2)))
    return max(least, 0.0)


_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_VERSION_2 = ("memory.max", "memory.current", "inactive_file")


def _leaves(folder: Path, limit: str, used: str, reclaimable: str) -> float:
    with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
        bound, taken = (
            int((folder / limit).read_text(encoding="utf-8")),
            int((folder / used).read_text(encoding="utf-8")),
        )
        words = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
        return float(bound - taken + int(words.get(reclaimable, 0)))
    return float("inf")


def _process_leaves() -> float:
    """Of the address space, which ``ulimit -v`` bounds."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # Linux alone has all of these
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        if limit != resource.RLIM_INFINITY:
            return max(0.0, float(limit - pages * resource.getpagesize()))
    return float("inf")


def device_name(device: torch.device) -> str:
    """What the device is called, for records: a GPU's name, or the kind of processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} {platform.processor()}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine had no memory left: CUDA's error, or the CPU allocator's."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
