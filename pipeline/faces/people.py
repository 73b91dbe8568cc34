"""Who is who in a clip: embeddings of the faces seen, by person."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, U8
from pipeline.faces.landmark_model import FaceDetection

Floats = npt.NDArray[np.floating[Any]]

_MOST_EXEMPLARS = 32
_NEAREST = 3
"""A face is as alike to a person as the mean cosine to this many of the person's pictures nearest to it."""
_NEW = 0.97
"""Pictures more alike than this teach nothing new."""


class Embedder(Protocol):
    """Turns faces into vectors, of which two of one person point the same way."""

    @property
    def threshold(self) -> float:
        """Cosine from which on two faces count as one person's."""

    def embed(self, images: Iterable[U8], landmarks: Iterable[Floats]) -> F32:
        """Embed the faces in images uint8 [H,W,3] at landmarks [68,2] (px): [K,D]."""
        ...


def vectors(embedder: Embedder, frame: U8, faces: list[FaceDetection]) -> F32:
    """Unit vectors [n,D] of faces in a frame uint8 [H,W,3]."""
    found = embedder.embed([frame] * len(faces), [face.landmarks68 for face in faces])
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=-1, keepdims=True), 1e-9), np.float32)


@dataclass
class Person:
    """Pictures of one person as unit vectors, and where the person was last seen."""

    exemplars: list[F32] = field(default_factory=list)
    last: FaceDetection | None = None
    last_time: float = -np.inf
    clear: float = 1.0
    """How alike the last picture was to those before it."""

    def alike(self, vector: F32) -> float:
        """Mean cosine to the nearest of the person's pictures; -1 where there are none."""
        if not self.exemplars:
            return -1.0
        cosines = np.sort(np.stack(self.exemplars) @ vector)[::-1]
        return float(cosines[:_NEAREST].mean())

    def learn(self, vector: F32) -> None:
        """Keep a picture, unless there is one like it or there are many."""
        if len(self.exemplars) < _MOST_EXEMPLARS and (
            not self.exemplars or float((np.stack(self.exemplars) @ vector).max()) < _NEW
        ):
            self.exemplars.append(vector)

    def seen(self, face: FaceDetection, time: float) -> None:
        """Note where the person is at `time` seconds."""
        self.last, self.last_time = face, time
