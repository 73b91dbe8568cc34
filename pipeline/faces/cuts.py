"""Where one shot ends and the next begins: the picture changes, or the face jumps."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, F64, I64, U8

Floats = npt.NDArray[np.floating[Any]]

_THUMB = 24
_CHANGED, _SURE = 10.0, 45.0
"""Mean levels of 255 by which thumbnails differ: from the first on a cut where the neighbours differ far
less, from the second on in any case."""
_TIMES = 3.0
_NEIGHBOURS = 4
_MOMENT, _BACK = 0.5, 0.5
"""Seconds within which a cut may be taken back, and sizes of the face within which that is again."""
_JUMP, _FASTER = 0.08, 2.5
"""A jump is farther than this share of the face's size, and this many times the steps before and after."""


def thumbnail(frame: U8) -> F32:
    """A frame uint8 [H,W,3] as float32 [24,24,3]."""
    small = cv2.resize(frame, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def may_be_cut(before: F32 | None, after: F32) -> bool:
    """Whether the picture changes so much between two frames that another shot may have begun."""
    return before is not None and picture_change(before, after) > _CHANGED


def picture_change(before: F32, after: F32) -> float:
    """Mean difference of two thumbnails in levels of 255."""
    return float(np.abs(before - after).mean())


def picture_cuts(changes: Floats) -> npt.NDArray[np.bool_]:
    """Where a shot begins, [N], from the change of each picture from the one before, [N] in levels of 255.

    A cut changes the picture by _TIMES as much as the median of the changes around it; a pan or a shake
    changes it again and again.
    """
    cuts = np.zeros(len(changes), bool)
    for t in np.flatnonzero(np.asarray(changes) > _CHANGED):
        around = np.r_[changes[max(1, t - _NEIGHBOURS) : t], changes[t + 1 : t + 1 + _NEIGHBOURS]]
        usual = float(np.median(around)) if len(around) else 0.0
        cuts[t] = changes[t] > max(_TIMES * usual, _CHANGED) or changes[t] > _SURE
    return cuts


def jump_cuts(centers: Floats, sizes: Floats) -> npt.NDArray[np.bool_]:
    """Where a face jumps, [N]: by a step that the steps before and after do not explain.

    centers [N,2] in pixels, sizes [N]; NaN without a face. A step counts in sizes of the face, a change of
    the size as the step that moves its border as far.
    """
    steps = np.full(len(sizes), np.nan)
    if len(sizes) < 2:
        return np.zeros(len(sizes), bool)
    size = np.minimum(sizes[1:], sizes[:-1])
    moved = np.linalg.norm(np.diff(centers, axis=0), axis=1)
    steps[1:] = (moved + np.abs(np.diff(sizes)) / 2) / np.maximum(size, 1e-6)
    padded: F64 = np.nan_to_num(np.r_[steps, 0.0], nan=0.0)
    beside = np.maximum(np.r_[0.0, padded[:-2]], padded[1:])
    return np.asarray(padded[:-1] > np.maximum(_JUMP, _FASTER * beside))


def lasting(
    cuts: npt.NDArray[np.bool_], thumbs: list[F32], centers: Floats, sizes: Floats, times: Floats
) -> npt.NDArray[np.bool_]:
    """The cuts [N] without those that are taken back: a hand before the face for a moment begins no shot.

    Within _MOMENT seconds the picture is what it was before, and the face where it was, if it is seen. Where
    the picture hardly changed at the cut, the face must jump back. thumbs: of each picture; centers [N,2],
    sizes [N] of the face in pixels, NaN without one; times [N] in seconds.
    """
    kept = np.array(cuts)
    for first in np.flatnonzero(cuts):
        before = thumbs[first - 1]
        changed = picture_change(before, thumbs[first]) > _CHANGED
        last = first + 1
        while last < len(cuts) and times[last] - times[first] <= _MOMENT:
            moved = float(np.linalg.norm(centers[last] - centers[first - 1]))
            alike = not changed or picture_change(before, thumbs[last]) <= 2 * _CHANGED
            if alike and not moved > _BACK * sizes[first - 1] and (changed or cuts[last]):
                kept[first : last + 1] = False
                break
            last += 1
    for last in np.flatnonzero(kept):
        if _returned(int(last), thumbs, centers, sizes, times):
            kept[last] = False
    return kept


def _returned(last: int, thumbs: list[F32], centers: Floats, sizes: Floats, times: Floats) -> bool:
    """Whether the face jumps back to where it was a moment before, in a picture that hardly changes.

    Under a hand that comes in, landmarks may slide away by steps that are no cut, and jump when it goes.
    """
    if picture_change(thumbs[last - 1], thumbs[last]) > _CHANGED:
        return False
    jump = _step(last - 1, last, centers, sizes)
    for first in range(last - 2, -1, -1):
        if times[last] - times[first] > _MOMENT:
            return False
        back = _step(first, last, centers, sizes) <= jump / 2
        if back and picture_change(thumbs[first], thumbs[last]) <= _CHANGED:
            return True
    return False


def shots(cuts: npt.NDArray[np.bool_]) -> I64:
    """The number of the shot of each frame, [N], from where shots begin, [N]."""
    return np.cumsum(cuts).astype(np.int64)


def _step(first: int, last: int, centers: Floats, sizes: Floats) -> float:
    """How far the face is in one frame from where it was in another, in pixels, a change of size included."""
    return float(np.linalg.norm(centers[last] - centers[first]) + abs(sizes[last] - sizes[first]) / 2)
