"""Landmark model `fan`: FAN (Bulat and Tzimiropoulos 2017) of the package face-alignment."""

from __future__ import annotations

import urllib.error
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.clip import F32, U8
from pipeline.errors import UserError
from pipeline.faces.landmark_model import FaceDetection, Floats, LandmarkModel, box_of, no_mesh


def weights_path() -> Path:
    """Path at which face-alignment caches the weights of its 2D network."""
    import torch
    from face_alignment.api import models_urls

    return Path(torch.hub.get_dir()) / "checkpoints" / Path(models_urls["2DFAN-4"]).name


class FanLandmarks:
    """FAN's 68 landmarks in the faces that MediaPipe detects."""

    name = "fan"

    def __init__(
        self, download: bool = False, finder: LandmarkModel | None = None, network: Any = None
    ) -> None:
        """Load the network; with `download` its weights may be fetched. Raises UserError without weights.

        finder: detects the faces; None takes MediaPipe. network: replaces face-alignment's.
        """
        self._network = network if network is not None else _load(download)
        if finder is None:
            from pipeline.faces.mediapipe_mesh import MediaPipeMesh

            finder = MediaPipeMesh()
        self._finder = finder

    def close(self) -> None:
        """Free the face detector."""
        self._finder.close()

    def detect(self, frame: U8, hint: Floats | None = None) -> list[FaceDetection]:
        """Detect faces in `frame` (uint8 [H,W,3] RGB), the largest first; with `hint`, the nearest one."""
        faces = self._finder.detect(frame, hint)
        if not faces:
            return []
        points = self._network.get_landmarks_from_image(frame, detected_faces=[f.box for f in faces])
        return [self._replace(face, p) for face, p in zip(faces, points)]

    @staticmethod
    def _replace(face: FaceDetection, points: Floats) -> FaceDetection:
        # FAN puts pixel centres at whole numbers, we put them at +0.5
        landmarks: F32 = (np.asarray(points, dtype=np.float32)[:, :2] + 0.5).astype(np.float32)
        return FaceDetection(landmarks, no_mesh(), box_of(landmarks), face.score)


def fan_with_download() -> FanLandmarks:
    """FAN whose weights are fetched by face-alignment where they are missing."""
    return FanLandmarks(download=True)


def _load(download: bool) -> Any:
    path = weights_path()
    if not path.exists() and not download:
        raise UserError(
            f"the detector 'fan' needs the file {path}, which is not there; put FAN's 2DFAN4 weights there, "
            "let them be fetched with --detector fan:download, or use --detector mediapipe"
        )
    import face_alignment

    try:
        # `folder` is the face detector that needs no weights; the boxes come from our own detector
        return face_alignment.FaceAlignment(
            face_alignment.LandmarksType.TWO_D,
            device="cpu",
            flip_input=False,
            face_detector="folder",
            compile=False,
        )
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise UserError(
            f"the weights of the detector 'fan' could be neither read from {path} nor fetched ({error}); "
            "use --detector mediapipe"
        ) from error
