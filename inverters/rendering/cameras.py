"""Cameras in EG3D's convention: look-at poses, intrinsics, labels of 25 numbers, Deep3DFaceRecon poses.

World: y up, the face looks along +z. `cam2world` has OpenCV axes (x right, y down, z forward); intrinsics are
divided by the image size. The rules follow EG3D's public camera conventions and preprocessing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

RADIUS = 2.7
"""Distance of EG3D's cameras from the world's origin."""
PIVOT = (0.0, 0.0, 0.2)
"""Point that EG3D's cameras for faces look at."""
FOCAL = 4.2647
"""Focal length of EG3D's face crops, in image widths (2985.29 / 700)."""

Angle = float | Sequence[float] | Tensor
RadiusRule = Literal["orig", "cor", "simplify"]
_RECENTRED = (0.0, 0.0, 0.175)
"""Centre of the sphere of the radius rules `cor` and `simplify`."""


def _broadcast(first: Angle, second: Angle) -> tuple[Tensor, Tensor, torch.dtype]:
    """Two angles as tensors [N] of the dtype to compute in, and the dtype of the result."""
    tensors = [a for a in (first, second) if isinstance(a, Tensor) and a.is_floating_point()]
    if tensors:
        dtype, device = tensors[0].dtype, tensors[0].device
        result = dtype
    else:
        dtype, device, result = torch.float64, torch.device("cpu"), torch.float32
    a, b = (torch.as_tensor(x, dtype=dtype, device=device).reshape(-1) for x in (first, second))
    return a + torch.zeros_like(b), b + torch.zeros_like(a), result


def to_matrix(rotation: Tensor, position: Tensor) -> Tensor:
    """Return rotation [N,3,3] and position [N,3] as homogeneous matrices [N,4,4]."""
    top = torch.cat([rotation, position[..., None]], dim=-1)
    bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=top.dtype, device=top.device)
    return torch.cat([top, bottom.expand(*top.shape[:-2], 1, 4)], dim=-2)


def looking_from(origin: Tensor, target: Tensor | Sequence[float]) -> Tensor:
    """Return cameras [N,4,4] at `origin` [N,3] that look at `target` [3] or [N,3], without roll (y is up)."""
    target = torch.as_tensor(target, dtype=origin.dtype, device=origin.device)
    forward = F.normalize(target - origin, dim=-1)
    up = torch.tensor([0.0, 1.0, 0.0], dtype=origin.dtype, device=origin.device).expand_as(forward)
    right = -F.normalize(torch.linalg.cross(up, forward), dim=-1)
    down = F.normalize(torch.linalg.cross(forward, right), dim=-1)
    return to_matrix(torch.stack([right, down, forward], dim=-1), origin)


def look_at(
    yaw: Angle, pitch: Angle, radius: float = RADIUS, pivot: Sequence[float] | Tensor = PIVOT
) -> Tensor:
    """Return cameras on a sphere about the world's origin that look at `pivot`, without roll.

    Args:
        yaw: radians, a number or [N]; > 0 puts the camera at +x.
        pitch: radians, a number or [N]; > 0 puts the camera above the face.
        radius: distance from the world's origin (not from the pivot).
        pivot: point [3] in world units.

    Returns:
        cam2world [N,4,4]: float32 for plain numbers, else in the tensors' dtype. Differentiable.
    """
    yaw, pitch, dtype = _broadcast(yaw, pitch)
    x, y, z = torch.sin(yaw) * torch.cos(pitch), torch.sin(pitch), torch.cos(yaw) * torch.cos(pitch)
    return looking_from(radius * torch.stack([x, y, z], dim=-1), pivot).to(dtype)


def eg3d_sampler(
    horizontal: Angle, vertical: Angle, pivot: Sequence[float] | Tensor = PIVOT, radius: float = RADIUS
) -> Tensor:
    """EG3D's official look-at sampler, whose `vertical` argument is not an angle.

    The polar angle is acos(1 - 2 v / pi), so v = pi/2 - 0.2 is a camera asin(0.4/pi) = 0.128 rad above the
    horizon.

    Args:
        horizontal: pi/2 + yaw in radians, a number or [N].
        vertical: in [0, pi], a number or [N]; pi/2 is the horizon, less is above.
        pivot: point [3] that the camera looks at, in world units.
        radius: distance from the world's origin.

    Returns:
        cam2world [N,4,4].
    """
    horizontal, vertical, dtype = _broadcast(horizontal, vertical)
    cos_polar = 1 - 2 * vertical.clamp(1e-5, math.pi - 1e-5) / math.pi
    sin_polar = torch.sqrt((1 - cos_polar.square()).clamp_min(0))
    x, z = sin_polar * torch.cos(math.pi - horizontal), sin_polar * torch.sin(math.pi - horizontal)
    return looking_from(radius * torch.stack([x, cos_polar, z], dim=-1), pivot).to(dtype)


def angles(cam2world: Tensor) -> tuple[Tensor, Tensor]:
    """Return yaw and pitch [N] in radians of the positions of cameras [N,4,4], from the world's origin."""
    x, y, z = cam2world[..., :3, 3].unbind(-1)
    return torch.atan2(x, z), torch.atan2(y, torch.hypot(x, z))


def intrinsics(focal: float = FOCAL, n: int = 1) -> Tensor:
    """Return intrinsics [n,3,3] float32: focal length in image widths, principal point in the middle."""
    matrix = torch.tensor([[focal, 0.0, 0.5], [0.0, focal, 0.5], [0.0, 0.0, 1.0]])
    return matrix.expand(n, 3, 3).clone()


def default_intrinsics(n: int = 1) -> Tensor:
    """Return intrinsics [n,3,3] of EG3D's face crops: focal length 4.2647 widths."""
    return intrinsics(FOCAL, n)


def fov_intrinsics(degrees: float, n: int = 1) -> Tensor:
    """Return intrinsics [n,3,3] for a field of view by EG3D's formula, with its rounded pi and sqrt 2."""
    return intrinsics(1 / (math.tan(degrees * 3.14159 / 360) * 1.414), n)


def to_label(cam2world: Tensor, intrinsics: Tensor) -> Tensor:
    """Return EG3D's label [N,25]: cam2world [N,4,4] row by row, then intrinsics ([N,3,3] or [3,3])."""
    n = len(cam2world)
    return torch.cat(
        [cam2world.reshape(n, 16), intrinsics.to(cam2world).expand(n, 3, 3).reshape(n, 9)], dim=1
    )


def from_label(label: Tensor) -> tuple[Tensor, Tensor]:
    """Return cam2world [N,4,4] and intrinsics [N,3,3] of labels [N,25] or [25]."""
    label = label.reshape(-1, 25)
    return label[:, :16].reshape(-1, 4, 4), label[:, 16:].reshape(-1, 3, 3)


def mirror(cam2world: Tensor) -> Tensor:
    """Return the cameras [N,4,4] of mirrored images (u -> 1 - u): the world mirrored in its plane x = 0."""
    flip = torch.tensor([-1.0, 1.0, 1.0, 1.0], dtype=cam2world.dtype, device=cam2world.device)
    return flip[:, None] * cam2world * flip


def deep3d_rotation(angle: Tensor) -> Tensor:
    """Return Deep3DFaceRecon's rotations [N,3,3] of angles [N,3] (x, y, z; radians); points turn as p R."""
    (sx, sy, sz), (cx, cy, cz) = torch.sin(angle).unbind(-1), torch.cos(angle).unbind(-1)
    one, zero = torch.ones_like(cx), torch.zeros_like(cx)

    def matrix(*entries: Tensor) -> Tensor:
        return torch.stack(entries, dim=-1).reshape(*angle.shape[:-1], 3, 3)

    about_x = matrix(one, zero, zero, zero, cx, -sx, zero, sx, cx)
    about_y = matrix(cy, zero, sy, zero, one, zero, -sy, zero, cy)
    about_z = matrix(cz, -sz, zero, sz, cz, zero, zero, zero, one)
    return (about_z @ about_y @ about_x).mT


def deep3d_pose(angle: Tensor, translation: Tensor) -> Tensor:
    """Return Deep3DFaceRecon's coefficients as uncalibrated cameras [N,4,4].

    As in EG3D's preprocessing of pictures in the wild.

    Args:
        angle: [N,3] in radians.
        translation: [N,3] in the face model's units.

    Returns:
        Poses whose radius varies; `set_radius` puts them on EG3D's sphere.
    """
    rotation = deep3d_rotation(angle)
    shifted = translation - translation.new_tensor([0.0, 0.0, 10.0])
    position = -(rotation @ shifted[..., None])[..., 0] * 0.27 + translation.new_tensor([0.0, 0.006, 0.161])
    return to_matrix(rotation * rotation.new_tensor([1.0, -1.0, -1.0]), position)


def set_radius(cam2world: Tensor, rule: RadiusRule = "orig", radius: float = RADIUS) -> Tensor:
    """Put cameras [N,4,4] on EG3D's sphere by one of its three rules.

    `orig` (used for faces in the wild): about the world's origin, rotation kept. `cor`: about (0, 0, 0.175).
    `simplify`: as `cor`, and the rotation is rebuilt to look at that centre without roll.
    """
    position = cam2world[..., :3, 3]
    centre = position.new_tensor((0.0, 0.0, 0.0) if rule == "orig" else _RECENTRED)
    moved = radius * F.normalize(position - centre, dim=-1) + centre
    if rule == "simplify":
        return looking_from(moved, centre)
    return to_matrix(cam2world[..., :3, :3], moved)
