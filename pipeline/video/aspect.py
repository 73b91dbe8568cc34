"""Frames whose pixels are not square, as pictures of square pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

import cv2
import numpy as np

from pipeline.clip import U8


def squared_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Width and height with square pixels of a frame whose pixels are `aspect` times as wide as high.

    Neither side gets shorter.
    """
    if aspect >= 1:
        return max(1, round(width * aspect)), height
    return width, max(1, round(height / aspect))


def squared(frame: U8, aspect: Fraction) -> U8:
    """The same frame uint8 [H,W,3] with square pixels, itself where it has them."""
    height, width = frame.shape[:2]
    size = squared_size(width, height, aspect)
    if size == (width, height):
        return frame
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def all_squared(frames: Iterable[U8], aspect: Fraction) -> Iterator[U8]:
    """Each frame with square pixels."""
    return (squared(frame, aspect) for frame in frames)
