"""Images by row, and pixels of rendered batches."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from pipeline.clip import U8

BATCH = 4
"""Rows rendered at a time, where memory suffices."""


class Rows(Protocol):
    """Images by row: an array, a cached array on disk, or anything that computes them when asked."""

    def __getitem__(self, row: int, /) -> Any: ...


def to_bytes(image: Any) -> U8:
    """Tensor [n,3,S,S] in [-1,1] to uint8 [n,S,S,3]."""
    levels = ((image.float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).cpu().numpy())
