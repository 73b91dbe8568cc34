"""A turned head in its own frames: where its crop goes, and how much of it is shown.

Fruehstueck et al. 2023, "VIVE3D", its optical-flow-corrected inset (`inset_video` of its release).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, F64, U8
from pipeline.faces.smoothing import smooth
from pipeline.request.settings import CompositeSettings
from pipeline.stages.composite import Rows
from pipeline.video.masks import crop_mask, face_masks
from pipeline.video.warp import warp_back

VERSION = 1
_SHARE = np.array([0.75, 0.2])
"""Of the flow, across and down, that the inset takes back."""
_LEAST = 0.5
"""Flow below this share of the mean does not count."""
_CONE = math.cos(math.radians(45))
_SIGMA = 2.0
"""Frames over which the inset's way is smoothed."""
_HEAD = np.zeros((1, 3))
"""The middle of the head in EG3D's world; it lies behind the pivot that the face turns about."""


def project(points: npt.NDArray[Any], cam2world: F32, intrinsics: F32, size: int) -> F64:
    """World points [P,3] in pixels of a crop of `size`, [K,P,2]; cameras [K,4,4], [K,3,3]."""
    rotation, position = cam2world[:, :3, :3].astype(np.float64), cam2world[:, None, :3, 3]
    seen = (np.asarray(points, np.float64) - position) @ rotation
    pixels = seen @ np.swapaxes(intrinsics.astype(np.float64), 1, 2)
    projected: F64 = size * pixels[..., :2] / pixels[..., 2:]
    return projected


def head_motion(before: F32, after: F32, intrinsics: F32, size: int) -> F64:
    """Crop pixels [K,2] by which the middle of the head moves from one camera to the other."""
    moved: F64 = (project(_HEAD, after, intrinsics, size) - project(_HEAD, before, intrinsics, size))[:, 0]
    return moved


def flow_shift(before: U8, after: U8, expected: F64, region: npt.NDArray[np.bool_]) -> F64:
    """How far an inset is to move, in pixels (x, y), for the head to stay on its neck.

    A generator's cameras turn about a point in the face, so that the head with its neck swings out; what the
    flow from one render to the other says of that is taken back. Flow counts within `region`, where it is not
    slow and not far from the direction expected. Where nothing counts the inset stays, and it never moves
    farther than is expected of the head.

    Args:
        before, after: uint8 [S,S,3], the head from its own camera and from the new one.
        expected: (x, y), by how many pixels the middle of the head should move.
        region: bool [S,S], where the head is.
    """
    gray = [cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY) for image in (before, after)]
    # The release: pyramid 0.5, 8 levels, window 25, 7 iterations, polynomials of 5 and 1.2
    flow = cv2.calcOpticalFlowFarneback(
        gray[0],
        gray[1],
        None,  # type: ignore[call-overload]
        0.5,
        8,
        25,
        7,
        5,
        1.2,
        cv2.OPTFLOW_FARNEBACK_GAUSSIAN,
    )[region].astype(np.float64)
    length = np.linalg.norm(flow, axis=1)
    most = float(np.linalg.norm(expected))
    if not length.any() or most == 0:
        return np.zeros(2)
    along = flow @ (expected / most)
    kept = (length > 0) & (length >= _LEAST * length.mean()) & (along >= _CONE * length)
    if not kept.any():
        return np.zeros(2)
    direction = (flow[kept] / length[kept, None]).mean(0)
    direction /= max(float(np.linalg.norm(direction)), 1e-9)
    shift = -_SHARE * direction * length[kept].max()
    # One wrong vector would be the longest, and carry the face off its head.
    bounded: F64 = shift * min(1.0, most / max(float(np.linalg.norm(shift)), 1e-9))
    return bounded


def smooth_shifts(shifts: F64, expected: F64, frames: npt.NDArray[np.int64]) -> F64:
    """Shifts [K,2] of source frames [K], smoothed in time but never across frames without a face.

    What is smoothed is their share of the motion expected [K,2], along it and across: where that is the same
    in all frames, as of a view that rests, so are the shifts themselves; an orbit's go round with it.
    """
    across = expected[:, ::-1] * (-1.0, 1.0)
    products = np.stack([(shifts * expected).sum(1), (shifts * across).sum(1), np.square(expected).sum(1)], 1)
    everywhere = np.zeros((int(frames[-1]) + 1, 3))
    present = np.zeros(len(everywhere), bool)
    everywhere[frames], present[frames] = products, True
    along, beside, square = smooth(everywhere, present, "gaussian", _SIGMA)[frames].T[..., None]
    smoothed: F64 = (along * expected + beside * across) / np.maximum(square, 1e-12)
    return smoothed


def moved_affines(affine: F64, shifts: F64, frames: npt.NDArray[np.int64]) -> F64:
    """The map [T,2,3] from the source to crops that the inset has moved, from that to the crops as cut."""
    moved = np.array(affine)
    moved[frames, :, 2] -= shifts
    return moved


@dataclass(frozen=True)
class InsetMasks:
    """How much of a turned crop is shown, by row: uint8 [S,S], its pixels.

    That is its own face, and whatever lies over the source's, so that nothing of that remains beside it.
    """

    landmarks: F64
    """[K,68,2] of the turned face, in its crop."""
    source: Rows
    """By row, the masks of the face as it was found, uint8 [S,S]."""
    shifts: F64
    size: int
    settings: CompositeSettings

    def __getitem__(self, row: int) -> U8:
        one = slice(row, row + 1)
        still = np.array([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
        own = next(face_masks(self.landmarks[one], still, self.size, self.settings))
        back = np.concatenate([np.eye(2), self.shifts[row][:, None]], axis=1)
        box = (0, 0, self.size, self.size)
        source = warp_back(np.asarray(self.source[row]), back, box, padding="zeros", antialias=False)
        edge = crop_mask(self.size, min(self.settings.feather, 0.03))
        union = np.minimum(np.maximum(own, np.rint(source).astype(np.uint8)), edge)
        return _attached(union, own, round(self.settings.feather * self.size))


def _attached(mask: U8, face: U8, feather: int) -> U8:
    """The mask without parts that do not hang together with the face's, and without their soft borders."""
    labels = cv2.connectedComponents((mask > 127).astype(np.uint8))[1]
    loose = (labels > 0) & ~np.isin(labels, labels[face > 127])
    around = cv2.dilate(loose.astype(np.uint8), np.ones((2 * feather + 1, 2 * feather + 1), np.uint8)) > 0
    kept: U8 = np.where(loose | (around & (labels == 0)), np.minimum(mask, face), mask)
    return kept
