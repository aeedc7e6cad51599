"""Time, memory, and what machine it is."""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import resource
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch


@dataclass
class Clock:
    """The time budget; seconds are counted from the start of the process's work."""

    budget: float
    started: float = field(default_factory=time.perf_counter)

    @property
    def left(self) -> float:
        """Seconds that remain."""
        return self.started + self.budget - time.perf_counter()

    def until(self, share: float) -> float:
        """The moment at which ``share`` of what is left now will have passed."""
        return time.perf_counter() + share * max(self.left, 0.0)


class Peak:
    """Peak memory from now on: what torch allocated on a GPU, the resident set on the CPU."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            with contextlib.suppress(OSError):  # Linux forgets the old peak when asked to
                Path("/proc/self/clear_refs").write_text("5")

    def mib(self) -> float:
        """MiB."""
        if self.cuda:
            return torch.cuda.max_memory_allocated() / 2**20
        try:
            lines = Path("/proc/self/status").read_text().splitlines()
            return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
        except (OSError, StopIteration):
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def empty_memory() -> None:
    """Return what is free to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def environment(device: str) -> dict[str, Any]:
    """What every row tells of where it was measured."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    cuda = device.startswith("cuda")
    return {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, {processor}",
        "device": device,
        "device_name": torch.cuda.get_device_name() if cuda else processor,
        "torch": torch.__version__,
        "cuda": torch.version.cuda if cuda else "",
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }
