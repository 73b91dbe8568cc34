"""MediaPipe's face mesh (478 points) with our own search for the face's region.

MediaPipe's `FaceMesh` solution detects faces with the short-range detector, which misses faces smaller than
about a fifth of the frame, and does not find a face again once it was covered. Here the landmark graph of
the same wheel gets its region directly: from the previous frame, or from the full-range detector on the
frame and the short-range detector on tiles of it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from pipeline.clip import F32, U8
from pipeline.errors import UserError
from pipeline.faces.landmark_indices import IBUG_POINTS, MESH_POINTS, mesh_to_ibug
from pipeline.faces.landmark_model import FaceDetection, Floats, box_of, distinct, hint_box, square_window

_GRAPH = """
input_stream: "image"
input_stream: "roi"
input_side_packet: "with_attention"
output_stream: "landmarks"
node {
  calculator: "FaceLandmarkCpu"
  input_stream: "IMAGE:image"
  input_stream: "ROI:roi"
  input_side_packet: "WITH_ATTENTION:with_attention"
  output_stream: "LANDMARKS:landmarks"
}
"""
_SCORE = "facelandmarkcpu__face_presence_score"

_ROI_SCALE = 1.5
"""Side of the landmark region in sizes of the face's box, as MediaPipe's own graph enlarges it."""
_SEARCH_SCALE = 3.0
"""Side of the search window around a lost face, in sizes of its last box."""
_MOVED = 0.1
"""Landmarks are computed again where their region has moved by more than this fraction of its side."""
_MIN_FACE = 12.0
"""Smallest side in pixels of a face's box."""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress what MediaPipe's native code prints to standard error while it starts."""
    try:
        keep = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(keep, 2)
        os.close(sink)
        os.close(keep)


class MediaPipeMesh:
    """Face mesh with attention to eyes and lips (Kartynnik et al. 2019; Grishchenko et al. 2020)."""

    name = "mediapipe"

    def __init__(
        self,
        min_confidence: float = 0.5,
        search_confidence: float = 0.3,
        zooms: tuple[float, ...] = (0.9, 1.12),
    ) -> None:
        """Load the networks. Raises UserError where mediapipe cannot be imported.

        min_confidence: of a detection in the whole frame; search_confidence: of one near the hint. Landmarks
        are the mean over the face's region and the region scaled by each of `zooms`: the error of the
        camera's yaw falls by a third, for 5 ms each.
        """
        self._zooms = zooms
        with _quiet():
            try:
                from google.protobuf import text_format  # type: ignore[import-untyped]
                from mediapipe.framework import calculator_pb2
                from mediapipe.framework.formats import rect_pb2
                from mediapipe.python.solution_base import SolutionBase
                from mediapipe.python.solutions import face_mesh  # noqa: F401  # registers the types
                from mediapipe.python.solutions.face_detection import FaceDetection as Detector
            except ImportError as error:
                raise UserError(
                    f"the face mesh needs mediapipe 0.10.21, which does not import: {error}"
                ) from error
            graph = text_format.Parse(_GRAPH, calculator_pb2.CalculatorGraphConfig())
            self._mesh: Any = SolutionBase(
                graph_config=graph, side_inputs={"with_attention": True}, outputs=["landmarks", _SCORE]
            )
            self._rect = rect_pb2.NormalizedRect
            confidence = min(min_confidence, search_confidence)
            self._near: Any = Detector(model_selection=0, min_detection_confidence=confidence)
            self._far: Any = Detector(model_selection=1, min_detection_confidence=confidence)
            # the first run loads the networks and prints to standard error
            blank = np.zeros((64, 64, 3), dtype=np.uint8)
            for detector in (self._near, self._far):
                detector.process(blank)
            self._landmarks(blank, np.array([32.0, 32.0]), 32.0, 0.0)
        self._min_confidence = min_confidence
        self._search_confidence = search_confidence

    def close(self) -> None:
        """Free the MediaPipe graphs."""
        for graph in (self._mesh, self._near, self._far):
            graph.close()

    def detect(self, frame: U8, hint: Floats | None = None) -> list[FaceDetection]:
        """Detect faces in `frame` (uint8 [H,W,3] RGB), the largest first; with `hint`, the nearest one."""
        if hint is None:
            return self._all_faces(frame)
        if hint.ndim == 2:
            face = self._face(frame, *_roi_of_landmarks(hint))
            if face is not None:
                return [face]
        box = hint_box(hint)
        side = _SEARCH_SCALE * max(float((box[2:] - box[:2]).max()), _MIN_FACE)
        window, corner = square_window(frame, (box[:2] + box[2:]) / 2, side)
        faces = self._faces_in(frame, self._near, window, corner, self._search_confidence)
        faces = faces or self._faces_in(frame, self._far, window, corner, self._search_confidence)
        center = (box[:2] + box[2:]) / 2
        return sorted(faces, key=lambda f: float(np.linalg.norm((f.box[:2] + f.box[2:]) / 2 - center)))[:1]

    def _all_faces(self, frame: U8) -> list[FaceDetection]:
        faces: list[FaceDetection] = []
        for window, corner in _tiles(frame):
            # faces in tiles have the size that the short-range detector was made for
            whole = window.shape == frame.shape
            detector = self._far if whole else self._near
            faces += self._faces_in(frame, detector, window, corner, self._min_confidence)
            if whole and faces:
                break
        return distinct(faces)

    def _faces_in(
        self, frame: U8, detector: Any, window: U8, corner: F32, confidence: float
    ) -> list[FaceDetection]:
        """Faces that `detector` finds in a window of the frame and that yield landmarks."""
        found = detector.process(np.ascontiguousarray(window)).detections or []
        size = np.array([window.shape[1], window.shape[0]], dtype=np.float64)
        faces = []
        for detection in found:
            if detection.score[0] < confidence:
                continue
            data = detection.location_data
            box = data.relative_bounding_box
            extent = np.array([box.width, box.height]) * size
            center = np.array([box.xmin, box.ymin]) * size + extent / 2 + corner
            eyes = np.array([[point.x, point.y] for point in data.relative_keypoints[:2]]) * size
            angle = float(np.arctan2(*(eyes[1] - eyes[0])[::-1]))
            face = self._face(frame, center, _ROI_SCALE * float(extent.max()), angle, settle=True)
            if face is not None:
                faces.append(face)
        return faces

    def _face(
        self, frame: U8, center: Floats, side: float, angle: float, settle: bool = False
    ) -> FaceDetection | None:
        """Landmarks of the face in a region, computed again on their own region if it differs or `settle`."""
        if side < _ROI_SCALE * _MIN_FACE:
            return None
        dense, score = self._landmarks(frame, center, side, angle)
        if dense is None:
            return None
        again, again_side, again_angle = _roi_of_landmarks(dense)
        if settle or np.abs(again - center).max() > _MOVED * side or abs(again_side / side - 1) > _MOVED:
            dense, score = self._landmarks(frame, again, again_side, again_angle)
            if dense is None:
                return None
            again, again_side, again_angle = _roi_of_landmarks(dense)
        readings = [dense]
        for zoom in self._zooms:
            reading, _ = self._landmarks(frame, again, zoom * again_side, again_angle)
            if reading is not None:
                readings.append(reading)
        mean = np.mean(readings, axis=0, dtype=np.float64).astype(np.float32)
        box = box_of(mean)
        if (box[2:] - box[:2]).min() < _MIN_FACE:
            return None
        return FaceDetection(mesh_to_ibug(mean).astype(np.float32), mean, box, score)

    def _landmarks(self, frame: U8, center: Floats, side: float, angle: float) -> tuple[F32 | None, float]:
        """Mesh [478,2] in source pixels of the face in a square region rotated by `angle`, and its score."""
        # the graph handles a rotated region correctly only in a square image
        window, corner = square_window(frame, center, side * 1.5)
        size = float(window.shape[0])
        local = (np.asarray(center, dtype=np.float64) - corner) / size
        roi = self._rect(
            x_center=local[0], y_center=local[1], width=side / size, height=side / size, rotation=angle
        )
        out = self._mesh.process({"image": window, "roi": roi})
        if out.landmarks is None:
            return None, 0.0
        points = np.array([[p.x, p.y] for p in out.landmarks.landmark], dtype=np.float64)
        return (points * size + corner).astype(np.float32), float(getattr(out, _SCORE))


def _roi_of_landmarks(points: Floats) -> tuple[Floats, float, float]:
    """Centre [2], side and angle (rad) of the landmark region of a face with points [478,2] or [68,2]."""
    left_eye, right_eye = (33, 263) if len(points) == MESH_POINTS else (36, 45)
    box = box_of(points).astype(np.float64)
    if len(points) == IBUG_POINTS:
        # the 68 points end at the brows, the mesh at the hairline
        box[1] -= 0.3 * (box[3] - box[1])
    axis = points[right_eye] - points[left_eye]
    side = _ROI_SCALE * float((box[2:] - box[:2]).max())
    return (box[:2] + box[2:]) / 2, side, float(np.arctan2(axis[1], axis[0]))


def _tiles(frame: U8) -> Iterator[tuple[U8, F32]]:
    """Yield the frame, then overlapping squares of its short side and, from 720 pixels on, of half of it.

    Each comes with its upper left corner [2] in the frame.
    """
    height, width = frame.shape[:2]
    yield frame, np.zeros(2, dtype=np.float32)
    short = min(height, width)
    sides = [short] if short < 720 else [short, short // 2]
    for side in sides:
        columns = max(1, int(np.ceil((width - side) / (side / 2))) + 1)
        rows = max(1, int(np.ceil((height - side) / (side / 2))) + 1)
        for y in np.linspace(0, height - side, rows).astype(int):
            for x in np.linspace(0, width - side, columns).astype(int):
                yield frame[y : y + side, x : x + side], np.array([x, y], dtype=np.float32)
