"""Images by row, and pixels of rendered batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np

from pipeline.clip import U8

BATCH = 4
"""Rows rendered at a time, where memory suffices."""


class Rows(Protocol):
    """Images by row: an array, a cached array on disk, or anything that computes them when asked."""

    def __getitem__(self, row: int, /) -> Any: ...


@dataclass(frozen=True)
class Covered:
    """Removals by row, uint8 [S,S,3], with the source where a soft mask says that something covers the face.

    A removal is compared with this: what differs is the occluder, and nothing else.
    """

    removed: Rows
    source: Rows
    cover: Rows
    """By row, [h,w] in 0..1, or uint8."""

    def __getitem__(self, row: int, /) -> U8:
        shown = np.asarray(self.removed[row], np.float32)
        size = (shown.shape[1], shown.shape[0])
        source = cv2.resize(np.asarray(self.source[row]), size, interpolation=cv2.INTER_AREA)
        found = np.asarray(self.cover[row])
        share = found.astype(np.float32) / np.float32(255.0 if found.dtype == np.uint8 else 1.0)
        cover = cv2.resize(share, size, interpolation=cv2.INTER_LINEAR)
        mixed = shown + np.clip(cover, 0, 1)[..., None] * (source - shown)
        return np.asarray(np.rint(mixed), np.uint8)


def to_bytes(image: Any) -> U8:
    """Tensor [n,3,S,S] in [-1,1] to uint8 [n,S,S,3]."""
    levels = ((image.float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).cpu().numpy())
