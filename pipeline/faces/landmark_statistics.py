"""Statistics of a generator's 3D landmarks: mean shape, modes of persons and frames, drift with the view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, F64, I64
from pipeline.faces.bundle_adjustment import (
    Basis,
    Sphere,
    project,
    size_mode,
    smooth_basis,
    to_poses,
    view_terms,
)
from pipeline.faces.landmark_indices import mesh_to_ibug, mirror_pairs

Floats = npt.NDArray[np.floating[Any]]

MESH_KEYS = ("mediapipe478", "478")
IBUG_KEYS = ("ibug68", "68")
_PERSON, _DRIFT, _FRAME = "478_person", "478_drift", "478_frame"

_PERSON_MODES = 12
_FRAME_MODES = 12


@dataclass(frozen=True)
class Landmarks3D:
    """Landmark statistics of a generator, in world units.

    mesh [478,3], ibug [68,3]: the mean face; person, drift, frame: modes as in `bundle_adjustment.Basis`;
    faces: number used of those `asked` for; residual: median reprojection error in crop widths; spread:
    median over points of the standard deviation over faces.
    """

    mesh: F64
    ibug: F64
    person: F64
    drift: F64
    frame: F64
    faces: int
    asked: int
    residual: float
    spread: float

    def as_card(self) -> dict[str, F32]:
        """Arrays for a generator's card, by name."""
        arrays = {
            "478": self.mesh,
            "68": self.ibug,
            _PERSON: self.person,
            _DRIFT: self.drift,
            _FRAME: self.frame,
        }
        return {name: array.astype(np.float32) for name, array in arrays.items()}

    def report(self) -> dict[str, float]:
        """Figures for a generator's card."""
        return {
            "faces": self.faces,
            "faces_asked": self.asked,
            "residual_crop_widths": self.residual,
            "spread_world_units": self.spread,
        }


def summarise(
    shapes: Floats, observed: Floats, cam2world: Floats, sphere: Sphere, asked: int | None = None
) -> Landmarks3D:
    """Statistics of F triangulated shapes [F,478,3] and of their observations.

    observed [F,V,478,2] in crop widths, NaN in views without a detection; cam2world [F,V,4,4]. Each face
    enters with its mirror image, so all statistics are symmetric. The mean is the median of each point over
    faces; modes are principal components scaled by their standard deviations.
    """
    mean = np.median(shapes, axis=0)
    pairs = mirror_pairs(mean)
    mean = (mean + _mirrored(mean, pairs)) / 2
    poses, residuals = [], []
    for shape, points, cameras in zip(shapes, observed, cam2world):
        seen = ~np.isnan(points[:, 0, 0])
        pose = to_poses(cameras[seen, :3, :3], sphere)
        poses.append(pose)
        residuals.append(points[seen] - project(shape, pose, sphere))
    pose, residual = np.concatenate(poses), np.concatenate(residuals)
    typical = float(np.median(np.linalg.norm(residual, axis=-1)))
    mirror_pose = pose * np.array([-1.0, 1.0, 1.0, -1.0, -1.0, 1.0])
    terms = view_terms(np.concatenate([pose, mirror_pose]))
    both = np.concatenate([residual, residual[:, pairs] * np.array([-1.0, 1.0])])
    flat = both.reshape(len(both), -1)
    drift = np.linalg.lstsq(terms, flat, rcond=None)[0]
    # degrees of freedom: triangulation has fitted three of a landmark's 2 V numbers
    views = 2 * len(pose) / len(shapes)
    freed = np.sqrt(views / max(views - 3, 1.0))
    frame = _components((flat - terms @ drift) * freed, _FRAME_MODES).reshape(-1, len(mean), 2)
    offsets = shapes - mean
    offsets = np.concatenate([offsets, _mirrored(offsets, pairs)])
    person = _components(offsets.reshape(len(offsets), -1), _PERSON_MODES).reshape(-1, len(mean), 3)
    return Landmarks3D(
        mesh=mean,
        ibug=mesh_to_ibug(mean),
        person=person,
        drift=drift.reshape(-1, len(mean), 2),
        frame=frame,
        faces=len(shapes),
        asked=len(shapes) if asked is None else asked,
        residual=typical,
        spread=float(np.median(np.linalg.norm(shapes.std(axis=0), axis=-1))),
    )


def basis_of(landmarks3d: Mapping[str, Floats], chosen: I64, weight: Floats, mesh: bool) -> Basis | None:
    """Basis of the points `chosen` of the mesh or of the 68; None where the card has no such points.

    landmarks3d: arrays of the generator's card by name. From a card with a mean shape alone,
    `smooth_basis` assumes the modes.
    """
    mean = next((landmarks3d[k] for k in (MESH_KEYS if mesh else IBUG_KEYS) if k in landmarks3d), None)
    if mean is None:
        return None
    mean = np.asarray(mean, dtype=np.float64)[chosen]
    if not mesh or any(key not in landmarks3d for key in (_PERSON, _DRIFT, _FRAME)):
        return smooth_basis(mean, weight)
    person, drift, frame = (
        np.asarray(landmarks3d[k], dtype=np.float64)[:, chosen] for k in (_PERSON, _DRIFT, _FRAME)
    )
    return Basis(
        mean, np.concatenate([size_mode(mean), person]), drift, frame, np.asarray(weight, dtype=np.float64)
    )


def _mirrored(points: Floats, pairs: I64) -> Floats:
    return np.asarray(points[..., pairs, :] * np.array([-1.0, 1.0, 1.0]))


def _components(samples: Floats, count: int) -> F64:
    """Principal components [count,D] of zero-mean samples [S,D], each times its standard deviation."""
    _, values, vectors = np.linalg.svd(samples / np.sqrt(len(samples)), full_matrices=False)
    count = min(count, len(values))
    return np.asarray(values[:count, None] * vectors[:count], dtype=np.float64)
