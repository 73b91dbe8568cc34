"""Protocol of a face landmark model, the detection it returns, and operations on boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, U8
from pipeline.faces.landmark_indices import MESH_POINTS

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class FaceDetection:
    """One face in one frame, in source pixels (pixel centres at +0.5).

    landmarks68 [68,2] in iBUG order; dense [478,2] in MediaPipe order, NaN where the model has no mesh;
    box [4] = left, top, right, bottom; score in [0,1].
    """

    landmarks68: F32
    dense: F32
    box: F32
    score: float

    @property
    def hint(self) -> F32:
        """Points [478,2] or [68,2] to pass to `detect` as the hint for the next frame."""
        return self.landmarks68 if np.isnan(self.dense).any() else self.dense


class LandmarkModel(Protocol):
    """Detector of faces and their landmarks in one frame, without state between frames."""

    name: str

    def detect(self, frame: U8, hint: Floats | None = None) -> list[FaceDetection]:
        """Detect the faces in `frame` (uint8 [H,W,3] RGB), the largest first.

        hint: the face's box [4] or landmarks [68,2] or [478,2] in the previous frame; at most the one face
        near it is then returned. None detects all faces.
        """
        ...

    def close(self) -> None:
        """Free the model's resources."""
        ...


def box_of(points: Floats) -> F32:
    """Bounding box [4] = left, top, right, bottom of points [N,2]."""
    return np.asarray(np.concatenate([points.min(axis=0), points.max(axis=0)]), dtype=np.float32)


def hint_box(hint: Floats) -> F32:
    """Box [4] of a hint, which is a box [4] or points [N,2]."""
    return np.asarray(hint, dtype=np.float32) if hint.ndim == 1 else box_of(hint)


def box_area(box: Floats) -> float:
    """Area of a box [4] in square pixels; 0 for an empty box."""
    return float(max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0))


def iou(a: Floats, b: Floats) -> float:
    """Intersection over union of two boxes [4], in [0,1]."""
    corner = np.concatenate([np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])])
    common = box_area(corner)
    union = box_area(a) + box_area(b) - common
    return common / union if union > 0 else 0.0


def distinct(faces: list[FaceDetection], overlap: float = 0.3) -> list[FaceDetection]:
    """Non-maximum suppression by score at an IoU of `overlap`; returns the largest face first."""
    kept: list[FaceDetection] = []
    for face in sorted(faces, key=lambda f: f.score, reverse=True):
        if all(iou(face.box, other.box) < overlap for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda f: box_area(f.box), reverse=True)


def no_mesh() -> F32:
    """Mesh [478,2] of NaN, for models without a mesh."""
    return np.full((MESH_POINTS, 2), np.nan, dtype=np.float32)


def square_window(frame: U8, center: Floats, side: float) -> tuple[U8, F32]:
    """Cut a square of `side` pixels around `center` (x, y) at whole pixels, black outside the frame.

    Returns the window, uint8 [S,S,3], and its upper left corner [2] in frame pixels.
    """
    size = max(2, int(np.ceil(side)))
    left, top = (int(v) for v in np.round(np.asarray(center) - size / 2))
    height, width = frame.shape[:2]
    window = np.zeros((size, size, 3), dtype=np.uint8)
    x0, x1 = max(left, 0), min(left + size, width)
    y0, y1 = max(top, 0), min(top + size, height)
    if x0 < x1 and y0 < y1:
        window[y0 - top : y1 - top, x0 - left : x1 - left] = frame[y0:y1, x0:x1]
    return window, np.array([left, top], dtype=np.float32)
