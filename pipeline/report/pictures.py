"""Still pictures of a report: cut, scaled, and written as JPEG data URIs within a budget of bytes."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipeline.clip import U8

LARGEST = 1280
"""Longest side in pixels of a picture in the page."""

_LEVELS = ((LARGEST, 84), (1024, 82), (800, 78), (640, 74), (480, 68), (360, 60), (240, 50), (160, 40))
_SMALLEST = 32
_HEAD = "data:image/jpeg;base64,"

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


@dataclass
class Picture:
    """One still: pixels uint8 [H,W,3]; `share` of the largest side that it may take; `uri` once encoded.

    `width` and `height` are those of `pixels`; they give the page the shape of the picture.
    """

    pixels: U8
    share: float = 1.0
    uri: str = ""

    @property
    def width(self) -> int:
        """Width of the pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Height of the pixels."""
        return int(self.pixels.shape[0])


def encode(pictures: Sequence[Picture], limit: int) -> int:
    """Give every picture its data URI, `limit` characters in all; returns the number of characters.

    Size and quality are the best of _LEVELS that fit; at the lowest level, pictures that no longer fit are
    left without one.
    """
    total = 0
    for longest, quality in _LEVELS:
        total = 0
        for picture in pictures:
            small = shrunk(picture.pixels, max(_SMALLEST, round(longest * picture.share)))
            picture.uri = _uri(small, quality)
            total += len(picture.uri)
        if total <= limit:
            return total
    total = 0
    for picture in pictures:
        if total + len(picture.uri) > limit:
            picture.uri = ""
        total += len(picture.uri)
    return total


def _uri(pixels: U8, quality: int) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, optimize=True)
    return _HEAD + base64.b64encode(buffer.getvalue()).decode()


def shrunk(pixels: U8, longest: int) -> U8:
    """uint8 [H,W,3] scaled down to at most `longest` pixels a side; never up."""
    height, width = pixels.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def cut(pixels: U8, box: Box, size: tuple[int, int]) -> U8:
    """The part of uint8 [H,W,3] inside `box`, scaled to `size` (width, height).

    Outside of the picture its edge is repeated.
    """
    left, top = math.floor(box[0]), math.floor(box[1])
    columns = np.arange(left, math.ceil(box[2])).clip(0, pixels.shape[1] - 1)
    rows = np.arange(top, math.ceil(box[3])).clip(0, pixels.shape[0] - 1)
    part = Image.fromarray(np.ascontiguousarray(pixels[rows][:, columns]))
    inside = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
    return np.asarray(part.resize(size, Image.Resampling.LANCZOS, box=inside))
