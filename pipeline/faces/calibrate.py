"""A generator's own face landmarks in 3D, and the crop rule that gives its own framing back; once per generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.clip import F64, U8
from pipeline.errors import UserError
from pipeline.faces.detectors import LandmarkModel, load_landmark_model
from pipeline.faces.layout import MESH_POINTS, mesh_to_ibug
from pipeline.faces.shape_fit import Sphere, look_at
from pipeline.stages.align import fit_camera, five_points

Floats = npt.NDArray[np.floating]

Render = Callable[[int, F64, F64], U8]
"""render(index of the face, cam2world [4,4], intrinsics [3,3]) -> uint8 [S,S,3] RGB."""

VIEWS: tuple[tuple[float, float], ...] = (
    (0.0, 0.0),
    (0.25, 0.08),
    (-0.25, 0.08),
    (0.45, -0.08),
    (-0.45, -0.08),
    (0.12, -0.2),
    (-0.12, 0.2),
)
"""Yaw and pitch in radians of the cameras that a face is seen from."""

_FEWEST_VIEWS = 4
_FEWEST_FACES = 3


@dataclass(frozen=True)
class Landmarks3D:
    """Landmarks of a generator's mean face in world units, and how well they were found.

    mesh [478,3], ibug [68,3] (its 68 points); faces used; residual: median distance in crop widths between a detected
    landmark and its triangulated point's image; spread: median over points of their standard deviation over faces.
    """

    mesh: F64
    ibug: F64
    shapes: F64  # [faces,478,3]
    faces: int
    asked: int
    residual: float
    spread: float

    def as_card(self) -> dict[str, npt.NDArray[np.float32]]:
        """The arrays that a generator's card carries."""
        return {"478": self.mesh.astype(np.float32), "68": self.ibug.astype(np.float32)}


def view_cameras(views: Sequence[tuple[float, float]], sphere: Sphere) -> tuple[F64, F64]:
    """cam2world [V,4,4] of level cameras at (yaw, pitch), and their intrinsics [3,3]."""
    angles = np.asarray(views, dtype=np.float64)
    rotation, position = look_at(angles[:, 0], angles[:, 1], sphere)
    cam2world = np.tile(np.eye(4), (len(angles), 1, 1))
    cam2world[:, :3, :3], cam2world[:, :3, 3] = rotation, position
    intrinsics = np.array([[sphere.focal, 0, 0.5], [0, sphere.focal, 0.5], [0, 0, 1.0]])
    return cam2world, intrinsics


def triangulate(observed: Floats, cam2world: Floats, intrinsics: Floats, iterations: int = 8) -> tuple[F64, F64]:
    """World points [N,3] from their images [V,N,2] (crop widths) in V known views, and residuals [V,N].

    Direct linear transform (Hartley and Zisserman, section 12.2), then Gauss-Newton with Cauchy weights.
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
        jac = (matrices[:, None, :2, :3] - image[..., None] * matrices[:, None, 2:, :3]) / local[..., 2:, None]
        hessian = np.einsum("vn,vnik,vnil->nkl", weight, jac, jac)
        gradient = np.einsum("vn,vnik,vni->nk", weight, jac, residual)
        points = points + np.linalg.solve(hessian, gradient[..., None])[..., 0]
    return points, np.linalg.norm(residual, axis=-1)


def calibrate(
    render: Render,
    count: int,
    views: Sequence[tuple[float, float]] = VIEWS,
    sphere: Sphere | None = None,
    model: LandmarkModel | None = None,
    on_face: Callable[[int, int], None] | None = None,
) -> Landmarks3D:
    """Landmarks of the mean of `count` faces, each drawn by `render` from every view, detected and triangulated.

    The mean shape is the median over faces of each point, made symmetric. Faces that are found in fewer than 4 views are
    left out. Raises UserError where fewer than 3 faces are left: the generator does not make faces that can be found.
    """
    sphere = sphere or Sphere()
    cam2world, intrinsics = view_cameras(views, sphere)
    own = model or load_landmark_model("mediapipe")
    shapes, residuals = [], []
    try:
        for index in range(count):
            observed = np.full((len(views), MESH_POINTS, 2), np.nan)
            for v, camera in enumerate(cam2world):
                image = render(index, camera, intrinsics)
                faces = own.detect(image)
                if faces:
                    observed[v] = faces[0].dense / np.array([image.shape[1], image.shape[0]])
            seen = ~np.isnan(observed).any(axis=(1, 2))
            if seen.sum() >= min(_FEWEST_VIEWS, len(views)):
                points, residual = triangulate(observed[seen], cam2world[seen], intrinsics)
                shapes.append(points)
                residuals.append(float(np.median(residual)))
            if on_face is not None:
                on_face(index + 1, count)
    finally:
        if model is None:
            own.close()
    if len(shapes) < min(_FEWEST_FACES, count):
        raise UserError(
            f"a face was found in enough views for only {len(shapes)} of {count} faces of this generator, "
            "so its landmarks cannot be measured; is it a generator of faces, and trained?"
        )
    return summarise(np.stack(shapes), float(np.median(residuals)), count)


def summarise(shapes: Floats, residual: float, asked: int) -> Landmarks3D:
    """The mean face of triangulated shapes [F,478,3]: median of each point, made mirror-symmetric."""
    mesh = np.median(shapes, axis=0)
    spread = float(np.median(np.linalg.norm(shapes.std(axis=0), axis=-1)))
    return Landmarks3D(
        mesh=mesh,
        ibug=mesh_to_ibug(mesh),
        shapes=np.asarray(shapes, dtype=np.float64),
        faces=len(shapes),
        asked=asked,
        residual=residual,
        spread=spread,
    )


def crop_rule_for(landmarks3d68: Floats, rule: Any, sphere: Sphere | None = None) -> Any:
    """`rule` (a CropRule) with the points under which EG3D's crop gives back the generator's own framing.

    `landmarks3d68` [68,3] in world units. The five points are taken about the pivot, at which every camera looks, then
    scaled and moved so that the mean face, seen by the frontal camera, is cropped to itself exactly.
    """
    sphere = sphere or Sphere()
    cam2world, intrinsics = view_cameras([(0.0, 0.0)], sphere)
    points = np.asarray(landmarks3d68, dtype=np.float64)
    local = (points - cam2world[0, :3, 3]) @ cam2world[0, :3, :3]
    image = intrinsics[0, 0] * local[:, :2] / local[:, 2:] + 0.5
    size = rule.centre_crop
    five2d = five_points(image * size)
    five3d = five_points(points) - np.asarray(sphere.pivot)
    # the fit is linear: points k p + d give the camera A / k and the translation t - A d / k
    camera = fit_camera(five2d, five3d)
    k = np.linalg.norm(camera[:, :3], axis=1).mean() / rule.rescale_factor
    middle = np.array([size / 2, -size / 2])
    d = k * np.linalg.solve(camera[:, :2], camera[:, 3] - middle)
    five3d = k * five3d + np.array([d[0], d[1], 0.0])
    return replace(rule, points3d=tuple((float(x), float(y), float(z)) for x, y, z in five3d))


def generator_renderer(generator: Any, n: int, seed: int = 0, psi: float = 0.7) -> Render:
    """A `Render` of `n` random faces of a generator with `.mapping`, `.synthesis` and `.card`.

    Latents whose first entries have a meaning (`card.parameters`) are drawn as the generator knows them: the rest ones.
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
    n: int = 16,
    seed: int = 0,
    views: Sequence[tuple[float, float]] = VIEWS,
    on_face: Callable[[int, int], None] | None = None,
) -> Landmarks3D:
    """Landmarks of a generator's mean face from `n` of its faces; see `calibrate`."""
    rule = generator.card.camera_rule
    sphere = Sphere(rule.focal, rule.radius, tuple(rule.pivot))
    return calibrate(generator_renderer(generator, n, seed), n, views, sphere, on_face=on_face)
