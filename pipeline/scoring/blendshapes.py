"""Blendshapes of faces in pictures: by MediaPipe's face landmarker, or by a map of our own from landmarks.

MediaPipe's file is not shipped. The map of our own reads the same landmarks of the face mesh and is fitted on
true pictures of people, whose face actions carry the names of MediaPipe's blendshapes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from inverters.errors import CheckpointError
from inverters.generators.small_files import parse_json
from pipeline.clip import F32, F64, U8
from pipeline.errors import UserError
from pipeline.faces.mediapipe_mesh import MediaPipeMesh

BLENDSHAPE_MAP = Path(__file__).with_name("blendshape_map.safetensors")

_SIDES = ("Left", "Right")
NAMES: tuple[str, ...] = (
    *("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    *("cheekPuff", "cheekSquintLeft", "cheekSquintRight"),
    *(
        f"eye{kind}{side}"
        for kind in ("Blink", "LookDown", "LookIn", "LookOut", "LookUp", "Squint", "Wide")
        for side in _SIDES
    ),
    *("jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthDimpleLeft", "mouthDimpleRight"),
    *("mouthFrownLeft", "mouthFrownRight", "mouthFunnel", "mouthLeft", "mouthLowerDownLeft"),
    *("mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight"),
    *("mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft"),
    *("mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight"),
    *("noseSneerLeft", "noseSneerRight"),
)
"""Blendshapes that a reader returns, in MediaPipe's order, without its `_neutral`."""

COMPONENTS: Mapping[str, Mapping[str, float]] = {
    "smile": {"mouthSmileLeft": 0.5, "mouthSmileRight": 0.5},
    "jaw": {"jawOpen": 1.0},
    "blink": {"eyeBlinkLeft": 0.5, "eyeBlinkRight": 0.5},
    "gaze": {"eyeLookOutLeft": 0.5, "eyeLookInRight": 0.5, "eyeLookOutRight": -0.5, "eyeLookInLeft": -0.5},
    "brows": {
        **{"browInnerUp": 1 / 3, "browOuterUpLeft": 1 / 3, "browOuterUpRight": 1 / 3},
        **{"browDownLeft": -0.5, "browDownRight": -0.5},
    },
}
"""Blendshapes whose weighted sum measures an edit; gaze: to the image's right, brows: upwards."""

_PRINCIPAL, _TURNED = 60, 20
"""Principal components of the landmarks, and those that also enter as products with the first two."""
_RIDGE = 100.0


class BlendshapeReader(Protocol):
    """Something that reads blendshapes from pictures."""

    name: str

    def read(self, image: U8) -> F32 | None:
        """Blendshapes [len(NAMES)] of the face in an image uint8 [S,S,3]; None without a face."""
        ...


def component(shapes: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """Strength [...] of the edit `name` of COMPONENTS in blendshapes [...,len(NAMES)]."""
    weights = COMPONENTS[name]
    return sum((w * shapes[..., NAMES.index(n)] for n, w in weights.items()), np.zeros(shapes.shape[:-1]))


class MediaPipeBlendshapes:
    """MediaPipe's face landmarker with blendshapes."""

    name = "MediaPipe"

    def __init__(self, path: Path) -> None:
        """path: the landmarker's .task file. Raises UserError where it is missing or cannot be loaded."""
        if not path.is_file():
            raise UserError(f"{path}: there is no such file; MediaPipe's face landmarker (.task) is needed")
        from mediapipe.tasks.python import BaseOptions, vision

        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_buffer=path.read_bytes()), output_face_blendshapes=True
        )
        try:
            self._landmarker: Any = vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"{path}: MediaPipe cannot load it as a face landmarker ({reason})") from None

    def read(self, image: U8) -> F32 | None:
        """Blendshapes [len(NAMES)] of the face in an image uint8 [S,S,3]; None without a face."""
        import mediapipe

        pixels = np.ascontiguousarray(image)
        seen = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
        faces = self._landmarker.detect(seen).face_blendshapes
        if not faces:
            return None
        found = {shape.category_name: shape.score for shape in faces[0]}
        return np.array([found[name] for name in NAMES], np.float32)


class LandmarkBlendshapes:
    """Ridge regression of face actions from the 478 landmarks of the face mesh."""

    name = "map of our own from landmarks"

    def __init__(self, arrays: dict[str, npt.NDArray[Any]], card: dict[str, Any] | None = None) -> None:
        """arrays: weights by name; card: how well it reads, for people to see."""
        self.arrays, self.card = arrays, card or {}
        self._mesh: MediaPipeMesh | None = None

    @classmethod
    def load(cls, path: Path = BLENDSHAPE_MAP) -> LandmarkBlendshapes:
        """Load weights; raises CheckpointError where they are missing or of other blendshapes."""
        from safetensors import safe_open

        if not path.exists():
            raise CheckpointError(
                f"the map to blendshapes is missing at {path}; `python -m benchmarks.blendshape_map`"
            )
        with safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            card = parse_json((file.metadata() or {}).get("card", "{}"))
        if card.get("names") != list(NAMES):
            raise CheckpointError(f"the map at {path} reads other blendshapes than MediaPipe's")
        return cls(arrays, card)

    def save(self, path: Path) -> None:
        """Write weights and card to a .safetensors file."""
        from safetensors.numpy import save_file

        kinds = {"basis": np.float16, "weights": np.float16}
        kept = {n: np.ascontiguousarray(a, kinds.get(n, np.float32)) for n, a in self.arrays.items()}
        save_file(kept, path, {"card": json.dumps(self.card | {"names": list(NAMES)})})

    @classmethod
    def fit(cls, points: F32, shapes: F32) -> LandmarkBlendshapes:
        """Fit to landmarks [N,478,2] of faces with blendshapes [N,len(NAMES)]."""
        features = features_of(points)
        mean = features.mean(axis=0)
        _, values, basis = np.linalg.svd(features - mean, full_matrices=False)
        rank = min(_PRINCIPAL, int((values > 1e-3 * values[0]).sum()))
        scale = values[:rank] / np.sqrt(len(points))
        arrays = {"mean": mean, "basis": basis[:rank].T, "scale": scale, "bias": shapes.mean(0)}
        terms = _terms(features, arrays)
        ridge = terms.T @ terms + _RIDGE * np.eye(terms.shape[1])
        arrays["weights"] = np.linalg.solve(ridge, terms.T @ (shapes - arrays["bias"]))
        return cls(arrays)

    def read(self, image: U8) -> F32 | None:
        """Blendshapes [len(NAMES)] of the face in an image uint8 [S,S,3]; None without a face."""
        points = self.landmarks(image)
        return None if points is None else self.of(points[None])[0]

    def landmarks(self, image: U8) -> F32 | None:
        """Dense landmarks [478,2] in pixels of the face in an image uint8 [S,S,3]; None without a face."""
        if self._mesh is None:
            self._mesh = MediaPipeMesh()
        found = self._mesh.detect(np.ascontiguousarray(image))
        dense: F32 | None = found[0].dense if found else None
        return dense

    def of(self, points: F32) -> F32:
        """Blendshapes [N,len(NAMES)] in [0,1] of faces with landmarks [N,478,2]."""
        terms = _terms(features_of(points), self.arrays)
        shapes = terms @ self.arrays["weights"].astype(np.float64) + self.arrays["bias"]
        found: F32 = np.clip(shapes, 0.0, 1.0).astype(np.float32)
        return found


def features_of(points: F32) -> F64:
    """Landmarks [N,478,2] without position, size and roll: [N,956]."""
    z = points[..., 0].astype(np.float64) + 1j * points[..., 1]
    z = z - z.mean(axis=1, keepdims=True)
    z = z / np.sqrt(np.square(np.abs(z)).mean(axis=1, keepdims=True))
    eyes = z[:, 263] - z[:, 33]  # outer corners, image left to right
    z = z * (np.abs(eyes) / eyes)[:, None]
    found: F64 = np.concatenate([z.real, z.imag], axis=1)
    return found


def _terms(features: F64, arrays: dict[str, npt.NDArray[Any]]) -> F64:
    """Regressors: components, and products of the first two, which are the head's turn, with the first."""
    parts = (features - arrays["mean"]) @ arrays["basis"].astype(np.float64) / arrays["scale"]
    turned = parts[:, :2, None] * parts[:, None, :_TURNED]
    terms: F64 = np.concatenate([parts, turned.reshape(len(parts), -1)], axis=1)
    return terms


def load_reader(path: Path | None) -> BlendshapeReader:
    """MediaPipe's reader where its file is named, else the map of our own."""
    return LandmarkBlendshapes.load() if path is None else MediaPipeBlendshapes(path)
