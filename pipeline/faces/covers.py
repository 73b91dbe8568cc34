"""What passes before a face for a moment: pixels that the clip's own neighbouring frames do not explain.

A face model gives landmarks under a hand that are plausible and wrong. Pixels of the face that differ from
what the frames within a second show in the same place of the face are taken for something before it;
landmarks there are doubted, and take their place from the frames before and after.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, F64, I64, U8, Cover
from pipeline.faces.face_window import window_affine
from pipeline.video.warp import invert_affine, warp_points

Floats = npt.NDArray[np.floating[Any]]
Bools = npt.NDArray[np.bool_]

WINDOW = 48
"""Side in pixels of the small windows in which frames are compared."""
_SPAN = 1.0
"""Seconds before and after a frame whose frames are its neighbours."""
_MOST, _FEWEST = 14, 6
"""Neighbours that are compared, evenly spread, and the fewest that can tell."""
_SHARE = 0.45
"""Share of the neighbours that must show a pixel alike for it to be explained."""
_UNLIKE, _DOUBTFUL = 16.0, 12.0
"""Mean levels of 255 by which a pixel differs that is not explained, and one beside such pixels."""
_REACH = 2
"""Pixels of the window within which a neighbour may show the same."""
_LEAST = 0.05
"""Share of the face's area that something before it covers at least, eyes and mouth left out: they open and
close by themselves."""
_AFTER = 2
"""Frames after a covered one that are doubted, too."""
_JAW, _BROWS = np.arange(0, 17), np.arange(17, 27)
_EYES = (np.arange(36, 42), np.arange(42, 48))
_LIPS = np.arange(48, 60)


def no_cover() -> Cover:
    """Nothing before the face in any frame."""
    none = np.zeros(0)
    return Cover(none.astype(np.int64), np.zeros((0, WINDOW, WINDOW), bool), np.zeros((0, 2, 3)), none)


def find_covers(windows: U8, affines: F64, landmarks: Floats, times: Floats, run: I64) -> Cover:
    """What lies before the face for a moment, in N frames that show it.

    windows: uint8 [N,48,48,3] of the face, affines [N,2,3] from the frame to them; landmarks [N,68,2] in
    pixels of the frames; times [N] in seconds; run [N]: only frames of the same run are neighbours.
    """
    count = len(windows)
    soft = np.stack([cv2.blur(w, (3, 3)) for w in windows]).astype(np.int16) if count else windows
    places, masks, shares = [], [], []
    for n in range(count):
        near = np.flatnonzero((np.abs(times - times[n]) <= _SPAN) & (run == run[n]))
        near = near[near != n]
        if len(near) < _FEWEST:
            continue
        if len(near) > _MOST:
            near = near[np.linspace(0, len(near) - 1, _MOST).round().astype(int)]
        face, moving = _regions(warp_points(landmarks[n], affines[n]))
        least = _LEAST * float(face.sum())
        for reach in (0, _REACH):
            # what differs little where it is needs no search around it
            unlike = _unlike(soft[n], soft[near], face, reach)
            sure = _large_parts((unlike > _UNLIKE) & face, moving, least)
            if not sure.any():
                break
        if sure.any():
            places.append(n)
            around = cv2.dilate(face.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
            masks.append(_hull_of((unlike > _DOUBTFUL) & around, sure))
            shares.append(float((masks[-1] & face).sum()) / float(face.sum()))
    if not places:
        return no_cover()
    found = np.array(places, np.int64)
    return Cover(found, np.stack(masks), np.asarray(affines, np.float64)[found], np.array(shares))


def _unlike(own: npt.NDArray[np.int16], others: npt.NDArray[np.int16], face: Bools, reach: int) -> F32:
    """Levels by which pixels [48,48] differ from what _SHARE of the neighbours show within `reach` pixels.

    The neighbours' brightness is set to the frame's own.
    """
    best = np.full((len(others), *own.shape[:2]), 255.0, np.float32)
    level = np.median(own[face], axis=0)
    gain = np.clip((level + 8) / (np.median(others[:, face], axis=1) + 8), 0.5, 2.0)
    equal = (others * gain[:, None, None]).astype(np.float32)
    pad = np.pad(equal, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
    for down in sorted({0, reach, 2 * reach}):
        for across in sorted({0, reach, 2 * reach}):
            there = pad[:, down : down + own.shape[0], across : across + own.shape[1]]
            np.minimum(best, np.abs(there - own).mean(axis=-1), out=best)
    return np.asarray(np.quantile(best, _SHARE, axis=0), np.float32)


def _hull_of(doubtful: Bools, sure: Bools) -> Bools:
    """The convex hull of the doubtful pixels that hang together with sure ones, grown by two pixels.

    A hand before a face has its colour in places; it is covered there all the same.
    """
    labels = cv2.connectedComponents((doubtful | sure).astype(np.uint8))[1]
    kept = np.isin(labels, np.unique(labels[sure]))
    lines, columns = np.nonzero(kept)
    hull = cv2.convexHull(np.stack([columns, lines], axis=1).astype(np.int32))
    filled = cv2.fillConvexPoly(np.zeros(kept.shape, np.uint8), hull, (1.0,))
    return np.asarray(cv2.dilate(np.asarray(filled), np.ones((5, 5), np.uint8))) > 0


def _regions(points: F64) -> tuple[Bools, Bools]:
    """The face up to the brows and a little above, and its eyes and mouth, from landmarks [68,2]: [48,48]."""
    top = points[_BROWS] + 0.25 * (points[_BROWS].mean(0) - points[[8]])
    face = _filled(np.concatenate([points[_JAW], top]))
    moving = np.zeros_like(face)
    for part in (*_EYES, _LIPS):
        moving |= _filled(points[part])
    grown = cv2.dilate(moving.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return face, grown


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


def taken_from_neighbours(points: F64, covered: I64, times: Floats, run: I64) -> F64:
    """Points [N,P,2] with those of doubted frames mixed in time from the clear frames before and after them.

    Doubted are the covered ones, and _AFTER frames after each, whose search for the face began from a cover.
    At the ends of a run they stay: a clear frame on one side does not tell where the face has moved. times
    [N] in seconds, run [N] as in `find_covers`.
    """
    out = np.array(points, np.float64)
    doubted = set(covered.tolist())
    for place in covered.tolist():
        after = range(place + 1, min(place + 1 + _AFTER, len(run)))
        doubted |= {n for n in after if run[n] == run[place]}
    clear = np.setdiff1d(np.arange(len(run)), sorted(doubted))
    for place in sorted(doubted):
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

    return window_affine(landmarks) * (WINDOW / FACE_SIZE)


def cover_in(cover: Cover, row: int, to_crop: F64, size: int) -> F32:
    """One mask of a cover, in [0,1], in the crop [size,size] that `to_crop` [2,3] makes of the frame."""
    back = invert_affine(cover.affines[row])
    there = [np.vstack([map_, [0.0, 0.0, 1.0]]) for map_ in (to_crop, back)]
    half = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])  # OpenCV counts from pixels' centres
    map_ = np.linalg.inv(half) @ there[0] @ there[1] @ half
    mask = cover.masks[row].astype(np.float32)
    return np.asarray(cv2.warpAffine(mask, map_[:2], (size, size), flags=cv2.INTER_LINEAR), np.float32)
