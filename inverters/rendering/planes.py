"""Lookups in tri-planes: project points onto three planes, interpolate bilinearly, average."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

PlaneAxes = Literal["original", "fixed"]

COORDINATES: dict[str, tuple[tuple[int, int], ...]] = {
    "original": ((0, 1), (0, 2), (2, 0)),
    "fixed": ((0, 1), (1, 2), (2, 0)),
}
"""(column, row) coordinates of each plane. EG3D's released models use `original`, whose last two planes span
the same xz plane; `fixed` is the corrected projection of its later branch."""


def texels_last(planes: Tensor) -> Tensor:
    """Return planes [N,3,C,R,R] with the channels of a texel contiguous in memory.

    The compiled renderer needs this layout.
    """
    return planes.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


def sample_planes(
    planes: Tensor, points: Tensor, box_warp: float = 1.0, axes: PlaneAxes = "original"
) -> Tensor:
    """Return the features of each plane at points: bilinear, zeros outside (EG3D, section 4).

    Texel centres are at (k+0.5)/R (align_corners False).

    Args:
        planes: [N or 1,3,C,R,R].
        points: [N,M,3] in world units.
        box_warp: side of the cube that the planes cover, in world units.
        axes: projection of points to the planes, `original` or `fixed`.

    Returns:
        [N,3,C,M].
    """
    features = torch.stack(_lookups(planes, points, box_warp, axes), dim=1)
    return features


def mean_features(
    planes: Tensor, points: Tensor, box_warp: float = 1.0, axes: PlaneAxes = "original"
) -> Tensor:
    """Return the mean over the three planes of their features at points [N,M,3]: [N,M,C]."""
    first, second, third = _lookups(planes, points, box_warp, axes)
    return first.add_(second).add_(third).div_(3).mT  # in place: nothing else holds the lookups


def _lookups(planes: Tensor, points: Tensor, box_warp: float, axes: PlaneAxes) -> list[Tensor]:
    """The three lookups [N,C,M]. Planes shared by all N are read as one long row of points."""
    n, m, _ = points.shape
    shared = len(planes) == 1 and n > 1
    grid = (points * (2 / box_warp)).reshape(1 if shared else n, 1, -1, 3)
    found = []
    for plane, (column, row) in zip(planes.unbind(dim=1), COORDINATES[axes], strict=True):
        where = torch.stack([grid[..., column], grid[..., row]], dim=-1)
        values = F.grid_sample(plane, where, mode="bilinear", padding_mode="zeros", align_corners=False)[
            :, :, 0
        ]
        found.append(values.reshape(-1, n, m).transpose(0, 1) if shared else values)
    return found
