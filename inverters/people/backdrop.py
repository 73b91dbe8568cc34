"""The backdrop: a half cylinder behind the head, which the generator's cube holds."""

from __future__ import annotations

import colorsys
from functools import cache

import torch
from torch import Tensor

from inverters.people.params import Values

RADIUS = 0.47
"""Radius of the half cylinder about the y axis at z < 0; beside it lies the plane z = 0."""
_SHAPES = 14
_SHAPE_NUMBERS = 4


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

    Soft shapes, the same for everybody, come and go with the numbers `background_1` to `background_4`.
    """
    read = {k: float(values[f"background_{k}"][row, 0]) for k in _NAMES}
    base = points.new_tensor(
        colorsys.hsv_to_rgb(read["hue"], 0.40 * read["strength"], 0.06 + 0.86 * read["lightness"])
    )
    x, y = points[..., 0].clamp(-0.5, 0.5), points[..., 1].clamp(-0.5, 0.5)
    level = 1.0 + 0.16 * y + 0.55 * read["side"] * x
    numbers = torch.tensor([float(values[f"background_{k + 1}"][row, 0]) for k in range(_SHAPE_NUMBERS)])
    weights = torch.sin(_mixing() @ numbers * 2.2) * 0.42 * read["depth"]
    tint = torch.zeros_like(points)
    hues = points.new_tensor([colorsys.hsv_to_rgb((k * 0.618) % 1, 0.8, 1.0) for k in range(_SHAPES)])
    for weight, place, hue in zip(weights.tolist(), _places(), hues, strict=True):
        cx, cy, half_x, half_y, edge = place
        inside = torch.sigmoid((half_x - (x - cx).abs()) / edge) * torch.sigmoid(
            (half_y - (y - cy).abs()) / edge
        )
        level = level + weight * inside
        tint = tint + (hue - 0.5) * (weight * 0.5 * read["tint"] * inside)[..., None]
    return (base * level.clamp_min(0.1)[..., None] + tint * (0.3 + 0.7 * read["lightness"])).clamp(0, 1)


_NAMES = ("hue", "strength", "lightness", "side", "depth", "tint")


@cache
def _mixing() -> Tensor:
    """How the four numbers move each shape, [_SHAPES,4]."""
    return torch.randn(_SHAPES, _SHAPE_NUMBERS, generator=torch.Generator().manual_seed(12))


@cache
def _places() -> list[tuple[float, ...]]:
    """Centre, half sizes and softness of each shape, in world units: bars, boards and lamps out of focus."""
    draws = torch.rand(_SHAPES, 5, generator=torch.Generator().manual_seed(13)).tolist()
    found = []
    for k, (a, b, c, d, e) in enumerate(draws):
        upright = k % 3 == 0
        half = (0.02 + 0.06 * c, 0.6) if upright else (0.04 + 0.16 * c, 0.03 + 0.14 * d)
        found.append((a - 0.5, 0.0 if upright else 0.9 * b - 0.4, *half, 0.008 + 0.028 * e))
    return found
