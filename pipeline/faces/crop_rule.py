"""EG3D's face crop: from five of the 68 landmarks to one sub-pixel affine a frame."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.clip import F64

Floats = npt.NDArray[np.floating[Any]]


class CropRule(Protocol):
    """How a generator wants its faces framed (`inverters.generators.card.CropRule`).

    points3d [5,3]: eyes, nose tip, mouth corners (image left first), x right, y up, z towards the camera; a
    face whose landmarks are seen at `scale` pixels per unit is resized by rescale_factor / scale; a square of
    `target` pixels is cut around the fitted origin, of which the middle `centre_crop` pixels are kept and
    resized to the generator's size.
    """

    @property
    def points3d(self) -> object: ...

    @property
    def rescale_factor(self) -> float: ...

    @property
    def target(self) -> int: ...

    @property
    def centre_crop(self) -> int: ...


def five_points(landmarks68: Floats) -> F64:
    """Five points of the 68: [...,68,2] -> [...,5,2].

    EG3D's data preparation: eyes are the means of points 37,40 and 43,46, the nose is 31, the mouth 49 and 55
    (1-based).
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
    """Least-squares affine camera [...,2,4] = (R1 tx; R2 ty) from points3d [5,3] to image points [...,5,2], y
    down.

    The camera's y axis points up, as in Deep3DFaceRecon's util/preprocess.py: row 2 maps to minus y.
    """
    points = np.asarray(points3d, dtype=np.float64)
    design = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    target = np.asarray(five, dtype=np.float64) * np.array([1.0, -1.0])
    camera = np.einsum("kp,...pd->...dk", np.linalg.pinv(design), target)
    return np.asarray(camera, dtype=np.float64)


def fit_crop(five: Floats, rule: CropRule) -> F64:
    """Scale and centre of the crop: [...,5,2] -> [...,3] = (s, tx, ty).

    s = rescale_factor / ((|R1| + |R2|) / 2) of the affine camera that takes the rule's points to the face
    (Deep3DFaceRecon util/preprocess.py, EG3D crop_images_in_the_wild.py). s is in pixels of the `target`
    square per source pixel; (tx, ty) is the crop's centre in source pixels, y down.
    """
    camera = fit_camera(five, np.asarray(rule.points3d, dtype=np.float64))
    scale = rule.rescale_factor / np.linalg.norm(camera[..., :3], axis=-1).mean(axis=-1)
    return np.stack([scale, camera[..., 0, 3], -camera[..., 1, 3]], axis=-1)


def crop_affine(params: Floats, rule: CropRule, size: int) -> F64:
    """Affine [...,2,3] from source pixels to pixels of a crop of `size`, for params [...,3] of `fit_crop`.

    The official steps (resize the frame by s, cut `target` around the centre, keep the middle `centre_crop`,
    resize) in one map, without their rounding to whole pixels. Scale and translation only: the head's roll
    stays in the camera.
    """
    s, tx, ty = np.moveaxis(np.asarray(params, dtype=np.float64), -1, 0)
    zoom = size / rule.centre_crop
    zero = np.zeros_like(s)
    middle = size / 2
    row_x = np.stack([s * zoom, zero, middle - s * zoom * tx], axis=-1)
    row_y = np.stack([zero, s * zoom, middle - s * zoom * ty], axis=-1)
    return np.stack([row_x, row_y], axis=-2)
