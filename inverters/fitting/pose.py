"""Correction of the cameras, fitted beside the codes (camera refinement as in Ko et al. 2023).

Landmarks under a mask are guesses: the cameras from them are turned, and the crop is framed too large or too
small, by about the same amount in every frame. Seven numbers correct that. A hand that comes and goes bends
them for some frames alone: there the correction changes along the clip, from knot to knot.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from inverters.fitting.row_adam import RowAdam

NUMBERS = 7
"""Numbers of a pose: rotation vector, translation, zoom."""
LEVEL_NUMBERS = 2
"""Numbers of a level pose: yaw, pitch."""
_TURN, _SHIFT, _ZOOM = 0.05, 0.01, 0.05
"""Size of one unit of a pose in radians, world units and natural logarithm of the focal length."""


class Corrections(RowAdam):
    """Poses of a clip's frames: a table of knots, between which frames are interpolated."""

    def __init__(self, frames: int, every: int, numbers: int, device: torch.device) -> None:
        """Set up poses of zero.

        Args:
            frames: number of frames.
            every: most frames from one knot to the next; 0: one pose for all, 1: each frame its own.
            numbers: of a pose.
            device: where they are.
        """
        knots = 1 + (math.ceil((frames - 1) / every) if every else 0)
        self.frames = frames
        super().__init__(torch.zeros(knots, numbers, device=device), betas=(0.9, 0.99))

    def knots(self, rows: Tensor) -> Tensor:
        """Return the knots, sorted, on which the poses of frames [n] depend."""
        low, high, _ = self._between(rows)
        return torch.cat([low, high]).unique()

    def poses(self, rows: Tensor, knots: Tensor, leaf: Tensor) -> Tensor:
        """Return the poses [n,7 or 2] of frames [n], from a leaf of these knots (sorted); differentiable."""
        low, high, share = self._between(rows)
        low, high = torch.searchsorted(knots, low), torch.searchsorted(knots, high)
        return leaf[low].lerp(leaf[high], share.to(leaf)[:, None])

    def all_poses(self) -> Tensor:
        """Return the poses [K,7 or 2] of all frames, or the one of them all [1,7 or 2]."""
        count = len(self.values)
        if count == 1:
            return self.values
        return self.poses(torch.arange(self.frames), torch.arange(count), self.values)

    def _between(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Knots before and after frames [n], and how far they are from one to the other, 0 to 1."""
        place = rows.double() * (len(self.values) - 1) / max(self.frames - 1, 1)
        low = place.floor().long()
        share = place - low
        return low, torch.where(share > 0, low + 1, low), share


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
