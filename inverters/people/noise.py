"""Noise in the base mesh's coordinates: one random volume, the same for everybody and always."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

_SIDE = 48
_SEED = 20
_SHIFT = (0.37, 5.73, 11.19)


@cache
def _volume(device: torch.device) -> Tensor:
    """Normal values [1,1,S+1,S+1,S+1]; the last of each axis repeats the first."""
    values = torch.randn(_SIDE**3, generator=torch.Generator().manual_seed(_SEED))
    values = values.reshape(_SIDE, _SIDE, _SIDE)
    for axis in range(3):
        values = torch.cat([values, values.narrow(axis, 0, 1)], axis)
    # grid_sample takes the last axis first.
    return values.permute(2, 1, 0)[None, None].contiguous().to(device)


def noise(points: Tensor, frequency: float, offset: float = 0.0) -> Tensor:
    """Return smooth noise [...] at points [...,3]: mean 0, deviation about 0.5, seldom beyond +-1.5.

    Args:
        points: in world units.
        frequency: cells per world unit; features are about as large as a cell.
        offset: numbers that differ by some units give unlike noise.
    """
    x = points * frequency + points.new_tensor(_SHIFT) + 7.13 * offset
    cell = x.floor()
    t = x - cell
    t = t * t * (3 - 2 * t)
    where = (cell.remainder(_SIDE) + t) * (2 / _SIDE) - 1
    found = F.grid_sample(_volume(points.device), where.reshape(1, 1, 1, -1, 3), align_corners=True)
    return found.reshape(points.shape[:-1])


def layered(points: Tensor, frequency: float, layers: int = 3, offset: float = 0.0) -> Tensor:
    """Return the sum of noise of doubled frequency and halved strength [...], deviation about 0.5."""
    total, scale = points.new_zeros(points.shape[:-1]), 0.0
    for k in range(layers):
        total += noise(points, frequency * 2**k, offset + k) * 0.5**k
        scale += 0.25**k
    return total / math.sqrt(scale)
