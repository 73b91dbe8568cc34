"""Bundle adjustment of a clip: the camera of every frame and the person's 3D landmark shape.

Units: image points in crop widths, world points in the generator's world units, angles in radians.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.clip import F64

Floats = npt.NDArray[np.floating[Any]]

POSE = 6
"""Parameters of a frame: yaw and pitch of the position, rotation vector of the view, log of the zoom."""


@dataclass(frozen=True)
class Sphere:
    """A generator's cameras: at `radius` from the origin, looking near `pivot`, `focal` in crop widths."""

    focal: float = 4.2647
    radius: float = 2.7
    pivot: tuple[float, float, float] = (0.0, 0.0, 0.2)


@dataclass(frozen=True)
class Priors:
    """Standard deviations of the Gaussian priors of the fit, in radians, crop widths and world units."""

    yaw: float = 0.5
    pitch: float = 0.035
    """Of the mean pitch of a clip. Landmarks leave it more uncertain than most talking heads vary."""
    look: float = 0.02
    """Rotation of the view away from the pivot: the crop does not centre the pivot to the pixel."""
    roll: float = 0.2
    zoom: float = 0.03
    """Of the log of the crop's scale, which follows the landmarks and so varies with the expression."""
    noise: float = 0.012
    """Independent error of one landmark, in crop widths."""


def look_at(yaw: Floats, pitch: Floats, sphere: Sphere) -> tuple[F64, F64]:
    """Rotations [T,3,3] (to the world, OpenCV axes), positions [T,3] of level cameras at the pivot."""
    direction = np.stack([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)], axis=-1)
    position = sphere.radius * direction
    forward = np.asarray(sphere.pivot) - position
    forward /= np.linalg.norm(forward, axis=-1, keepdims=True)
    right = -np.cross(np.array([0.0, 1.0, 0.0]), forward)
    right /= np.linalg.norm(right, axis=-1, keepdims=True)
    down = np.cross(forward, right)
    return np.stack([right, down, forward], axis=-1), position


def cameras(poses: Floats, sphere: Sphere) -> tuple[F64, F64]:
    """Rotations [T,3,3] and positions [T,3] of poses [T,6]; the zoom is not part of a camera."""
    from scipy.spatial.transform import Rotation  # takes as long to load as all else of a plan

    level, position = look_at(poses[:, 0], poses[:, 1], sphere)
    return level @ Rotation.from_rotvec(poses[:, 2:5]).as_matrix(), position


def to_poses(rotation: Floats, sphere: Sphere) -> F64:
    """Poses [T,6] of cameras on the sphere with rotations [T,3,3], looking through the pivot."""
    from scipy.spatial.transform import Rotation

    forward = rotation[:, :, 2]
    # the point of the sphere on the ray through the pivot: |pivot - s forward| = radius
    pivot = np.asarray(sphere.pivot)
    along = forward @ pivot
    reach = along + np.sqrt(np.maximum(along**2 - pivot @ pivot + sphere.radius**2, 0.0))
    position = pivot - reach[:, None] * forward
    poses = np.zeros((len(rotation), POSE))
    poses[:, 0] = np.arctan2(position[:, 0], position[:, 2])
    poses[:, 1] = np.arctan2(position[:, 1], np.hypot(position[:, 0], position[:, 2]))
    level, _ = look_at(poses[:, 0], poses[:, 1], sphere)
    poses[:, 2:5] = Rotation.from_matrix(np.swapaxes(level, 1, 2) @ rotation).as_rotvec()
    return poses


def project(points: Floats, poses: Floats, sphere: Sphere) -> F64:
    """Project world points [N,3] or [T,N,3] to image points [T,N,2] in crop widths."""
    rotation, position = cameras(poses, sphere)
    local = (points - position[:, None]) @ rotation
    zoom = sphere.focal * np.exp(poses[:, 5])
    return np.asarray(0.5 + zoom[:, None, None] * local[..., :2] / local[..., 2:], dtype=np.float64)


def initial_poses(points: Floats, observed: Floats, sphere: Sphere) -> F64:
    """Initial poses [T,6] from affine cameras fitted to world points [N,3] and image points [T,N,2]."""
    design = np.concatenate([points - points.mean(axis=0), np.ones((len(points), 1))], axis=1)
    rows = np.swapaxes(np.einsum("kn,tnd->tkd", np.linalg.pinv(design), observed), 1, 2)[..., :3]
    x, y = rows[:, 0], rows[:, 1]
    u, _, vt = np.linalg.svd(np.stack([x, y], axis=1), full_matrices=False)
    x, y = np.moveaxis(u @ vt, 1, 0)
    world_to_camera = np.stack([x, y, np.cross(x, y)], axis=1)
    return to_poses(np.swapaxes(world_to_camera, 1, 2), sphere)


@dataclass(frozen=True)
class Basis:
    """Linear model of N landmarks; the scores of its modes have unit variance.

    mean [N,3] in world units; person [K,N,3]: modes of a person's shape; drift [5,N,2]: displacement of a
    landmark's image with the view, for (pitch, yaw, yaw^2, yaw pitch, pitch^2); frame [L,N,2]: image modes
    that change from frame to frame (expression, errors of the landmark model); weight [N] in [0,1].
    """

    mean: F64
    person: F64
    drift: F64
    frame: F64
    weight: F64

    def shape(self, scores: Floats) -> F64:
        """Shape [N,3] of a person with scores [K]."""
        return np.asarray(self.mean + np.einsum("k,knd->nd", scores, self.person), dtype=np.float64)

    def project(self, shape: Floats, poses: Floats, sphere: Sphere) -> F64:
        """Image points [T,N,2] of a shape [N,3] seen from poses [T,6]: projection and drift."""
        slide = np.einsum("tb,bnd->tnd", view_terms(poses), self.drift)
        return np.asarray(project(shape, poses, sphere) + slide, dtype=np.float64)


def view_terms(poses: Floats) -> F64:
    """Regressors [T,5] of the drift: pitch, yaw, yaw^2, yaw pitch, pitch^2."""
    yaw, pitch = poses[:, 0], poses[:, 1]
    return np.stack([pitch, yaw, yaw * yaw, yaw * pitch, pitch * pitch], axis=-1)


def smooth_basis(
    mean: Floats,
    weight: Floats,
    person: int = 40,
    frame: int = 20,
    spread: float = 0.008,
    reach: float = 0.06,
) -> Basis:
    """Basis for a generator of which only the mean shape [N,3] is known: Gaussian processes over the face.

    A person's shape deviates by `spread` world units with correlation length `reach`; three quarters of the
    variance are symmetric. A frame's image points deviate by a third of that. `person` and `frame` are the
    numbers of modes.
    """
    mirrored = mean * np.array([-1.0, 1.0, 1.0])

    def kernel(a: Floats, b: Floats) -> F64:
        squares = ((a[:, None] - b[None]) ** 2).sum(-1)
        return np.asarray(np.exp(-0.5 * squares / reach**2), dtype=np.float64)

    own, across = kernel(mean, mean), kernel(mean, mirrored)
    across = (across + across.T) / 2
    size = len(mean)
    covariances = [spread**2 * (own + 0.75 * sign * across) for sign in (-1.0, 1.0, 1.0)]
    in_image = (spread / 3 * _WIDTHS_PER_UNIT) ** 2 * own
    return Basis(
        mean=np.asarray(mean, dtype=np.float64),
        person=np.concatenate([size_mode(mean), _leading(covariances, person).reshape(-1, size, 3)]),
        drift=np.zeros((5, size, 2)),
        frame=_leading([in_image, in_image], frame).reshape(-1, size, 2),
        weight=np.asarray(weight, dtype=np.float64),
    )


_WIDTHS_PER_UNIT = 1.7
"""Crop widths per world unit at the face."""


def size_mode(mean: Floats, scale: float = 0.06) -> F64:
    """Mode [1,N,3] of a face's size. The crop normalises most of the size, not all of it."""
    return np.asarray((scale * (mean - mean.mean(axis=0)))[None], dtype=np.float64)


def _leading(covariances: list[F64], count: int) -> F64:
    """Leading eigenmodes [count,N,D] of D independent coordinates with these covariances [N,N]."""
    size, dims = len(covariances[0]), len(covariances)
    modes = []
    for axis, covariance in enumerate(covariances):
        values, vectors = np.linalg.eigh(covariance)
        for value, vector in zip(values[::-1][:count], vectors.T[::-1][:count]):
            mode = np.zeros((size, dims))
            mode[:, axis] = np.sqrt(max(value, 0.0)) * vector
            modes.append((value, mode))
    modes.sort(key=lambda item: -item[0])
    return np.stack([mode for _, mode in modes[:count]])


@dataclass(frozen=True)
class Fit:
    """Result of `fit`: poses [T,6], frame_scores [T,L], the person's scores [K], robust weights [T,N]."""

    poses: F64
    frame_scores: F64
    scores: F64
    robust: F64


def fit(
    basis: Basis,
    observed: Floats,
    sphere: Sphere,
    priors: Priors,
    start: Fit | None = None,
    with_person: bool = True,
    frames: int | None = None,
    iterations: int = 12,
) -> Fit:
    """Fit the poses of all frames and the person's shape to image points `observed` [T,N,2] in crop widths.

    Gauss-Newton over all parameters with Cauchy weights (iteratively reweighted). The parameters of one frame
    (pose, frame modes) are eliminated by the Schur complement, so the cost is linear in T. Landmark errors
    of neighbouring frames are correlated: for the person all frames count as three independent ones, and the
    prior of the poses applies to their mean.

    start: initial values; None starts from affine cameras and the mean shape. with_person: False keeps the
    person's scores of `start`; frames are then independent, and `observed` may be a part of a clip of
    `frames` frames.
    """
    count, modes = len(observed), len(basis.frame)
    scores = np.zeros(len(basis.person)) if start is None else np.array(start.scores)
    poses = initial_poses(basis.shape(scores), observed, sphere) if start is None else np.array(start.poses)
    extra = np.zeros((count, modes)) if start is None else np.array(start.frame_scores)
    share = min(1.0, _INDEPENDENT_FRAMES / count) if with_person else 1.0
    precision = np.concatenate([_prior(priors, (frames or count) * share), np.ones(modes)])
    robust = np.ones(observed.shape[:2])
    change: F64
    for _ in range(iterations):
        residual, jac, by_point = _linearise(basis, scores, poses, extra, observed, sphere)
        residual, jac = residual / priors.noise, jac / priors.noise
        robust = 1 / (1 + (residual**2).sum(-1) / _CAUCHY**2)
        trust = robust * basis.weight * share
        state = np.concatenate([poses, extra], axis=1)
        own = np.einsum("tn,tnik,tnil->tkl", trust, jac, jac, optimize=True) + np.diag(precision * share)
        pull = np.einsum("tn,tnik,tni->tk", trust, jac, residual, optimize=True) - precision * share * state
        if with_person:
            jac_s = np.einsum("tnid,knd->tnik", by_point, basis.person, optimize=True) / priors.noise
            cross = np.einsum("tn,tnik,tnil->tkl", trust, jac, jac_s, optimize=True)
            common = np.einsum("tn,tnik,tnil->kl", trust, jac_s, jac_s, optimize=True) + np.eye(len(scores))
            toward = np.einsum("tn,tnik,tni->k", trust, jac_s, residual, optimize=True) - scores
            solved = np.linalg.solve(own, np.concatenate([cross, pull[..., None]], axis=-1))
            reduced = common - np.einsum("tpk,tpl->kl", cross, solved[..., :-1])
            step = np.linalg.solve(reduced, toward - np.einsum("tpk,tp->k", cross, solved[..., -1]))
            scores = scores + np.clip(step, -2.0, 2.0)
            change = np.asarray(solved[..., -1] - solved[..., :-1] @ step)
        else:
            change = np.asarray(np.linalg.solve(own, pull[..., None])[..., 0])
        poses += np.clip(change[:, :POSE], -0.3, 0.3)
        extra += np.clip(change[:, POSE:], -2.0, 2.0)
        if np.abs(change[:, :POSE]).max(initial=0.0) < 1e-4:
            break
    return Fit(poses, extra, scores, robust)


_INDEPENDENT_FRAMES = 3.0
"""Frames that a clip counts as: the errors of a person's landmarks are correlated over frames."""

_CAUCHY = 2.5
"""Scale of the Cauchy loss in standard deviations."""


def _linearise(
    basis: Basis, scores: Floats, poses: Floats, extra: Floats, observed: Floats, sphere: Sphere
) -> tuple[F64, F64, F64]:
    """Residuals [T,N,2]; derivatives by pose and frame modes [T,N,2,6+L] and by world point [T,N,2,3]."""
    shape = basis.shape(scores)
    base = basis.project(shape, poses, sphere)
    jac = np.empty((*base.shape, POSE + len(basis.frame)))
    step = 1e-5
    for k in range(POSE):
        moved = poses.copy()
        moved[:, k] += step
        jac[..., k] = (basis.project(shape, moved, sphere) - base) / step
    jac[..., POSE:] = np.moveaxis(basis.frame, 0, -1)
    residual = observed - base - np.einsum("tl,lnd->tnd", extra, basis.frame)
    rotation, position = cameras(poses, sphere)
    local = (shape - position[:, None]) @ rotation
    zoom = (sphere.focal * np.exp(poses[:, 5]))[:, None, None]
    # d(x/z) = (dx - (x/z) dz) / z, with d(local) = rotation^T d(point)
    ratio = local[..., :2] / local[..., 2:]
    world = np.swapaxes(rotation, 1, 2)[:, None]
    by_point = zoom[..., None] / local[..., 2:, None] * (world[:, :, :2] - ratio[..., None] * world[:, :, 2:])
    return residual, jac, by_point


def _prior(priors: Priors, frames: float) -> F64:
    """Prior precision [6] of a pose; that of yaw, pitch and roll is shared by `frames` frames."""
    sigma = np.array([priors.yaw, priors.pitch, priors.look, priors.look, priors.roll, priors.zoom])
    precision = 1 / sigma**2
    precision[[0, 1, 4]] /= max(frames, 1.0)
    return precision
