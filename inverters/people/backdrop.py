"""The backdrop: a half cylinder behind the head, which the generator's cube holds."""

from __future__ import annotations

import colorsys

import torch
from torch import Tensor

from inverters.people.params import Values

RADIUS = 0.47
"""Radius of the half cylinder about the y axis at z < 0; beside it lies the plane z = 0."""
_BLOBS = 6


def meet(origins: Tensor, directions: Tensor) -> Tensor:
    """Return the depth [...] along rays [...,3] where they meet the backdrop, or infinity."""
    (ox, _, oz), (dx, _, dz) = origins.unbind(-1), directions.unbind(-1)
    a, b = (dx * dx + dz * dz).clamp_min(1e-9), ox * dx + oz * dz
    c = ox * ox + oz * oz - RADIUS**2
    wall = (torch.sqrt((b * b - a * c).clamp_min(0.0)) - b) / a
    plane = -oz / torch.where(dz < -1e-6, dz, torch.full_like(dz, -1e-6))
    beside = (ox + plane * dx).abs() >= RADIUS
    depth = torch.where(beside, plane, wall)
    return torch.where(dz < -1e-6, depth, torch.full_like(depth, torch.inf))


def colour(values: Values, row: int, points: Tensor) -> Tensor:
    """Return the backdrop's display colour [...,3] at points [...,3] of it, clamped to the cube.

    Its soft shapes are those of the person's hue and lightness: a person has the same backdrop always.
    """
    hue, strength, lightness, blobs = (
        float(values[f"background_{n}"][row, 0]) for n in ("hue", "strength", "lightness", "blobs")
    )
    base = points.new_tensor(colorsys.hsv_to_rgb(hue, 0.34 * strength, 0.22 + 0.68 * lightness))
    x, y = points[..., 0].clamp(-0.5, 0.5), points[..., 1].clamp(-0.5, 0.5)
    level = 1.0 + 0.16 * y
    seed = int(1e4 * hue) * 7919 + int(1e4 * lightness)
    rng = torch.Generator().manual_seed(seed)
    where = torch.rand(_BLOBS, 4, generator=rng)
    amount = 0.30 * max(0.0, blobs - 0.25)
    for bx, by, size, sign in where.tolist():
        r2 = ((x - (bx - 0.5)) ** 2 + (y - (by - 0.5)) ** 2) / (0.07 + 0.17 * size) ** 2
        level = level + amount * (1 if sign > 0.5 else -1) * torch.exp(-r2)
    return (base * level[..., None]).clamp(0, 1)
