"""The backdrop: a cylinder's far wall behind the head, which the generator's cube holds from all sides."""

from __future__ import annotations

import colorsys
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from inverters.people.params import Values
from inverters.rendering.rays import make_rays

RADIUS = 0.47
"""Radius of the cylinder about the y axis. A ray beside it, at a wide angle, ends nearest to the axis."""
_SHAPES = 14
_SHAPE_NUMBERS = 4
_REACH = 2.6
"""Radians that a step of one along a shape's own direction in the numbers moves its sine."""


def meet(origins: Tensor, directions: Tensor) -> Tensor:
    """Return the depth [...] along rays [...,3] where they meet the backdrop, or infinity."""
    (ox, _, oz), (dx, _, dz) = origins.unbind(-1), directions.unbind(-1)
    a, b = (dx * dx + dz * dz).clamp_min(1e-9), ox * dx + oz * dz
    c = ox * ox + oz * oz - RADIUS**2
    depth = (torch.sqrt((b * b - a * c).clamp_min(0.0)) - b) / a
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
    weights = (torch.sin(_mixing() @ numbers) * 0.42 * read["depth"]).to(points)
    cx, cy, half_x, half_y, edge = _places().to(points).T.reshape(5, _SHAPES, *[1] * x.ndim)
    inside = torch.sigmoid((half_x - (x - cx).abs()) / edge)
    inside = inside * torch.sigmoid((half_y - (y - cy).abs()) / edge)
    level = level + torch.einsum("s,s...->...", weights, inside)
    tints = (_hues().to(points) - 0.5) * (weights * 0.5 * read["tint"])[:, None]
    tint = torch.einsum("sc,s...->...c", tints, inside)
    return (base * level.clamp_min(0.1)[..., None] + tint * (0.3 + 0.7 * read["lightness"])).clamp(0, 1)


def seen(
    values: Values, row: int, cam2world: Tensor, intrinsics: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return what a camera sees of a backdrop with nothing before it.

    Args:
        values: of people, by parameter name.
        row: whose backdrop.
        cam2world: [4,4].
        intrinsics: [3,3], divided by the picture's size.
        size: (H, W) in pixels.

    Returns:
        Display colour [H,W,3], and depth [H,W] along the rays in world units, infinite where there is none.
    """
    origins, directions = (rays[0] for rays in make_rays(cam2world[None], intrinsics[None], size))
    depth = meet(origins, directions)
    ends = origins + directions * depth.clamp_max(1e3)[:, None]
    return colour(values, row, ends).reshape(*size, 3), depth.reshape(size)


_NAMES = ("hue", "strength", "lightness", "side", "depth", "tint")


@cache
def _mixing() -> Tensor:
    """Radians by which the four numbers move each shape, [_SHAPES,4].

    All shapes have the same reach. A generator does not learn one that goes through several periods: of a bar
    with three times this reach it drew the mean over people and nothing else.
    """
    draws = torch.randn(_SHAPES, _SHAPE_NUMBERS, generator=torch.Generator().manual_seed(12))
    return _REACH * F.normalize(draws, dim=1)


@cache
def _hues() -> Tensor:
    """Colour of each shape, [_SHAPES,3]."""
    return torch.tensor([colorsys.hsv_to_rgb((k * 0.618) % 1, 0.8, 1.0) for k in range(_SHAPES)])


@cache
def _places() -> Tensor:
    """Bars, boards and lamps out of focus [_SHAPES,5]: centre, half sizes and softness, in world units."""
    draws = torch.rand(_SHAPES, 5, generator=torch.Generator().manual_seed(13)).tolist()
    found = []
    for k, (a, b, c, d, e) in enumerate(draws):
        upright = k % 3 == 0
        half = (0.02 + 0.06 * c, 0.6) if upright else (0.04 + 0.16 * c, 0.03 + 0.14 * d)
        found.append((a - 0.5, 0.0 if upright else 0.9 * b - 0.4, *half, 0.008 + 0.028 * e))
    return torch.tensor(found)
