"""Noise in the base mesh's coordinates: one random volume, the same for everybody and always."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

_SIDE = 48
_SEED = 20


@cache
def _volume(device: torch.device) -> Tensor:
    values = torch.randn(_SIDE**3, generator=torch.Generator().manual_seed(_SEED))
    return values.to(device)


def noise(points: Tensor, frequency: float, offset: float = 0.0) -> Tensor:
    """Smooth noise [n] at points [n,3]: mean 0, deviation about 0.5, seldom beyond +-1.5.

    Args:
        points: in world units.
        frequency: cells per world unit; features are about as large as a cell.
        offset: numbers that differ by some units give unlike noise.
    """
    x = points * frequency + torch.tensor([0.37, 5.73, 11.19], device=points.device) + 7.13 * offset
    cell = x.floor()
    t = x - cell
    t = t * t * (3 - 2 * t)
    low = cell.long() % _SIDE
    high = (low + 1) % _SIDE
    volume, total = _volume(points.device), torch.zeros_like(t[:, 0])
    for k in range(8):
        upper = [bool(k >> axis & 1) for axis in range(3)]
        i, j, l = (high[:, a] if up else low[:, a] for a, up in enumerate(upper))
        weights = [t[:, a] if up else 1 - t[:, a] for a, up in enumerate(upper)]
        total += volume[(i * _SIDE + j) * _SIDE + l] * weights[0] * weights[1] * weights[2]
    return total


def layered(points: Tensor, frequency: float, layers: int = 3, offset: float = 0.0) -> Tensor:
    """Sum of noise of doubled frequency and halved strength [n], deviation about 0.5."""
    total, scale = torch.zeros_like(points[:, 0]), 0.0
    for k in range(layers):
        total += noise(points, frequency * 2**k, offset + k) * 0.5**k
        scale += 0.25**k
    return total / math.sqrt(scale)
