"""Faces that lie on their side or upside down: found in turned copies, checked against the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, U8
from pipeline.faces.face_window import face_window, is_upright, upright_margin
from pipeline.faces.landmark_model import FaceDetection, LandmarkModel, box_of, iou

Floats = npt.NDArray[np.floating[Any]]

_BETTER = 0.15
"""By how much more upright a face found upside down must look than as it was found at first, where the model
is as sure of both: it finds landmarks on a masked face either way up."""

_WORTH = 0.08
"""What one of the model's log odds is worth in that look."""

_SURER = 3.0
"""Difference of log odds by which a model is surer of a face one way up than the other. Its word then goes
before the look of the face, which our network learned from made-up people alone."""

_SURE = 12.0
"""Log odds of a face from which on its look is not asked."""

_MOST = 16.0
"""Log odds beyond which single precision does not go."""


@dataclass
class UprightModel:
    """A landmark model whose faces are checked against the picture, and looked for in turned copies.

    `odd` is set by `detect`: faces were found, but no landmarks that fit the picture.
    """

    model: LandmarkModel
    odd: bool = False
    turn: int = 0
    """Quarter turns of the copy in which a face was last found."""

    @property
    def name(self) -> str:
        """That of the model."""
        return self.model.name

    def close(self) -> None:
        """Free the model's resources."""
        self.model.close()

    def detect(self, frame: U8, hint: Floats | None = None, turns: bool = False) -> list[FaceDetection]:
        """As the model's `detect`; with `turns` copies turned by quarters are tried where that finds nothing.

        Faces are first looked for in the frame as the last one stood; with `turns` also upside down, and the
        way up is that in which the model is surer of the largest, or else in which it looks more upright.
        """
        self.odd = False
        if hint is not None and hint.ndim == 2:
            # the model's own region follows the roll of a hint, which was checked
            return self.model.detect(frame, hint)
        order = [self.turn, *(k for k in (0, 2, 1, 3) if k != self.turn)]
        for turn in order if turns else order[: 1 + (self.turn != 0)]:
            if not (faces := self._in_copy(frame, turn, hint)):
                continue
            if turns and _is_better(other := self._in_copy(frame, (turn + 2) % 4, hint), faces, frame):
                turn, faces = (turn + 2) % 4, other
            self.turn, self.odd = turn, False
            return faces
        return []

    def _in_copy(self, frame: U8, turn: int, hint: Floats | None) -> list[FaceDetection]:
        """The faces of a copy turned by `turn` quarters, in pixels of the frame, that fit the picture."""
        copy = np.ascontiguousarray(np.rot90(frame, turn))
        own_hint = None if hint is None else _turned_box(hint, turn, frame)
        return self._checked(
            frame, [turned_back(face, turn, frame) for face in self.model.detect(copy, own_hint)]
        )

    def _checked(self, frame: U8, faces: list[FaceDetection]) -> list[FaceDetection]:
        kept = [f for f in faces if log_odds(f) > _SURE or is_upright(face_window(frame, f.landmarks68))]
        self.odd = self.odd or len(kept) < len(faces)
        return kept


def _is_better(others: list[FaceDetection], faces: list[FaceDetection], frame: U8) -> bool:
    """Whether the largest of `faces` is more likely upright as one of `others`, found upside down."""
    same = [other for other in others if iou(other.box, faces[0].box) > 0.3]
    if not same:
        return False
    surer = log_odds(same[0]) - log_odds(faces[0])
    if abs(surer) > _SURER:
        return surer > 0
    found, turned = (upright_margin(face_window(frame, f.landmarks68)) for f in (faces[0], same[0]))
    return turned - found + _WORTH * surer > _BETTER


def log_odds(face: FaceDetection) -> float:
    """Log odds that there is a face, from its score in [0,1]."""
    score = min(max(float(face.score), 1e-9), 1.0)
    return min(math.log(score) - math.log(max(1.0 - score, 1e-9)), _MOST)


def turned_back(face: FaceDetection, turn: int, frame: U8) -> FaceDetection:
    """A face found in `np.rot90(frame, turn)`, in pixels of the frame."""
    if turn == 0:
        return face
    landmarks, dense = (_points_back(points, turn, frame) for points in (face.landmarks68, face.dense))
    box = box_of(landmarks if np.isnan(dense).any() else dense)
    return FaceDetection(landmarks, dense, box, face.score)


def _points_back(points: F32, turn: int, frame: U8) -> F32:
    """Points [N,2] of a copy turned by `turn` quarters counterclockwise, in pixels of the frame."""
    height, width = frame.shape[:2]
    x, y = points[:, 0], points[:, 1]
    turned = {1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}
    return np.asarray(np.stack(turned[turn], axis=1), np.float32)


def _turned_box(box: Floats, turn: int, frame: U8) -> F32:
    """A box [4] of the frame in pixels of a copy turned by `turn` quarters."""
    if turn == 0:
        return np.asarray(box, np.float32)
    copy = np.rot90(frame, turn)
    return box_of(_points_back(np.asarray(box, np.float32).reshape(2, 2), 4 - turn, copy))
