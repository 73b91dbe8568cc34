"""What is laid over a frame is held to what was laid over the frame before, along the source's motion."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, U8
from pipeline.video.warp import Box

VERSION = 1
HOLD = 0.6
"""Share of the frame before; a flicker that knows nothing of its past keeps a third of its steps."""
_SAME_PLACE = (0.01, 0.5)
"""Share of the flows' squares, and squared pixels, by which there and back may miss (Sundaram et al. 2010).
"""
_LOOKS_ALIKE = 8.0
"""Levels of 255 by which the source may differ along the flow."""
_SAME_CHANGE = 32.0
"""Levels by which the change itself may; one that differs more is no flicker, but another change.

Half of that where the layer takes the source's place: a face under a hand does not move as the hand does.
"""
_CUT = 0.3
"""Where less than this share of the changed pixels can be followed, none are."""
_AROUND, _LEAST = 16, 16
"""Pixels about the change in which motion is looked for, and the shortest side in which it can be."""


@dataclass(frozen=True)
class _Before:
    """The frame before: its number, its pixels, and what was laid over them, where."""

    index: int
    frame: U8
    layer: F32
    shown: npt.NDArray[np.bool_]
    box: Box


class Steady:
    """Holds what is laid over a clip's frames to what was laid over the frame before; keeps that one alone.

    A layer [h,w,4] is a colour in levels and the share of the source whose place it takes: the frame becomes
    source * (1 - share) + colour. It has nothing of the source in it, which would shine through elsewhere.

    An exponential mean along the motion, as the temporal term of Bonneel et al. 2015 (Blind video temporal
    consistency) without its spatial one, trusted pixel by pixel as there by how alike the source looks.
    """

    def __init__(self) -> None:
        self._before: _Before | None = None

    def __call__(
        self, index: int, frame: U8, layer: F32, shown: npt.NDArray[np.bool_], box: Box, held: bool = True
    ) -> F32:
        """The layer [h,w,4] of frame number `index` in `box`, held to that of frame index-1.

        frame uint8 [H,W,3] as in the source; shown [h,w]: where the layer is shown; box: x0, y0, x1, y1.
        With `held` False the layer is taken as it is, and kept for the next frame. As it is also wherever
        the flows there and back disagree, or the source looks another, or the layer changes it otherwise.
        """
        before, out = self._before, layer
        if held and before is not None and before.index == index - 1:
            carried, trust = _carried(before, frame, box)
            if (trust * shown).sum() >= _CUT * shown.sum():
                x0, y0, x1, y1 = box
                moved = carried - layer
                apart = np.abs(moved[..., :3] - moved[..., 3:] * frame[y0:y1, x0:x1]).max(axis=-1)
                limit = _SAME_CHANGE * (1.0 - 0.5 * layer[..., 3])
                trust = trust * _likeness(cv2.GaussianBlur(apart, (0, 0), 2.0), limit)
                out = layer + HOLD * trust[..., None] * moved
        self._before = _Before(index, frame, out, shown, box)
        return out


def _carried(before: _Before, frame: U8, box: Box) -> tuple[F32, F32]:
    """The layer of the frame before where it has moved to [h,w,4], and how far to trust that [h,w]."""
    height, width = frame.shape[:2]
    x0, y0, x1, y1 = box
    left, top = max(x0 - _AROUND, 0), max(y0 - _AROUND, 0)
    right, bottom = min(x1 + _AROUND, width), min(y1 + _AROUND, height)
    if min(right - left, bottom - top) < _LEAST:
        return np.zeros((y1 - y0, x1 - x0, 4), np.float32), np.zeros((y1 - y0, x1 - x0), np.float32)
    now, then = (np.ascontiguousarray(f[top:bottom, left:right]) for f in (frame, before.frame))
    grey, grey_then = (cv2.cvtColor(part, cv2.COLOR_RGB2GRAY) for part in (now, then))
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    back, forth = (
        finder.calc(one, other, np.zeros((*grey.shape, 2), np.float32))
        for one, other in ((grey, grey_then), (grey_then, grey))
    )
    y, x = np.mgrid[: bottom - top, : right - left].astype(np.float32)
    at_x, at_y = x + back[..., 0], y + back[..., 1]
    again = cv2.remap(forth, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    share, pixels = _SAME_PLACE
    lengths = (back**2).sum(-1) + (again**2).sum(-1)
    there_and_back = ((back + again) ** 2).sum(-1) <= share * lengths + pixels
    moved = cv2.remap(then, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    unlike = cv2.absdiff(now, moved).max(axis=-1).astype(np.float32)
    trust = _likeness(cv2.GaussianBlur(unlike, (0, 0), 1.0), _LOOKS_ALIKE) * there_and_back
    inner = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
    # From here on in pixels of the box of the frame before.
    at_x, at_y = at_x[inner] + (left - before.box[0]), at_y[inner] + (top - before.box[1])
    carried = cv2.remap(before.layer, at_x, at_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    known = cv2.remap(before.shown.astype(np.float32), at_x, at_y, cv2.INTER_LINEAR, borderValue=(0.0,))
    return np.asarray(carried, np.float32), np.asarray(trust[inner] * (known > 0.999), np.float32)


def _likeness(difference: npt.NDArray[np.float32], limit: float | F32) -> F32:
    """1 up to `limit`, falling to 0 at twice as much."""
    return np.asarray(np.clip(2.0 - difference / limit, 0.0, 1.0), np.float32)
