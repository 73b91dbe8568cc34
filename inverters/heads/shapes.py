"""Primitives of signed distance and their smooth joins; all pointwise, coordinates [N,M], sizes float or [N,1]."""

from __future__ import annotations

import torch
from torch import Tensor

Size = float | Tensor


def ellipsoid(x: Tensor, y: Tensor, z: Tensor, rx: Size, ry: Size, rz: Size) -> Tensor:
    """First-order distance to an ellipsoid at the origin: exact on its surface, a bound near it."""
    x, y, z = x / rx, y / ry, z / rz
    level = torch.sqrt(x * x + y * y + z * z + 1e-8)
    x, y, z = x / rx, y / ry, z / rz
    slope = torch.sqrt(x * x + y * y + z * z + 1e-8)
    return level * (level - 1.0) / slope


def sphere(x: Tensor, y: Tensor, z: Tensor, radius: Size) -> Tensor:
    """Distance to a sphere at the origin."""
    return torch.sqrt(x * x + y * y + z * z + 1e-10) - radius


def capsule_yz(x: Tensor, y: Tensor, z: Tensor, length_y: Size, length_z: Size, r0: Size, r1: Size) -> Tensor:
    """Distance to a capsule from the origin to (0, length_y, length_z) whose radius goes from r0 to r1."""
    t = ((y * length_y + z * length_z) / (length_y * length_y + length_z * length_z)).clamp(0.0, 1.0)
    y, z = y - t * length_y, z - t * length_z
    return torch.sqrt(x * x + y * y + z * z + 1e-10) - (r0 + (r1 - r0) * t)


def smooth_min(a: Tensor, b: Tensor, k: Size) -> Tensor:
    """Union rounded over a band of width k (quadratic polynomial)."""
    h = (k - (a - b).abs()).clamp_min(0.0)
    return torch.minimum(a, b) - h * h * (0.25 / k)


def smooth_max(a: Tensor, b: Tensor, k: Size) -> Tensor:
    """Intersection rounded over a band of width k."""
    h = (k - (a - b).abs()).clamp_min(0.0)
    return torch.maximum(a, b) + h * h * (0.25 / k)


def smoothstep(low: float, high: float, x: Tensor) -> Tensor:
    """0 below low, 1 above high, cubic and continuously differentiable between."""
    t = ((x - low) * (1.0 / (high - low))).clamp(0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def mix(a: Size, b: Size, t: Tensor) -> Tensor:
    """Linear blend from a (t = 0) to b (t = 1)."""
    return a + (b - a) * t
