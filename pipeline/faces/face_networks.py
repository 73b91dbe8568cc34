"""Networks that tell the people of a clip apart: the bundled one, or a file that the user names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from inverters.generators.face_embedding import read_card, read_network
from pipeline.clip import F32, U8
from pipeline.faces.face_window import face_window
from pipeline.faces.identity import FaceEmbedder, load_embedder

if TYPE_CHECKING:
    from pipeline.faces.people import Embedder

Floats = npt.NDArray[np.floating[Any]]


_THRESHOLD = 0.3
"""Cosine from which on the known face recognition networks take two pictures for one person's, at about the
error rate that their authors report."""


class BundledEmbedder:
    """Embeds faces by the bundled network; `threshold` is the cosine from which on two are of one person."""

    def __init__(self) -> None:
        self._network = read_network()
        self.threshold = float(read_card()["threshold"])

    def embed(self, images: Iterable[U8], landmarks: Iterable[Floats]) -> F32:
        """Embed the faces in images uint8 [H,W,3] at landmarks [68,2] (px): unit vectors [K,96]."""
        faces = [face_window(image, points) for image, points in zip(images, landmarks, strict=True)]
        if not faces:
            return np.zeros((0, 1), np.float32)
        pixels = torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.no_grad():
            found: F32 = self._network(pixels).numpy()
        return found


@dataclass(frozen=True)
class _NamedNetwork:
    """A face recognition network of the user with a threshold."""

    network: FaceEmbedder
    threshold: float = _THRESHOLD

    def embed(self, images: Iterable[U8], landmarks: Iterable[Floats]) -> F32:
        """Embed the faces in images uint8 [H,W,3] at landmarks [68,2] (px): [K,D]."""
        return self.network.embed(images, landmarks)


def load_face_network(path: str | None) -> Embedder:
    """The network in a file as `identity.load_embedder` takes it; None for the bundled. Raises UserError."""
    return BundledEmbedder() if path is None else _NamedNetwork(load_embedder(Path(path)))
