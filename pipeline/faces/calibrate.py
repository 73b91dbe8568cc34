"""Calibration of a generator, done once: 3D landmarks of its faces and the crop rule of its framing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.clip import F64, U8
from pipeline.errors import UserError
from pipeline.faces.bundle_adjustment import Sphere, look_at
from pipeline.faces.crop_rule import fit_camera, five_points
from pipeline.faces.detectors import load_landmark_model
from pipeline.faces.landmark_indices import MESH_POINTS
from pipeline.faces.landmark_model import LandmarkModel
from pipeline.faces.landmark_statistics import Landmarks3D, summarise

Floats = npt.NDArray[np.floating[Any]]

Render = Callable[[int, F64, F64], U8]
"""render(index of the face, cam2world [4,4], intrinsics [3,3]) -> uint8 [S,S,3] RGB."""

YAW, PITCH = 0.5, 0.22
"""Cameras are placed within +-YAW and +-PITCH radians."""

_FEWEST_VIEWS = 4
_FEWEST_FACES = 3


def spread_views(count: int, views: int, seed: int = 0) -> F64:
    """Stratified yaw and pitch [count,views,2] in radians: per face each yaw and each pitch band once."""
    rng = np.random.default_rng(seed)
    bands = (np.arange(views) + rng.random((count, 2, views))) / views * 2 - 1
    pitch = rng.permuted(bands[:, 1], axis=1)
    return np.stack([YAW * bands[:, 0], PITCH * pitch], axis=-1)


def view_cameras(angles: Floats, sphere: Sphere) -> tuple[F64, F64]:
    """cam2world [V,4,4] of level cameras at angles [V,2] = (yaw, pitch) in radians, and intrinsics [3,3]."""
    rotation, position = look_at(angles[:, 0], angles[:, 1], sphere)
    cam2world = np.tile(np.eye(4), (len(angles), 1, 1))
    cam2world[:, :3, :3], cam2world[:, :3, 3] = rotation, position
    intrinsics = np.array([[sphere.focal, 0, 0.5], [0, sphere.focal, 0.5], [0, 0, 1.0]])
    return cam2world, intrinsics


def triangulate(
    observed: Floats, cam2world: Floats, intrinsics: Floats, iterations: int = 8
) -> tuple[F64, F64]:
    """Triangulate points [N,3] from images [V,N,2] in V known views; returns them and residuals [V,N].

    Direct linear transform (Hartley and Zisserman, section 12.2), then Gauss-Newton with Cauchy weights.
    Image points and residuals are in crop widths.
    """
    world_to_camera = np.linalg.inv(cam2world)[:, :3]
    matrices = intrinsics @ world_to_camera  # [V,3,4]
    rows = observed[..., None] * matrices[:, None, 2:3] - matrices[:, None, :2]  # [V,N,2,4]
    system = np.swapaxes(rows, 0, 1).reshape(observed.shape[1], -1, 4)
    homogeneous = np.linalg.svd(system)[2][:, -1]
    points = homogeneous[:, :3] / homogeneous[:, 3:]
    residual = np.zeros(observed.shape)
    width = 0.004
    for _ in range(iterations):
        local = np.einsum("vij,nj->vni", matrices[..., :3], points) + matrices[:, None, :, 3]
        image = local[..., :2] / local[..., 2:]
        residual = observed - image
        weight = 1 / (1 + (residual**2).sum(-1) / width**2)
        jac = (matrices[:, None, :2, :3] - image[..., None] * matrices[:, None, 2:, :3]) / local[
            ..., 2:, None
        ]
        hessian = np.einsum("vn,vnik,vnil->nkl", weight, jac, jac)
        gradient = np.einsum("vn,vnik,vni->nk", weight, jac, residual)
        points = points + np.linalg.solve(hessian, gradient[..., None])[..., 0]
    return points, np.linalg.norm(residual, axis=-1)


def calibrate(
    render: Render,
    count: int,
    views: int = 7,
    sphere: Sphere | None = None,
    seed: int = 0,
    model: LandmarkModel | None = None,
    on_face: Callable[[int, int], None] | None = None,
) -> Landmarks3D:
    """Detect and triangulate the landmarks of `count` faces, each rendered from `views` known cameras.

    Faces detected in fewer than 4 views are left out. model: replaces MediaPipe's mesh. on_face is called
    with the number of faces done and in all. Raises UserError where fewer than 3 faces are left.
    """
    sphere = sphere or Sphere()
    cameras = np.stack([view_cameras(a, sphere)[0] for a in spread_views(count, views, seed)])
    _, intrinsics = view_cameras(np.zeros((1, 2)), sphere)
    own = model or load_landmark_model("mediapipe")
    observed = np.full((count, views, MESH_POINTS, 2), np.nan)
    try:
        for index in range(count):
            for v in range(views):
                image = render(index, cameras[index, v], intrinsics)
                faces = own.detect(image)
                if faces:
                    observed[index, v] = faces[0].dense / np.array([image.shape[1], image.shape[0]])
            if on_face is not None:
                on_face(index + 1, count)
    finally:
        if model is None:
            own.close()
    return from_observations(observed, cameras, sphere)


def from_observations(observed: Floats, cam2world: Floats, sphere: Sphere) -> Landmarks3D:
    """Statistics of landmarks [F,V,478,2] (crop widths, NaN if not detected) seen by cameras [F,V,4,4]."""
    _, intrinsics = view_cameras(np.zeros((1, 2)), sphere)
    seen = ~np.isnan(observed).any(axis=(2, 3))
    usable = np.flatnonzero(seen.sum(axis=1) >= min(_FEWEST_VIEWS, observed.shape[1]))
    if len(usable) < min(_FEWEST_FACES, len(observed)) or not len(usable):
        raise UserError(
            f"a face was found in enough views for only {len(usable)} of {len(observed)} faces of this "
            "generator, so its landmarks cannot be measured; is it a trained generator of faces?"
        )
    shapes = np.stack(
        [triangulate(observed[i, seen[i]], cam2world[i, seen[i]], intrinsics)[0] for i in usable]
    )
    return summarise(shapes, observed[usable], cam2world[usable], sphere, asked=len(observed))


def crop_rule_for(landmarks3d68: Floats, rule: Any, sphere: Sphere | None = None) -> Any:
    """Adapt `rule` (a CropRule) so that EG3D's crop reproduces the generator's own framing.

    landmarks3d68 [68,3] of the mean face in world units. The rule's five points are scaled and shifted about
    the pivot so that the crop of the mean face, seen by the frontal camera, is the identity.
    """
    sphere = sphere or Sphere()
    cam2world, intrinsics = view_cameras(np.zeros((1, 2)), sphere)
    points = np.asarray(landmarks3d68, dtype=np.float64)
    local = (points - cam2world[0, :3, 3]) @ cam2world[0, :3, :3]
    image = intrinsics[0, 0] * local[:, :2] / local[:, 2:] + 0.5
    size = rule.centre_crop
    five2d = five_points(image * size)
    five3d = five_points(points) - np.asarray(sphere.pivot)
    # the fit is linear in the points: k p + d gives the camera A / k and the translation t - A d / k
    camera = fit_camera(five2d, five3d)
    k = np.linalg.norm(camera[:, :3], axis=1).mean() / rule.rescale_factor
    middle = np.array([size / 2, -size / 2])
    d = k * np.linalg.solve(camera[:, :2], camera[:, 3] - middle)
    five3d = k * five3d + np.array([d[0], d[1], 0.0])
    return replace(rule, points3d=tuple((float(x), float(y), float(z)) for x, y, z in five3d))


def generator_renderer(generator: Any, n: int, seed: int = 0, psi: float = 0.7) -> Render:
    """Render function of `n` random faces of a generator (`.mapping`, `.planes`, `.synthesis`, `.card`).

    Where the first entries of z are named parameters (`card.parameters`), the others are 1, as in training,
    and psi is 1.
    """
    import torch

    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(n, generator.card.config.z_dim, generator=rng)
    named = len(generator.card.parameters)
    if named:
        z[:, named:] = 1.0
        psi = 1.0
    device = next(generator.parameters()).device
    with torch.no_grad():
        ws = generator.mapping(z.to(device), truncation_psi=psi)
    planes: dict[int, Any] = {}

    def render(index: int, cam2world: F64, intrinsics: F64) -> U8:
        camera = torch.as_tensor(cam2world, dtype=torch.float32, device=device)[None]
        lens = torch.as_tensor(intrinsics, dtype=torch.float32, device=device)[None]
        row = ws[index : index + 1]
        with torch.no_grad():
            if index not in planes:
                planes.clear()
                planes[index] = generator.planes(row)
            image = generator.synthesis(row, camera, lens, planes=planes[index]).image[0]
        pixels = ((image.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0)
        return np.ascontiguousarray(pixels.cpu().numpy())

    return render


def landmarks3d(
    generator: Any,
    views: int = 7,
    n: int = 16,
    seed: int = 0,
    on_face: Callable[[int, int], None] | None = None,
) -> Landmarks3D:
    """Calibrate a generator's landmarks from `n` of its faces in `views` views each; see `calibrate`."""
    rule = generator.card.camera_rule
    sphere = Sphere(rule.focal, rule.radius, tuple(rule.pivot))
    return calibrate(generator_renderer(generator, n, seed), n, views, sphere, seed, on_face=on_face)
