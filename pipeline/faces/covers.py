"""What passes before a face for a moment: pixels that the clip's own neighbouring frames do not explain.

A face model gives landmarks under a hand that are plausible and wrong. Pixels of the face that differ from
what the frames within a second show in the same place of the face are taken for something before it;
landmarks there are doubted, and take their place from the frames before and after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, F64, I64, U8, Cover
from pipeline.faces.face_window import window_affine
from pipeline.video.masks import with_forehead
from pipeline.video.warp import invert_affine, warp_points

Floats = npt.NDArray[np.floating[Any]]
Bools = npt.NDArray[np.bool_]

WINDOW = 64
"""Side in pixels of the small windows in which frames are compared; they show the forehead, too."""
_ENLARGED = 0.75
"""Pixels of a window in a pixel of the face embedding's, whose middle it shares."""
_SPAN = 1.0
"""Seconds before and after a frame whose frames are its neighbours."""
_MOST, _FEWEST = 14, 6
"""Neighbours that are compared, evenly spread, and the fewest that can tell."""
_SHARE = 0.45
"""Share of the neighbours that must show a pixel alike for it to be explained."""
_UNLIKE, _DOUBTFUL = 16.0, 12.0
"""Mean levels of 255 by which a pixel differs that is not explained, and one beside such pixels."""
_RATIOS = (0.25, 0.5, 0.75)
"""Quantiles of the ratios of pixels that are tried as the change of light between two frames."""
_CLEARLY = 2.0
"""How many times as many pixels must be alike for a change of light to be taken for one."""
_REACH = 2
"""Pixels of the window within which a neighbour may show the same."""
LEAST = 0.05
"""Share of the face's area that something before it covers at least, eyes and mouth left out: they open and
close by themselves."""
_LEAST_BESIDE, _BESIDE, _MOVED = 0.005, 3, 13
"""The same in frames beside, within so many, in the place of the cover grown by a square of this side: what
covers a face comes in and goes out."""
_AROUND = 13
"""Side in pixels of the square by which the outline of face and forehead is grown, as a mask of it is."""
_GROWN = 9
"""Side in pixels of the square by which a cover is grown: its edge is blurred, and may look like the face."""
_AFTER = 2
"""Frames after a covered one that are doubted, too: their search for the face began from a cover."""
_SPREAD, _RIM, _BETWEEN = 0.16, 0.012, 0.05
"""In crop widths: how far beyond its mask a cover is outlined, its margin, and the gaps that are closed."""
_JAW, _BROWS = np.arange(0, 17), np.arange(17, 27)
_EYES = (np.arange(36, 42), np.arange(42, 48))
_LIPS = np.arange(48, 60)


def no_cover() -> Cover:
    """Nothing before the face in any frame."""
    none = np.zeros(0)
    return Cover(none.astype(np.int64), np.zeros((0, WINDOW, WINDOW), bool), np.zeros((0, 2, 3)), none)


def find_covers(windows: Sequence[U8], affines: F64, landmarks: Floats, times: Floats, run: I64) -> Cover:
    """What lies before the face for a moment, in N frames that show it.

    windows: uint8 [64,64,3] of the face, N; affines [N,2,3] from the frame to them; landmarks [N,68,2] in
    pixels of the frames; times [N] in seconds; run [N]: only frames of the same run are neighbours.
    """
    views = _Views(windows, affines, landmarks, times, run)
    count = len(windows)
    found = {n: cover for n in range(count) if (cover := _cover_of(views, n)) is not None}
    for step in (1, -1):
        for first in list(found):
            for n in range(first + step, first + step * (_BESIDE + 1), step):
                if not 0 <= n < count or n in found or run[n] != run[first]:
                    break
                cover = _cover_of(views, n, found[n - step][0])
                if cover is None:
                    break
                # with more it would have been found without
                found[n] = cover[0], min(cover[1], 0.9 * LEAST)
    if not found:
        return no_cover()
    places = np.array(sorted(found), np.int64)
    masks, shares = zip(*(found[n] for n in places.tolist()), strict=True)
    return Cover(places, np.stack(masks), np.asarray(affines, np.float64)[places], np.array(shares))


@dataclass(frozen=True)
class _Views:
    """The windows that are compared, and where the face is in them; arguments as for `find_covers`."""

    windows: Sequence[U8]
    affines: F64
    landmarks: Floats
    times: Floats
    run: I64

    def soft(self, n: int) -> npt.NDArray[np.int16]:
        """A window without its noise, [64,64,3]."""
        return cv2.blur(self.windows[n], (3, 3)).astype(np.int16)

    def near(self, n: int) -> list[int]:
        """The frames that one is compared with; none where they are too few to tell."""
        near = np.flatnonzero((np.abs(self.times - self.times[n]) <= _SPAN) & (self.run == self.run[n]))
        near = near[near != n]
        if len(near) > _MOST:
            near = near[np.linspace(0, len(near) - 1, _MOST).round().astype(int)]
        return near.tolist() if len(near) >= _FEWEST else []

    def points(self, n: int) -> F64:
        """The landmarks [68,2] in pixels of the window."""
        return warp_points(self.landmarks[n], self.affines[n])


def _cover_of(views: _Views, n: int, beside: Bools | None = None) -> tuple[Bools, float] | None:
    """The mask [64,64] of what covers the face in a frame and its share of the face; None for nothing.

    beside: the mask of the frame before or after; less is then enough, near there.
    """
    near = views.near(n)
    if not near:
        return None
    face, moving, around = _regions(views.points(n))
    sought, least = face, LEAST
    if beside is not None:
        around = around & (cv2.dilate(beside.astype(np.uint8), np.ones((_MOVED, _MOVED), np.uint8)) > 0)
        sought, least = around, _LEAST_BESIDE
    own, area = views.soft(n), float(face.sum())
    others = np.stack([_in_light_of(own, views.soft(m), face) for m in near])
    for reach in (0, _REACH):
        # what differs little where it is needs no search around it
        unlike = _unlike(own, others, reach)
        sure = _large_parts((unlike > _UNLIKE) & sought, moving, least * area)
        if not sure.any():
            return None
    hull = _hull_of((unlike > _DOUBTFUL) & around, sure)
    grown = cv2.dilate(hull.astype(np.uint8), np.ones((_GROWN, _GROWN), np.uint8)) > 0
    return grown, float((hull & face).sum()) / area


def _unlike(own: npt.NDArray[np.int16], others: F32, reach: int) -> F32:
    """Levels by which pixels [64,64] differ from what _SHARE of the neighbours show within `reach` pixels."""
    best = np.full((len(others), *own.shape[:2]), 255.0, np.float32)
    pad = np.pad(others, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
    for down in sorted({0, reach, 2 * reach}):
        for across in sorted({0, reach, 2 * reach}):
            there = pad[:, down : down + own.shape[0], across : across + own.shape[1]]
            np.minimum(best, np.abs(there - own).mean(axis=-1), out=best)
    return np.asarray(np.quantile(best, _SHARE, axis=0), np.float32)


def _in_light_of(own: npt.NDArray[np.int16], other: npt.NDArray[np.int16], face: Bools) -> F32:
    """A neighbour's window [64,64,3] in the brightness that makes most of the face alike.

    What covers half of the face must not be taken for a change of light: its colours differ by other factors,
    and without a change much of the rest is alike.
    """
    ratios = (own[face].sum(axis=-1) + 24) / (other[face].sum(axis=-1) + 24)
    equal = [
        (other * np.float32(gain)).astype(np.float32) for gain in np.quantile(ratios, _RATIOS).clip(0.5, 2)
    ]
    equal.append(other.astype(np.float32))
    alike = [int((np.abs(one[face] - own[face]).mean(axis=-1) <= _DOUBTFUL).sum()) for one in equal]
    best = int(np.argmax(alike))
    return equal[best if alike[best] > _CLEARLY * alike[-1] else -1]


def _hull_of(doubtful: Bools, sure: Bools) -> Bools:
    """The convex hull of the doubtful pixels that hang together with sure ones.

    A hand before a face has its colour in places; it is covered there all the same.
    """
    labels = cv2.connectedComponents((doubtful | sure).astype(np.uint8))[1]
    kept = np.isin(labels, np.unique(labels[sure]))
    lines, columns = np.nonzero(kept)
    hull = cv2.convexHull(np.stack([columns, lines], axis=1).astype(np.int32))
    filled = cv2.fillConvexPoly(np.zeros(kept.shape, np.uint8), hull, (1.0,))
    return np.asarray(filled) > 0


def _regions(points: F64) -> tuple[Bools, Bools, Bools]:
    """Masks [64,64] from landmarks [68,2]: the face, its eyes and mouth, and all that an edit may touch.

    The face goes a little above the brows: hair of the forehead moves by itself.
    """
    top = points[_BROWS] + 0.25 * (points[_BROWS].mean(0) - points[[8]])
    face = _filled(np.concatenate([points[_JAW], top]))
    moving = np.zeros_like(face)
    for part in (*_EYES, _LIPS):
        moving |= _filled(points[part])
    whole = _filled(with_forehead(points)).astype(np.uint8)
    around = cv2.dilate(whole, np.ones((_AROUND, _AROUND), np.uint8)) > 0
    return face, cv2.dilate(moving.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0, around


def _filled(points: Floats) -> Bools:
    hull = cv2.convexHull(np.asarray(np.rint(points - 0.5), np.int32))
    filled = cv2.fillConvexPoly(np.zeros((WINDOW, WINDOW), np.uint8), hull, (1.0,))
    return np.asarray(filled) > 0


def _large_parts(mask: Bools, moving: Bools, least: float) -> Bools:
    """The connected parts that cover `least` pixels without eyes and mouth."""
    labels = cv2.connectedComponents(mask.astype(np.uint8))[1]
    kept = np.zeros_like(mask)
    for label in range(1, int(labels.max()) + 1):
        part = labels == label
        if (part & ~moving).sum() >= least:
            kept |= part
    return kept


def frames_after(covered: I64, run: I64) -> I64:
    """The frames up to _AFTER after covered ones, not covered themselves, of the same run [N]."""
    after = {
        n
        for place in covered.tolist()
        for n in range(place + 1, min(place + 1 + _AFTER, len(run)))
        if run[n] == run[place]
    }
    return np.array(sorted(after - set(covered.tolist())), np.int64)


def taken_from_neighbours(points: F64, doubted: I64, times: Floats, run: I64) -> F64:
    """Points [N,P,2] with those of doubted frames mixed in time from the clear frames before and after them.

    At the ends of a run they stay: a clear frame on one side does not tell where the face has moved. times
    [N] in seconds, run [N] as in `find_covers`.
    """
    out = np.array(points, np.float64)
    clear = np.setdiff1d(np.arange(len(run)), doubted)
    for place in doubted.tolist():
        own = clear[run[clear] == run[place]]
        before, after = own[own < place][-1:], own[own > place][:1]
        if not len(before) or not len(after):
            continue
        first, last = int(before[0]), int(after[0])
        share = (times[place] - times[first]) / (times[last] - times[first])
        out[place] = (1 - share) * points[first] + share * points[last]
    return out


def cover_affine(landmarks: Floats) -> F64:
    """The map [2,3] from pixels of a frame to the small window of the face at landmarks [68,2]."""
    from inverters.generators.face_embedding import FACE_SIZE

    affine = window_affine(landmarks) * _ENLARGED
    affine[:, 2] += (WINDOW - _ENLARGED * FACE_SIZE) / 2
    return affine


def cover_in(cover: Cover, row: int, to_crop: F64, size: int) -> F32:
    """One mask of a cover, in [0,1], in the crop [size,size] that `to_crop` [2,3] makes of the frame."""
    back = invert_affine(cover.affines[row])
    there = [np.vstack([map_, [0.0, 0.0, 1.0]]) for map_ in (to_crop, back)]
    half = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])  # OpenCV counts from pixels' centres
    map_ = np.linalg.inv(half) @ there[0] @ there[1] @ half
    mask = cover.masks[row].astype(np.float32)
    return np.asarray(cv2.warpAffine(mask, map_[:2], (size, size), flags=cv2.INTER_LINEAR), np.float32)


def outlined(cover: F32, own: U8, beside: Sequence[U8], points: Floats) -> F32:
    """A cover [S,S] of a crop, with what hangs together with it and looks like the face.

    Fingers before a cheek have its colour; their edges are where the crop differs from those of the nearest
    frames without the cover, in the same place. own, beside: crops uint8 [S,S,3]; points: landmarks [68,2] in
    pixels of the crop. Eyes and mouth move by themselves and do not count.
    """
    size, sure = len(own), cover > 0.5
    if not beside or not sure.any():
        return cover
    near = _grown(sure, _SPREAD * size)
    unlike = np.minimum.reduce([_apart(own, other, ~near) for other in beside])
    moving = np.zeros((size, size), np.uint8)
    for part in (*_EYES, _LIPS):
        hull = cv2.convexHull(np.asarray(np.rint(points[part] - 0.5), np.int32))
        cv2.fillConvexPoly(moving, hull, (1.0,))
    edges = (unlike > _DOUBTFUL) & near & ~_grown(moving > 0, 2 * _RIM * size)
    labels = cv2.connectedComponents((edges | sure).astype(np.uint8))[1]
    parts = np.isin(labels, np.unique(labels[sure])).astype(np.uint8)
    whole = np.asarray(cv2.morphologyEx(parts, cv2.MORPH_CLOSE, _disc(_BETWEEN * size / 2))) > 0
    soft = cv2.GaussianBlur(_grown(whole, 2 * _RIM * size).astype(np.float32), (0, 0), _RIM * size / 2)
    return np.asarray(np.maximum(cover, soft), np.float32)


def _apart(own: U8, other: U8, free: Bools) -> F32:
    """Mean levels [S,S] by which two crops differ, in the brightness that makes the free part alike."""
    light = [np.median(one[free].astype(np.float32)) + 24 if free.any() else 24.0 for one in (own, other)]
    same = other.astype(np.float32) * np.float32(np.clip(light[0] / light[1], 0.5, 2.0))
    side = 2 * round(len(own) * _RIM / 2) + 1
    return np.asarray(cv2.blur(np.abs(own - same).mean(axis=-1), (side, side)), np.float32)


def _disc(radius: float) -> U8:
    side = 2 * max(round(radius), 1) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def _grown(mask: Bools, by: float) -> Bools:
    return np.asarray(cv2.dilate(mask.astype(np.uint8), _disc(by))) > 0
