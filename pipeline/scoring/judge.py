"""The judge: regressors of head parameters from images, independent of the generator.

Two regressors, trained on true renders of people: a linear map of the face mesh's landmarks
(expression, gaze, proportions), and a small network on pixels (colour, hair, beard, age). Each parameter is
read by the one with the higher correlation on held-out heads.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inverters.errors import CheckpointError
from inverters.generators.judge import Judge as NetworkJudge
from inverters.generators.small_files import parse_json
from inverters.people.params import PARAMETERS
from pipeline.clip import F32, F64, U8

LANDMARK_JUDGE = Path(__file__).with_name("landmark_judge.safetensors")
_COMPONENTS, _TURNED = 80, 40
"""Principal components of the landmarks, and number of those that also enter as products with the first two,
which are the rotation of the head.
"""
_RIDGE = 60.0


def landmark_features(points: F32) -> F64:
    """Landmarks [N,478,2] normalised in position and size: [N,956]."""
    shape = points.astype(np.float64)
    shape = shape - shape.mean(axis=1, keepdims=True)
    shape /= np.sqrt(np.square(shape).sum(axis=(1, 2), keepdims=True))
    flat: F64 = shape.reshape(len(points), -1)
    return flat


class LandmarkJudge:
    """Ridge regression of parameters from the dense landmarks of MediaPipe's face mesh."""

    def __init__(self, arrays: dict[str, npt.NDArray[Any]], correlation: dict[str, float]) -> None:
        """arrays: weights by name; correlation: with the truth on held-out heads, by parameter."""
        self.arrays, self.correlation = arrays, correlation
        self._mesh: Any = None

    @classmethod
    def load(cls, path: Path = LANDMARK_JUDGE) -> LandmarkJudge:
        """Load weights; raises CheckpointError where they are missing or of other parameters."""
        from safetensors import safe_open

        if not path.exists():
            raise CheckpointError(f"the landmark judge is missing at {path}; `invid train-landmark-judge`")
        with safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            correlation = parse_json((file.metadata() or {}).get("correlation", "{}"))
        if list(correlation) != [p.name for p in PARAMETERS]:
            raise CheckpointError(f"the landmark judge at {path} reads other parameters than heads have")
        return cls(arrays, correlation)

    def save(self, path: Path) -> None:
        """Write weights and correlations to a .safetensors file."""
        from safetensors.numpy import save_file

        save_file(self.arrays, path, {"correlation": json.dumps(self.correlation)})

    @classmethod
    def fit(cls, points: F32, scores: F32) -> LandmarkJudge:
        """Fit to landmarks [N,478,2] of heads with scores [N,P]; a quarter is held out to measure it."""
        features = landmark_features(points)
        held = np.arange(len(features)) % 4 == 0
        mean = features[~held].mean(axis=0)
        _, values, basis = np.linalg.svd(features[~held] - mean, full_matrices=False)
        scale = values[:_COMPONENTS] / np.sqrt((~held).sum())
        arrays = {
            "mean": mean,
            "basis": (basis[:_COMPONENTS] / scale[:, None]).T,
            "bias": scores[~held].mean(0),
        }
        terms = _terms(features, arrays)
        a = terms[~held]
        ridge = a.T @ a + _RIDGE * np.eye(a.shape[1])
        arrays["weights"] = np.linalg.solve(ridge, a.T @ (scores[~held] - arrays["bias"]))
        guess = terms[held] @ arrays["weights"]
        correlation = {
            p.name: round(float(np.corrcoef(guess[:, k], scores[held, k])[0, 1]), 4)
            for k, p in enumerate(PARAMETERS)
        }
        small = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
        return cls(small, correlation)

    def landmarks(self, image: U8) -> F32 | None:
        """Dense landmarks [478,2] of the face in an image uint8 [S,S,3]; None without a face."""
        if self._mesh is None:
            from pipeline.faces.mediapipe_mesh import MediaPipeMesh

            self._mesh = MediaPipeMesh()
        found = self._mesh.detect(np.ascontiguousarray(image))
        return found[0].dense if found else None

    def scores(self, images: Any) -> F32:
        """Scores [N,P], standard normal, of crops uint8 [N,S,S,3]; NaN without a face."""
        out = np.full((len(images), len(PARAMETERS)), np.nan, np.float32)
        for k in range(len(images)):
            points = self.landmarks(np.asarray(images[k]))
            if points is not None:
                terms = _terms(landmark_features(points[None]), self.arrays)
                out[k] = (terms @ self.arrays["weights"] + self.arrays["bias"])[0]
        return out


class Judge:
    """Both regressors; `correlation[name]`: of the one that reads a parameter, on held-out heads."""

    def __init__(self) -> None:
        """Load both; raises CheckpointError where weights are missing."""
        self.network, self.mesh = NetworkJudge(), LandmarkJudge.load()
        self.by_mesh = np.array(
            [self.mesh.correlation[p.name] > self.network.correlation[p.name] for p in PARAMETERS]
        )
        self.correlation = {
            p.name: max(self.mesh.correlation[p.name], self.network.correlation[p.name]) for p in PARAMETERS
        }

    def scores(self, images: Any) -> F32:
        """Scores [N,P], standard normal, of crops uint8 [N,S,S,3]; NaN where the mesh finds no face."""
        import torch

        parts = []
        for start in range(0, len(images), 16):
            pixels = torch.from_numpy(np.asarray(images[start : start + 16])).permute(0, 3, 1, 2)
            parts.append(self.network.scores(pixels.float() / 127.5 - 1).numpy())
        found: F32 = np.where(self.by_mesh, self.mesh.scores(images), np.concatenate(parts))
        return found


def _terms(features: F64, arrays: dict[str, npt.NDArray[Any]]) -> F64:
    """Regressors [N,80 + 2 * 40]: components, and their products with the first two."""
    parts = (features - arrays["mean"]) @ arrays["basis"]
    turned = parts[:, :2, None] * parts[:, None, :_TURNED]
    terms: F64 = np.concatenate([parts, turned.reshape(len(parts), -1)], axis=1)
    return terms


def fit_landmark_judge(folder: Path, count: int, out: Path | None = None) -> tuple[LandmarkJudge, int, int]:
    """Fit the landmark judge to one picture of each of the stored people in `folder`, and write it.

    out: unless given, the bundled judge. Returns the judge, the number of pictures with a face, and of
    pictures, at most `count`.
    """
    from inverters.training.people_pictures import open_set

    stored = open_set(folder)
    reader = LandmarkJudge({}, {})
    points, scores = [], []
    pictures = min(count, len(stored))
    for person in range(pictures):
        found = stored.read([person], [[person % 2]], ("image", "scores"))
        pixels = found["image"][0, 0].permute(1, 2, 0).numpy()
        landmarks = reader.landmarks(pixels.repeat(2, axis=0).repeat(2, axis=1))
        if landmarks is not None:
            points.append(landmarks)
            scores.append(found["scores"][0].numpy())
    judge = LandmarkJudge.fit(np.stack(points), np.stack(scores))
    judge.save(out or LANDMARK_JUDGE)
    return judge, len(points), pictures
