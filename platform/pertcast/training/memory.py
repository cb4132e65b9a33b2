"""How much memory a training process has held at most, on the host and on its GPU."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """Peaks since the process began; over ranks, of the rank with the largest.

    Attributes
    ----------
    resident_bytes
        Largest resident set of the process, its threads included.
    gpu_allocated_bytes, gpu_reserved_bytes
        Largest sum of live tensors, and of what torch's allocator held of the GPU; None without a GPU.
    """

    resident_bytes: int = 0
    gpu_allocated_bytes: int | None = None
    gpu_reserved_bytes: int | None = None


def peak_resident_bytes() -> int:
    """Return the largest resident set of this process.

    Linux carries getrusage's maximum over from the parent through fork and exec, so that a worker would tell
    of its driver; VmHWM is of this program alone.
    """
    try:
        for line in _STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def peak_memory(device: torch.device) -> PeakMemory:
    """Return this process's peaks."""
    if device.type != "cuda":
        return PeakMemory(peak_resident_bytes())
    return PeakMemory(
        peak_resident_bytes(),
        torch.cuda.max_memory_allocated(device),
        torch.cuda.max_memory_reserved(device),
    )
