"""Signed distances of primitives and their smooth unions; coordinates are [N,M], sizes float or [N,1]."""

from __future__ import annotations

import torch
from torch import Tensor

Size = float | Tensor


def ellipsoid(x: Tensor, y: Tensor, z: Tensor, rx: Size, ry: Size, rz: Size) -> Tensor:
    """Return the first-order distance of an ellipsoid at the origin: exact on it, a bound near it."""
    ix, iy, iz = rx**-2, ry**-2, rz**-2
    x2, y2, z2 = x * x, y * y, z * z
    level = _weighted(x2, y2, z2, ix, iy, iz)
    slope = _weighted(x2, y2, z2, ix * ix, iy * iy, iz * iz)
    return (level - torch.sqrt(level)) * torch.rsqrt(slope)


def _weighted(x2: Tensor, y2: Tensor, z2: Tensor, ix: Size, iy: Size, iz: Size) -> Tensor:
    """Weighted sum ix x2 + iy y2 + iz z2, kept above zero so that its root has a slope everywhere."""
    total = x2 * ix + 1e-8
    total = torch.addcmul(total, y2, iy) if isinstance(iy, Tensor) else torch.add(total, y2, alpha=iy)
    return torch.addcmul(total, z2, iz) if isinstance(iz, Tensor) else torch.add(total, z2, alpha=iz)


def norm3(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Return the length of (x, y, z), kept above zero so that it has a slope at the origin."""
    return torch.sqrt(torch.addcmul(torch.addcmul(x * x + 1e-10, y, y), z, z))


def sphere(x: Tensor, y: Tensor, z: Tensor, radius: Size) -> Tensor:
    """Return the distance of a sphere at the origin."""
    return norm3(x, y, z) - radius


def capsule_yz(x: Tensor, y: Tensor, z: Tensor, length_y: Size, length_z: Size, r0: Size, r1: Size) -> Tensor:
    """Return the distance of a capsule from the origin to (0, length_y, length_z), of radius r0 to r1."""
    t = ((y * length_y + z * length_z) / (length_y * length_y + length_z * length_z)).clamp(0.0, 1.0)
    y, z = y - t * length_y, z - t * length_z
    return norm3(x, y, z) - (r0 + (r1 - r0) * t)


def smooth_min(a: Tensor, b: Tensor, k: float) -> Tensor:
    """Return the minimum of a and b, rounded where they differ by less than k (quadratic): a smooth union."""
    h = torch.relu(k - (a - b).abs())
    return torch.addcmul(torch.minimum(a, b), h, h, value=-0.25 / k)


def smooth_max(a: Tensor, b: Tensor, k: float) -> Tensor:
    """Return the maximum of a and b, rounded where they differ by less than k: a smooth intersection."""
    h = torch.relu(k - (a - b).abs())
    return torch.addcmul(torch.maximum(a, b), h, h, value=0.25 / k)


def smoothstep(low: float, high: float, x: Tensor) -> Tensor:
    """Return 0 below `low`, 1 above `high`, and the cubic 3t^2 - 2t^3 between; for low > high it falls."""
    t = ((x - low) * (1.0 / (high - low))).clamp(0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def mix(a: Size, b: Size, t: Tensor) -> Tensor:
    """Return the linear blend from a (t = 0) to b (t = 1)."""
    return a + (b - a) * t
