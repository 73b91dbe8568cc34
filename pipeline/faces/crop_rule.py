"""EG3D's face crop: from five of the 68 landmarks to one sub-pixel affine per frame.

Follows EG3D's crop_images_in_the_wild.py and Deep3DFaceRecon's util/preprocess.py.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.clip import F64

Floats = npt.NDArray[np.floating[Any]]


class CropRule(Protocol):
    """Framing of faces that a generator was trained on (`inverters.generators.card.CropRule`)."""

    @property
    def points3d(self) -> object:
        """Eyes, nose tip, mouth corners (image left first), [5,3]: x right, y up, z towards the camera."""

    @property
    def rescale_factor(self) -> float:
        """Pixels per unit of `points3d` to which a face is resized."""

    @property
    def target(self) -> int:
        """Side in pixels of the square cut around the fitted origin."""

    @property
    def centre_crop(self) -> int:
        """Side in pixels of the middle of that square, which is kept and resized to the generator's size."""


def five_points(landmarks68: Floats) -> F64:
    """Reduce 68 landmarks [...,68,2] to eyes, nose tip and mouth corners [...,5,2].

    As EG3D's data preparation: eyes are the means of points 37, 40 and 43, 46, the nose is 31, the mouth 49
    and 55 (1-based).
    """
    p = np.asarray(landmarks68, dtype=np.float64)
    return np.stack(
        [
            (p[..., 36, :] + p[..., 39, :]) / 2,
            (p[..., 42, :] + p[..., 45, :]) / 2,
            p[..., 30, :],
            p[..., 48, :],
            p[..., 54, :],
        ],
        axis=-2,
    )


def fit_camera(five: Floats, points3d: Floats) -> F64:
    """Fit the affine camera [...,2,4] = (R1 tx; R2 ty) from points3d [5,3] to image points [...,5,2].

    Least squares. Image y points down, the camera's y up, as in Deep3DFaceRecon: row 2 maps to minus y.
    """
    points = np.asarray(points3d, dtype=np.float64)
    design = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    target = np.asarray(five, dtype=np.float64) * np.array([1.0, -1.0])
    camera = np.einsum("kp,...pd->...dk", np.linalg.pinv(design), target)
    return np.asarray(camera, dtype=np.float64)


def fit_crop(five: Floats, rule: CropRule) -> F64:
    """Scale and centre of the crop, [...,3] = (s, tx, ty), from five points [...,5,2].

    s = rescale_factor / ((|R1| + |R2|) / 2) of the affine camera from the rule's points to the face, in
    pixels of the `target` square per source pixel; (tx, ty) is the crop's centre in source pixels, y down.
    """
    camera = fit_camera(five, np.asarray(rule.points3d, dtype=np.float64))
    scale = rule.rescale_factor / np.linalg.norm(camera[..., :3], axis=-1).mean(axis=-1)
    return np.stack([scale, camera[..., 0, 3], -camera[..., 1, 3]], axis=-1)


def crop_affine(params: Floats, rule: CropRule, size: int) -> F64:
    """Affine [...,2,3] from source pixels to pixels of a crop of `size`, for params [...,3] of `fit_crop`.

    EG3D's steps (resize the frame by s, cut `target` around the centre, keep the middle `centre_crop`,
    resize) as one map, without their rounding to whole pixels. Scale and translation only: the roll of the
    head stays in the camera.
    """
    s, tx, ty = np.moveaxis(np.asarray(params, dtype=np.float64), -1, 0)
    zoom = size / rule.centre_crop
    zero = np.zeros_like(s)
    middle = size / 2
    row_x = np.stack([s * zoom, zero, middle - s * zoom * tx], axis=-1)
    row_y = np.stack([zero, s * zoom, middle - s * zoom * ty], axis=-1)
    return np.stack([row_x, row_y], axis=-2)
