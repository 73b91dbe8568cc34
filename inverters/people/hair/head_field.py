"""How far points are from a person's head: a map of its radius, by direction above and by height below."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from inverters.people.body import Body
from inverters.people.hair.vectors import dot, length, unit
from inverters.people.ramps import rise

MIDDLE = (0.0, 0.10, -0.035)
"""Middle of the skull; directions of the scalp are seen from here."""
_ROWS, _COLUMNS = 40, 80
_DRUM = (-0.80, 0.14)
"""Heights that the lower map spans."""
_BLEND = (0.02, -0.10)
"""Heights between which the upper map gives way to the lower."""


@dataclass(frozen=True)
class HeadField:
    """Head, neck and shoulders without the ears, as radius and normal [1,4,rows,columns + 1] of two maps.

    The upper map goes by direction from the skull's middle, the lower by angle and height about the neck.
    """

    upper: Tensor
    lower: Tensor

    def height(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the height [...] of points [...,3] over the skin, negative within, and normals [...,3]."""
        flat = points.reshape(-1, 3)
        above, up = _look(self.upper, *_direction(flat))
        below, down = _look(self.lower, *_turn(flat))
        share = rise(flat[:, 1], *_BLEND)[:, None]
        height = torch.lerp(above, below, share[:, 0])
        normal = unit(torch.lerp(up, down, share))
        return height.reshape(points.shape[:-1]), normal.reshape(points.shape)


def head_field(mesh: Body, vertices: Tensor, normals: Tensor) -> HeadField:
    """Return the field of a mesh with vertices and normals [V1,3]."""
    level = mesh.level1
    hidden = (level.mask("ears") > 0.3) | (level.mask("inside_mouth") > 0.3) | (level.mask("eyelids") > 0.5)
    solid = (level.part == 0) & ~hidden
    head, trunk = solid & (level.canonical[:, 1] > -0.3), solid & (level.canonical[:, 1] < 0.13)
    return HeadField(
        _map(*_direction(vertices[head]), normals[head]), _map(*_turn(vertices[trunk]), normals[trunk])
    )


def _direction(points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Row and column in [0,1], radius [N], and outward direction [N,3] in the upper map."""
    offset = points - points.new_tensor(MIDDLE)
    radius = length(offset)
    outward = offset / radius[:, None]
    row = torch.asin(outward[:, 1].clamp(-1, 1)) / math.pi + 0.5
    return row, torch.atan2(offset[:, 0], offset[:, 2]) / (2 * math.pi) + 0.5, radius, outward


def _turn(points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `_direction`, in the lower map."""
    x, _, z = (points - points.new_tensor(MIDDLE)).unbind(1)
    radius = torch.hypot(x, z).clamp_min(1e-6)
    outward = torch.stack([x / radius, torch.zeros_like(x), z / radius], 1)
    row = ((points[:, 1] - _DRUM[0]) / (_DRUM[1] - _DRUM[0])).clamp(0, 1)
    return row, torch.atan2(x, z) / (2 * math.pi) + 0.5, radius, outward


def _look(
    radii: Tensor, row: Tensor, column: Tensor, radius: Tensor, outward: Tensor
) -> tuple[Tensor, Tensor]:
    grid = torch.stack([column * 2 - 1, row * 2 - 1], -1)[None, None]
    found = F.grid_sample(radii, grid, align_corners=True, padding_mode="border")[0, :, 0].T
    normal = unit(found[:, 1:])
    slope = dot(normal, outward).clamp_min(0.2)
    return (radius - found[:, 0]) * slope, normal


def _map(row: Tensor, column: Tensor, radius: Tensor, _outward: Tensor, normals: Tensor) -> Tensor:
    """Mean of radius and normal in each cell; holes are filled from around them."""
    y, x = row * (_ROWS - 1), column * _COLUMNS
    y0, x0 = y.floor(), x.floor()
    values = torch.cat([radius[:, None], normals, torch.ones_like(radius)[:, None]], 1)
    sums = values.new_zeros(_ROWS * _COLUMNS, 5)
    for dy in (0, 1):
        for dx in (0, 1):
            share = (1 - (y - y0 - dy).abs()) * (1 - (x - x0 - dx).abs())
            place = (y0 + dy).clamp_max(_ROWS - 1).long() * _COLUMNS + (x0 + dx).long() % _COLUMNS
            sums.index_add_(0, place, values * share[:, None])
    grid = sums.T.reshape(1, 5, _ROWS, _COLUMNS)
    known = grid[:, 4:] > 0.3
    filled = torch.where(known, grid / grid[:, 4:].clamp_min(1e-6), torch.zeros_like(grid))
    for _step in range(10):
        around = _blurred(filled)
        mean = around / around[:, 4:].clamp_min(1e-6)
        filled = torch.where(filled[:, 4:] > 0, filled, torch.where(around[:, 4:] > 0, mean, filled))
    smooth = _blurred(filled)[:, :4]
    return torch.cat([smooth, smooth[..., :1]], -1)


def _blurred(grid: Tensor) -> Tensor:
    """Mean of 3 x 3 cells; columns go round."""
    wide = torch.cat([grid[..., -1:], grid, grid[..., :1]], -1)
    wide = torch.cat([wide[:, :, :1], wide, wide[:, :, -1:]], 2)
    return F.avg_pool2d(wide, 3, 1)
