"""How the C library hands out memory while tensors are made and dropped at every step."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT, _LARGEST = 1 << 30, 1 << 28
"""Bytes that may stay with the process once freed; size from which a block is given back at once."""


def keep_freed_memory() -> bool:
    """Let glibc keep freed blocks for the next step; False where there is no glibc.

    By default it returns large blocks to the system, and every step pays for fetching them page by page, a
    good part of a step of super-resolution or of the codes on a CPU.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))
