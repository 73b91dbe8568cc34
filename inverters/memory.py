"""Memory: batch sizes after an out-of-memory error, and how the C library returns freed memory."""

from __future__ import annotations

import contextlib
import ctypes
import re
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

import torch

LEVELS = 4
"""Number of levels of memory use, each slower and with less memory than the one before: whole batches (0),
quarter batches (1), batches of one (2), batches of one whose activations are kept in the host's memory (3).
"""

_level: ContextVar[int] = ContextVar("level", default=0)


@contextlib.contextmanager
def reduced_memory(level: int) -> Iterator[None]:
    """Run the block at a level of memory use from 0, the fastest, to LEVELS - 1, which needs the least."""
    token = _level.set(level)
    try:
        yield
    finally:
        _level.reset(token)


def batch(wanted: int) -> int:
    """Return how many of `wanted` frames to process at a time at the current level; at least 1."""
    level = _level.get()
    return wanted if level == 0 else max(1, wanted // 4) if level == 1 else 1


def parts(count: int) -> list[slice]:
    """Return the slices of a batch of `count` frames whose gradients are accumulated; one at level 0."""
    size = batch(count)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def activations(device: torch.device | str) -> contextlib.AbstractContextManager[object]:
    """Context for a forward pass: at the last level its saved activations are kept in the host's memory.

    They come back bit for bit. On a CPU this does nothing.
    """
    if _level.get() < LEVELS - 1 or torch.device(device).type != "cuda":
        return contextlib.nullcontext()
    return torch.autograd.graph.save_on_cpu()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the memory of a GPU or of the machine is exhausted."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in str(error) or "std::bad_alloc" in str(error)
    )


def needed(error: BaseException, device: torch.device | str) -> int | None:
    """Return the bytes in use at the error plus those asked for, a lower bound of the need, or None."""
    asked = _asked_for(str(error))
    if asked is None:
        return None
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) + asked
    return _resident() + asked


def release(device: torch.device | str) -> None:
    """Return memory that torch has cached to the device."""
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _asked_for(message: str) -> int | None:
    """Bytes that torch's error message names."""
    found = re.search(r"(?:[Tt]ried to|Unable to) allocate ([\d.]+) (bytes|[KMG]i?B)", message)
    if found is None:
        return None
    units = {"bytes": 1, "K": 2**10, "M": 2**20, "G": 2**30}
    return int(float(found[1]) * units.get(found[2], units.get(found[2][0], 1)))


def _resident() -> int:
    """Resident memory of this process in bytes."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_KEPT, _LARGEST = 1 << 30, 1 << 28
"""Bytes of freed memory that the process keeps; size from which a block is returned at once."""


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed blocks for the next step; return False without glibc.

    By default glibc returns large blocks to the system, and each optimisation step pays page faults for
    them: a good part of the time of a step of super-resolution or of the codes on a CPU.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))
