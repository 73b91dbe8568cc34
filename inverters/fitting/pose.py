"""A correction of the cameras, shared by all frames of a clip or one for each, fitted beside the codes.

Landmarks under a mask are guesses: the cameras found from them are turned, and the crop is framed too large
or small, by about the same amount in every frame. Seven numbers put that right where the picture shows it
(camera refinement as in Ko et al. 2023, by default shared over the clip).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

NUMBERS = 7
LEVEL_NUMBERS = 2
_TURN, _SHIFT, _ZOOM = 0.05, 0.01, 0.05
"""Radians, world units and natural logarithm of the focal length in one unit of a pose."""


def refine_cameras(
    cam2world: Tensor, intrinsics: Tensor, pose: Tensor, pivot: Tensor
) -> tuple[Tensor, Tensor]:
    """Cameras [N,4,4] and intrinsics [N,3,3] corrected by pose [7], or [1 or N,7]; differentiable.

    A pose is a rotation vector of the camera about `pivot` [3] (world axes), a translation, and a zoom; or
    two numbers, yaw to +x and pitch upwards, as of `cameras.look_at`.
    """
    pose = pose.reshape(-1, pose.shape[-1])
    if pose.shape[1] == LEVEL_NUMBERS:
        rotation = _level(cam2world, _TURN * pose)
        pose = pose.new_zeros(len(pose), NUMBERS)
    else:
        rotation = _rotation(_TURN * pose[:, :3])
    position = (rotation @ (cam2world[:, :3, 3] - pivot)[..., None])[..., 0] + pivot + _SHIFT * pose[:, 3:6]
    top = torch.cat([rotation @ cam2world[:, :3, :3], position[..., None]], dim=2)
    focal = torch.exp(_ZOOM * pose[:, 6])
    scale = torch.stack([focal, focal, torch.ones_like(focal)], 1)[..., None]
    principal = intrinsics * intrinsics.new_tensor([[0.0, 0, 1], [0, 0, 1], [0, 0, 1]])
    return torch.cat([top, cam2world[:, 3:]], dim=1), (intrinsics - principal) * scale + principal


def _rotation(vectors: Tensor) -> Tensor:
    """Rotations [N,3,3] of rotation vectors [N,3] in radians."""
    x, y, z = vectors.unbind(1)
    zero = torch.zeros_like(x)
    generators = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1)
    return torch.linalg.matrix_exp(generators.reshape(-1, 3, 3))


def _level(cam2world: Tensor, turns: Tensor) -> Tensor:
    """Rotations [N,3,3] that turn cameras [N,4,4] by yaw and pitch [1 or N,2] in radians, without roll."""
    # level, so that a rolled camera still rises straight up
    right = F.normalize(cam2world[:, :3, 0] * cam2world.new_tensor([1.0, 0.0, 1.0]), dim=1)
    yaw = turns[:, :1] * cam2world.new_tensor([0.0, 1.0, 0.0])
    return _rotation(yaw) @ _rotation(-turns[:, 1:] * right)
