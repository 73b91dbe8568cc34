"""Cameras in EG3D's convention: look-at poses, intrinsics, labels of 25 numbers, Deep3DFaceRecon poses.

World: y up, the face looks along +z. `cam2world` has OpenCV axes (x right, y down, z forward); intrinsics are
divided by the image size. Conventions follow the public EG3D camera notes (docs/camera_conventions of its code).
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
"""The point at which EG3D's cameras for faces look."""
FOCAL = 4.2647
"""Focal length of EG3D's face crops, in image widths (2985.29 / 700)."""

RadiusRule = Literal["orig", "cor", "simplify"]
_COR_CENTRE = (0.0, 0.0, 0.175)


def _column(value: float | Sequence[float] | Tensor) -> Tensor:
    """A number or [N] as a floating tensor [N]; plain numbers become float64."""
    if isinstance(value, Tensor):
        return (value if value.is_floating_point() else value.double()).reshape(-1)
    return torch.as_tensor(value, dtype=torch.float64).reshape(-1)


def _looking_at(origin: Tensor, pivot: Tensor) -> Tensor:
    """Camera-to-world matrices [N,4,4] of cameras at `origin` [N,3] that look at `pivot` [3] or [N,3], without roll."""
    forward = F.normalize(pivot - origin, dim=-1)
    up = torch.tensor([0.0, 1.0, 0.0], dtype=origin.dtype, device=origin.device).expand_as(forward)
    right = -F.normalize(torch.linalg.cross(up, forward), dim=-1)
    down = F.normalize(torch.linalg.cross(forward, right), dim=-1)
    return to_matrix(torch.stack([right, down, forward], dim=-1), origin)


def to_matrix(rotation: Tensor, position: Tensor) -> Tensor:
    """Rotation [N,3,3] and position [N,3] as homogeneous matrices [N,4,4]."""
    top = torch.cat([rotation, position[..., None]], dim=-1)
    bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=top.dtype, device=top.device)
    return torch.cat([top, bottom.expand(*top.shape[:-2], 1, 4)], dim=-2)


def look_at(
    yaw: float | Sequence[float] | Tensor,
    pitch: float | Sequence[float] | Tensor,
    radius: float = RADIUS,
    pivot: Sequence[float] | Tensor = PIVOT,
) -> Tensor:
    """Cameras on a sphere about the world's origin that look at `pivot`, without roll.

    Args:
        yaw, pitch: true angles in radians, a number or [N]; yaw > 0 puts the camera at +x, pitch > 0 above the face.
        radius: distance from the world's origin (not from the pivot).
    Returns:
        cam2world [N,4,4]; float32 for plain numbers, else the dtype of the tensors. Differentiable.
    """
    plain = not isinstance(yaw, Tensor) and not isinstance(pitch, Tensor)
    yaw, pitch = _column(yaw), _column(pitch)
    dtype = torch.promote_types(yaw.dtype, pitch.dtype) if plain else torch.float32
    if not plain:
        dtype = next(t.dtype for t in (yaw, pitch) if t.dtype != torch.float64 or t.numel()) if (
            yaw.dtype == pitch.dtype
        ) else torch.float32
    yaw, pitch = torch.broadcast_tensors(yaw.to(dtype), pitch.to(dtype))
    origin = radius * torch.stack(
        [torch.sin(yaw) * torch.cos(pitch), torch.sin(pitch), torch.cos(yaw) * torch.cos(pitch)], dim=-1
    )
    pose = _looking_at(origin, torch.as_tensor(pivot, dtype=dtype, device=origin.device))
    return pose.float() if plain else pose
