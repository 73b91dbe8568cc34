"""Correction of the cameras, one for the clip or one for each frame, fitted beside the codes.

Landmarks under a mask are guesses: the cameras from them are turned, and the crop is framed too large or too
small, by about the same amount in every frame. Seven numbers correct that (camera refinement as in Ko et al.
2023, by default shared by all frames).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

NUMBERS = 7
"""Numbers of a pose: rotation vector, translation, zoom."""
LEVEL_NUMBERS = 2
"""Numbers of a level pose: yaw, pitch."""
_TURN, _SHIFT, _ZOOM = 0.05, 0.01, 0.05
"""Size of one unit of a pose in radians, world units and natural logarithm of the focal length."""


def refine_cameras(
    cam2world: Tensor, intrinsics: Tensor, pose: Tensor, pivot: Tensor
) -> tuple[Tensor, Tensor]:
    """Return cameras [N,4,4] and intrinsics [N,3,3] corrected by a pose; differentiable.

    Args:
        cam2world: [N,4,4].
        intrinsics: [N,3,3].
        pose: [7] or [1 or N,7], a rotation vector of the camera about `pivot` (world axes), a translation and
            a zoom; or [1 or N,2], yaw to +x and pitch upwards, as in `cameras.look_at`.
        pivot: [3] in world units.
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
    # horizontal, so that a rolled camera still rises along y
    right = F.normalize(cam2world[:, :3, 0] * cam2world.new_tensor([1.0, 0.0, 1.0]), dim=1)
    yaw = turns[:, :1] * cam2world.new_tensor([0.0, 1.0, 0.0])
    return _rotation(yaw) @ _rotation(-turns[:, 1:] * right)
