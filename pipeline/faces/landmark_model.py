"""The protocol of a face landmark model, the detection it returns, and the boxes that models share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, U8
from pipeline.faces.layout import MESH_POINTS

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class FaceDetection:
    """One face in one frame, in source pixels (pixel centres at +0.5).

    landmarks68 [68,2]; dense [478,2], NaN where the model has no mesh; box [4] = left, top, right, bottom;
    score in [0,1].
    """

    landmarks68: F32
    dense: F32
    box: F32
    score: float

    @property
    def hint(self) -> F32:
        """The points that let the model find this face again in the next frame."""
        return self.landmarks68 if np.isnan(self.dense).any() else self.dense


class LandmarkModel(Protocol):
    """Finds faces and their landmarks in one frame; keeps no state between frames."""

    name: str

    def detect(self, frame: U8, hint: Floats | None = None) -> list[FaceDetection]:
        """Faces in `frame` (uint8 [H,W,3] RGB), the largest first.

        With `hint`, a box [4] or a face's landmarks [68,2] or [478,2] in the frame before, only the face near
        it (at most one); without, all faces.
        """
        ...

    def close(self) -> None:
        """Free the model."""
        ...


def box_of(points: Floats) -> F32:
    """Bounding box [4] = left, top, right, bottom of points [N,2]."""
    return np.asarray(np.concatenate([points.min(axis=0), points.max(axis=0)]), dtype=np.float32)


def hint_box(hint: Floats) -> F32:
    """The box [4] that a hint (a box [4] or points [N,2]) speaks of."""
    return np.asarray(hint, dtype=np.float32) if hint.ndim == 1 else box_of(hint)


def box_area(box: Floats) -> float:
    """Area in square pixels of a box [4], 0 where it is empty."""
    return float(max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0))


def iou(a: Floats, b: Floats) -> float:
    """Intersection over union of two boxes [4]."""
    corner = np.concatenate([np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])])
    common = box_area(corner)
    union = box_area(a) + box_area(b) - common
    return common / union if union > 0 else 0.0


def distinct(faces: list[FaceDetection], overlap: float = 0.3) -> list[FaceDetection]:
    """Drop the less certain one of any two faces that overlap by more than `overlap`; the largest first."""
    kept: list[FaceDetection] = []
    for face in sorted(faces, key=lambda f: f.score, reverse=True):
        if all(iou(face.box, other.box) < overlap for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda f: box_area(f.box), reverse=True)


def no_mesh() -> F32:
    """A 478-point mesh of NaN, for models that have none."""
    return np.full((MESH_POINTS, 2), np.nan, dtype=np.float32)


def square_window(frame: U8, center: Floats, side: float) -> tuple[U8, F32]:
    """Cut the square of `side` pixels around `center` (x, y), black outside the frame.

    Returns the window uint8 [S,S,3] and its left upper corner [2] in the frame; whole pixels, nothing is
    resampled.
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
