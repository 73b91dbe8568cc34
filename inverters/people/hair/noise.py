"""Smooth noise in space, the same for everybody."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

_SIDE = 32


@cache
def _volume(seed: int, device: str) -> Tensor:
    """Random values in [-1,1], [1,1,33,33,33]; the last of each axis repeats the first."""
    rng = torch.Generator().manual_seed(1000 + seed)
    values = torch.rand(_SIDE, _SIDE, _SIDE, generator=rng) * 2 - 1
    for axis in range(3):
        values = torch.cat([values, values.narrow(axis, 0, 1)], axis)
    return values[None, None].to(device)


def noise(points: Tensor, frequency: float, seed: int = 0) -> Tensor:
    """Return trilinear noise in [-1,1] at points [...,3], with `frequency` random values a unit."""
    where = (points * frequency + 0.37 * _SIDE).remainder(_SIDE) * (2 / _SIDE) - 1
    found = F.grid_sample(
        _volume(seed, str(points.device)), where.reshape(1, 1, 1, -1, 3), align_corners=True
    )
    return found.reshape(points.shape[:-1])
