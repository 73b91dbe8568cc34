"""Cameras of a clip and the face's landmark shape, fitted together (a small bundle adjustment on the camera sphere)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from pipeline.clip import F64

Floats = npt.NDArray[np.floating]

POSE = 6
"""Numbers a frame: yaw, pitch of the position on the sphere; turn of the view about x, y, z; log of the crop's zoom."""


@dataclass(frozen=True)
class Sphere:
    """The generator's camera rule: position at `radius` from the origin, looking near `pivot`, `focal` in crop widths."""

    focal: float = 4.2647
    radius: float = 2.7
    pivot: tuple[float, float, float] = (0.0, 0.0, 0.2)


@dataclass(frozen=True)
class Priors:
    """Standard deviations that hold the fit where landmarks say little; radians, crop widths, world units."""

    yaw: float = 0.6
    pitch: float = 0.35
    look: float = 0.02
    """Turn of the view away from the pivot: the crop does not centre the pivot to the pixel."""
    roll: float = 0.3
    zoom: float = 0.02
    """The crop's scale follows the landmarks, so it wavers with the expression; focal and radius do not."""
    noise: float = 0.008
    """Error of one landmark in crop widths, mostly what its definition shifts by with the view."""


def look_at(yaw: Floats, pitch: Floats, sphere: Sphere) -> tuple[F64, F64]:
    """Rotations [T,3,3] (camera to world, OpenCV axes) and positions [T,3] of level cameras that look at the pivot."""
    direction = np.stack([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)], axis=-1)
    position = sphere.radius * direction
    forward = np.asarray(sphere.pivot) - position
    forward /= np.linalg.norm(forward, axis=-1, keepdims=True)
    right = -np.cross(np.array([0.0, 1.0, 0.0]), forward)
    right /= np.linalg.norm(right, axis=-1, keepdims=True)
    down = np.cross(forward, right)
    return np.stack([right, down, forward], axis=-1), position


def cameras(poses: Floats, sphere: Sphere) -> tuple[F64, F64]:
    """Rotations [T,3,3] and positions [T,3] of poses [T,6] (the zoom is no part of a camera)."""
    level, position = look_at(poses[:, 0], poses[:, 1], sphere)
    return level @ Rotation.from_rotvec(poses[:, 2:5]).as_matrix(), position


def to_poses(rotation: Floats, sphere: Sphere) -> F64:
    """Poses [T,6] of cameras with these rotations [T,3,3] that look towards the pivot as well as the sphere lets them."""
    forward = rotation[:, :, 2]
    # the sphere's point behind the pivot: |pivot - s forward| = radius
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
    """Image points [T,N,2] in crop widths of world points [N,3] or [T,N,3]."""
    rotation, position = cameras(poses, sphere)
    local = (points - position[:, None]) @ rotation
    zoom = sphere.focal * np.exp(poses[:, 5])
    return 0.5 + zoom[:, None, None] * local[..., :2] / local[..., 2:]


def initial_poses(points: Floats, observed: Floats, sphere: Sphere) -> F64:
    """Poses [T,6] from an affine camera fitted to world points [N,3] and image points [T,N,2] (weak perspective)."""
    design = np.concatenate([points - points.mean(axis=0), np.ones((len(points), 1))], axis=1)
    rows = np.swapaxes(np.einsum("kn,tnd->tkd", np.linalg.pinv(design), observed), 1, 2)[..., :3]
    x, y = rows[:, 0], rows[:, 1]
    u, _, vt = np.linalg.svd(np.stack([x, y], axis=1), full_matrices=False)
    x, y = np.moveaxis(u @ vt, 1, 0)
    world_to_camera = np.stack([x, y, np.cross(x, y)], axis=1)
    return to_poses(np.swapaxes(world_to_camera, 1, 2), sphere)


@dataclass(frozen=True)
class Basis:
    """How landmark shapes differ: shape = mean + sum of scores times modes; a score's standard deviation is 1.

    mean [N,3], modes [K,N,3] in world units; weight [N] in [0,1] is the trust in a point.
    """

    mean: F64
    modes: F64
    weight: F64

    def shape(self, scores: Floats) -> F64:
        """The shape [N,3] with scores [K]."""
        return self.mean + np.einsum("k,knd->nd", scores, self.modes)


def smooth_modes(
    mean: Floats, count: int = 40, spread: float = 0.008, reach: float = 0.06, scale: float = 0.06
) -> F64:
    """Modes [K,N,3] for a shape [N,3] of which only the mean is known.

    A Gaussian process over the face: offsets of `spread` world units that vary smoothly over `reach`, mirrored left to
    right (three quarters of the variance), and one mode for the size of the whole face by `scale` about its centre.
    """
    mirrored = mean * np.array([-1.0, 1.0, 1.0])

    def kernel(a: Floats, b: Floats) -> F64:
        return np.exp(-0.5 * ((a[:, None] - b[None]) ** 2).sum(-1) / reach**2)

    own, across = kernel(mean, mean), kernel(mean, mirrored)
    modes = []
    for axis, sign in enumerate((-1.0, 1.0, 1.0)):
        covariance = spread**2 * (own + 0.75 * sign * (across + across.T) / 2)
        values, vectors = np.linalg.eigh(covariance)
        for value, vector in zip(values[::-1][:count], vectors.T[::-1][:count]):
            mode = np.zeros((len(mean), 3))
            mode[:, axis] = np.sqrt(max(value, 0.0)) * vector
            modes.append(mode)
    modes.sort(key=lambda m: -float((m**2).sum()))
    size = scale * (mean - mean.mean(axis=0))
    return np.stack([size, *modes[:count]])


def _cauchy(residual: Floats, width: float = 2.0) -> F64:
    """Weight of each point under a Cauchy loss, for its residual [T,N,2] in standard deviations."""
    return 1 / (1 + (residual**2).sum(-1) / width**2)


def _linearise(
    points: Floats, poses: Floats, sphere: Sphere
) -> tuple[F64, F64, F64]:
    """Image points [T,N,2], their derivatives by the pose [T,N,2,6] and by the world point [T,N,2,3]."""
    base = project(points, poses, sphere)
    by_pose = np.empty((*base.shape, POSE))
    step = 1e-5
    for k in range(POSE):
        moved = poses.copy()
        moved[:, k] += step
        by_pose[..., k] = (project(points, moved, sphere) - base) / step
    rotation, position = cameras(poses, sphere)
    local = (points - position[:, None]) @ rotation
    zoom = (sphere.focal * np.exp(poses[:, 5]))[:, None, None]
    # d(x/z) = (dx - (x/z) dz) / z, with d(local) = rotation^T d(point)
    ratio = local[..., :2] / local[..., 2:]
    world = np.swapaxes(rotation, 1, 2)[:, None]
    by_point = zoom[..., None] / local[..., 2:, None] * (world[:, :, :2] - ratio[..., None] * world[:, :, 2:])
    return base, by_pose, by_point


def _prior(priors: Priors) -> F64:
    """Precision [6] of each number of a pose."""
    sigma = [priors.yaw, priors.pitch, priors.look, priors.look, priors.roll, priors.zoom]
    return 1 / np.array(sigma) ** 2


def fit_poses(
    shape: Floats,
    observed: Floats,
    poses: Floats,
    weight: Floats,
    sphere: Sphere,
    priors: Priors,
    iterations: int = 12,
) -> tuple[F64, F64]:
    """Robust poses [T,6] of a known shape [N,3] seen at [T,N,2], and the points' final robust weights [T,N]."""
    poses = np.array(poses, dtype=np.float64)
    precision = _prior(priors)
    robust = np.ones(observed.shape[:2])
    for _ in range(iterations):
        base, jac, _ = _linearise(shape, poses, sphere)
        residual = (observed - base) / priors.noise
        robust = _cauchy(residual)
        trust = robust * weight
        jac = jac / priors.noise
        hessian = np.einsum("tn,tnik,tnil->tkl", trust, jac, jac) + np.diag(precision)
        gradient = np.einsum("tn,tnik,tni->tk", trust, jac, residual) - precision * poses
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        poses += np.clip(step, -0.3, 0.3)
        if np.abs(step).max(initial=0.0) < 1e-6:
            break
    return poses, robust


def fit_shape(
    basis: Basis,
    observed: Floats,
    poses: Floats,
    sphere: Sphere,
    priors: Priors,
    iterations: int = 10,
) -> tuple[F64, F64]:
    """Scores [K] of the shape and poses [T,6] that together explain the image points [T,N,2].

    Gauss-Newton on poses and scores at once; poses are eliminated frame by frame (Schur complement). Errors of one point
    in different frames are alike (they come from the person, not from the frame), so all frames together count as no more
    than `effective` independent ones.
    """
    poses = np.array(poses, dtype=np.float64)
    scores = np.zeros(len(basis.modes))
    precision = _prior(priors)
    count = len(poses)
    effective = min(count, 4 + count / 12)
    share = effective / count
    for _ in range(iterations):
        shape = basis.shape(scores)
        base, by_pose, by_point = _linearise(shape, poses, sphere)
        residual = (observed - base) / priors.noise
        trust = _cauchy(residual) * basis.weight * share
        jac_p = by_pose / priors.noise
        jac_s = np.einsum("tnid,knd->tnik", by_point, basis.modes) / priors.noise
        weighted = trust[..., None, None] * jac_p
        a = np.einsum("tnik,tnil->tkl", weighted, jac_p) + np.diag(precision * share)
        b = np.einsum("tnik,tnil->tkl", weighted, jac_s)
        c = np.einsum("tn,tnik,tnil->kl", trust, jac_s, jac_s, optimize=True) + np.eye(len(scores))
        g_pose = np.einsum("tnik,tni->tk", weighted, residual) - precision * share * poses
        g_score = np.einsum("tn,tnik,tni->k", trust, jac_s, residual, optimize=True) - scores
        solved = np.linalg.solve(a, np.concatenate([b, g_pose[..., None]], axis=-1))
        eliminate = np.einsum("tpk,tpl->kl", b, solved[..., :-1])
        step = np.linalg.solve(c - eliminate, g_score - np.einsum("tpk,tp->k", b, solved[..., -1]))
        scores += np.clip(step, -2.0, 2.0)
        poses += np.clip(solved[..., -1] - solved[..., :-1] @ step, -0.3, 0.3)
        if np.abs(step).max() < 1e-4:
            break
    return scores, poses
