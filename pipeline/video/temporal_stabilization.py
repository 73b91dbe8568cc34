"""Temporal stabilisation: warp the previous frame's overlay by optical flow, average it with the current one.

The temporal term of Bonneel et al. 2015 (Blind Video Temporal Consistency), without the spatial one.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, U8
from pipeline.video.warp import Box

VERSION = 1
HOLD = 0.6
"""Weight of the previous overlay in the average. Of a white flicker a third of the steps then remains."""
_SAME_PLACE = (0.01, 0.5)
"""Tolerances of the forward-backward check (Sundaram et al. 2010): relative, and in squared pixels."""
_LOOKS_ALIKE = 8.0
"""Difference of the source along the flow, in levels of 255, up to which it is fully trusted."""
_SAME_CHANGE = 32.0
"""Difference of the overlay's change to the source, in levels of 255, up to which it counts as flicker.

Half of that where the layer replaces the source: a face under a hand does not move as the hand does.
"""
_CUT = 0.3
"""Least fraction of the shown pixels with a trusted flow; below it (a cut) the frame is left as it is."""
_AROUND, _LEAST = 16, 16
"""Margin in pixels around the overlay for the flow, and the least side of an image for the flow."""


@dataclass(frozen=True)
class _Previous:
    """The previous frame: index, pixels, overlay, and where the overlay is shown."""

    index: int
    frame: U8
    layer: F32
    shown: npt.NDArray[np.bool_]
    box: Box


class TemporalStabilizer:
    """Exponential moving average of overlays along the source's motion; keeps one frame.

    An overlay [h,w,4] is a colour in levels of 255 and the fraction of the source that it replaces: the frame
    becomes source * (1 - fraction) + colour. It contains nothing of the source, which would leave a trail.
    The average is weighted per pixel by the similarity of the source along the flow.
    """

    def __init__(self) -> None:
        self._previous: _Previous | None = None

    def __call__(
        self, index: int, frame: U8, layer: F32, shown: npt.NDArray[np.bool_], box: Box, held: bool = True
    ) -> F32:
        """Average the overlay `layer` [h,w,4] of frame `index` in `box` with that of frame index-1.

        frame: the source, uint8 [H,W,3]; shown [h,w]: where the overlay is shown; box: x0, y0, x1, y1. With
        `held` False the overlay is returned as it is, and kept for the next frame. Pixels also stay as they
        are where forward and backward flow disagree, or the source or the overlay's change differ.
        """
        previous, out = self._previous, layer
        if held and previous is not None and previous.index == index - 1:
            carried, trust = _warp_previous(previous, frame, box)
            if (trust * shown).sum() >= _CUT * shown.sum():
                x0, y0, x1, y1 = box
                moved = carried - layer
                apart = np.abs(moved[..., :3] - moved[..., 3:] * frame[y0:y1, x0:x1]).max(axis=-1)
                limit = _SAME_CHANGE * (1.0 - 0.5 * layer[..., 3])
                trust = trust * _likeness(cv2.GaussianBlur(apart, (0, 0), 2.0), limit)
                out = layer + HOLD * trust[..., None] * moved
        self._previous = _Previous(index, frame, out, shown, box)
        return out


def _warp_previous(previous: _Previous, frame: U8, box: Box) -> tuple[F32, F32]:
    """Warp the previous overlay to this frame's `box`: [h,w,4], and a confidence in [0,1], [h,w]."""
    height, width = frame.shape[:2]
    x0, y0, x1, y1 = box
    left, top = max(x0 - _AROUND, 0), max(y0 - _AROUND, 0)
    right, bottom = min(x1 + _AROUND, width), min(y1 + _AROUND, height)
    if min(right - left, bottom - top) < _LEAST:
        return np.zeros((y1 - y0, x1 - x0, 4), np.float32), np.zeros((y1 - y0, x1 - x0), np.float32)
    now, then = (np.ascontiguousarray(f[top:bottom, left:right]) for f in (frame, previous.frame))
    at_x, at_y, trust = _trusted_flow(now, then)
    inner = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
    # From here on in pixels of the previous frame's box.
    at_x, at_y = at_x[inner] + (left - previous.box[0]), at_y[inner] + (top - previous.box[1])
    carried = cv2.remap(previous.layer, at_x, at_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    shown = previous.shown.astype(np.float32)
    known = cv2.remap(shown, at_x, at_y, cv2.INTER_LINEAR, borderValue=(0.0,))
    return np.asarray(carried, np.float32), np.asarray(trust[inner] * (known > 0.999), np.float32)


def _trusted_flow(now: U8, then: U8) -> tuple[F32, F32, F32]:
    """Position x, y in image `then` of each pixel of `now` (dense inverse search), and the trust in it."""
    grey, grey_then = (cv2.cvtColor(part, cv2.COLOR_RGB2GRAY) for part in (now, then))
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    back, forth = (
        finder.calc(one, other, np.zeros((*grey.shape, 2), np.float32))
        for one, other in ((grey, grey_then), (grey_then, grey))
    )
    y, x = np.mgrid[: now.shape[0], : now.shape[1]].astype(np.float32)
    at_x, at_y = x + back[..., 0], y + back[..., 1]
    again = cv2.remap(forth, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    relative, pixels = _SAME_PLACE
    lengths = (back**2).sum(-1) + (again**2).sum(-1)
    consistent = ((back + again) ** 2).sum(-1) <= relative * lengths + pixels
    moved = cv2.remap(then, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    unlike = cv2.absdiff(now, moved).max(axis=-1).astype(np.float32)
    return at_x, at_y, _likeness(cv2.GaussianBlur(unlike, (0, 0), 1.0), _LOOKS_ALIKE) * consistent


def _likeness(difference: npt.NDArray[np.float32], limit: float | F32) -> F32:
    """1 for a difference up to `limit`, falling to 0 at twice that."""
    return np.asarray(np.clip(2.0 - difference / limit, 0.0, 1.0), np.float32)
