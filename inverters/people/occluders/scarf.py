"""A scarf: thick knitted folds round the neck, over the chin."""

from __future__ import annotations

import colorsys
import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from inverters.people.labels import CLOTH
from inverters.people.light import display, linear
from inverters.people.occluders.base import Occluder, Painter, State, blend, mesh, p
from inverters.people.occluders.surface import (
    ReachMap,
    around,
    grid_normals,
    grid_triangles,
    landmark,
    skin_points,
    smooth,
    taut_line,
)
from inverters.people.params import Parameter
from inverters.people.parts import Mesh
from inverters.people.person import Person
from inverters.people.picture import Extra
from inverters.people.ramps import rise

_AXIS_Z = -0.02
_COLUMNS, _ROWS = 60, 12
"""Coarse grid of a fold, on which it is shaped and lit; stitches are finer."""
_FINER = (3, 5)
_STITCH = 0.0125
"""Width of a stitch, world units."""


class Scarf(Occluder):
    """Folds of a knitted scarf; the uppermost covers the chin or more."""

    parameters: ClassVar[tuple[Parameter, ...]] = (
        p("hue", 0.0, 1.0, "hue, red over green to violet"),
        p("strength", 0.0, 0.8, "grey to colourful"),
        p("lightness", 0.15, 0.85, "dark to light"),
        p("stripes", 0.0, 1.0, "one colour (lower half), or with lighter stripes"),
        p("height", 0.0, 1.0, "upper edge at the chin to over the mouth", "place"),
        p("thickness", 0.024, 0.036, "of a fold, world units", "place"),
        p("slant", -0.14, 0.14, "folds fall to the image's left (-) or right (+)", "place"),
    )

    @classmethod
    def build(cls, person: Person, state: State) -> Extra:
        """See `Occluder.build`."""
        clothes = [m.vertices for m in person.meshes if bool((m.labels == CLOTH).any())]
        reach = around(torch.cat([skin_points(person.shape), *clothes]), _AXIS_Z, -0.60, 0.05)
        chin, mouth = (
            landmark(person.shape, q, rest=True)[1] for q in ((0.0, -0.225, 0.18), (0.0, -0.12, 0.22))
        )
        edge = float(chin + 0.045 + (mouth - chin - 0.025) * state["height"])
        thick = state["thickness"]
        folds = [_fold(reach, edge - 0.9 * thick * (1 + 1.75 * k), k, state) for k in range(4)]
        painter = Painter(person, [f.reshape(-1, 3) for f in folds])
        return Extra([_knitted(painter, fold, k, state) for k, fold in enumerate(folds)])


def _fold(reach: ReachMap, height: float, k: int, state: State) -> Tensor:
    """Coarse grid [rows,columns,3] of a fold's front: rows round its section, columns round the neck."""
    device = reach.values.device
    azimuth = torch.linspace(-2.6, 2.6, _COLUMNS, device=device)
    thick = state["thickness"] * (1.0 + 0.12 * k)
    wave = (0.5 * state["slant"] * torch.sin(azimuth + 0.6 * k) - 0.05 * (1 - torch.cos(azimuth))) * 0.35
    wave = wave + 0.006 * torch.sin(3 * azimuth + 2.1 * k) + 0.004 * torch.sin(5 * azimuth + 1.3 * k)
    middle = height + wave
    near = torch.stack([reach.at(middle + d * thick, azimuth) for d in (-1.0, -0.5, 0.0, 0.5, 1.0)]).amax(0)
    lowest = 0.155 + 0.012 * k
    near = taut_line(near.clamp_min(lowest), 80)
    near = smooth(near, 6) + 0.45 * thick + 0.004
    near = near + 0.004 * torch.sin(4 * azimuth + 1.7 * k)
    turn = torch.linspace(-0.75 * math.pi, 0.75 * math.pi, _ROWS, device=device)[:, None]
    puff = thick * (1 + 0.10 * torch.sin(2 * azimuth + 1.9 * k))
    radius = near + 0.85 * puff * torch.cos(turn)
    y = middle + 1.15 * puff * torch.sin(turn) - 0.15 * puff * torch.cos(turn)
    return torch.stack([radius * torch.sin(azimuth), y, radius * torch.cos(azimuth) + _AXIS_Z], -1)


def _knitted(painter: Painter, fold: Tensor, k: int, state: State) -> Mesh:
    """A fold with its stitches: light from the coarse grid, relief and colour from the fine one."""
    normals = grid_normals(fold)
    lit = painter.lit(fold.reshape(-1, 3), normals.reshape(-1, 3), (0.25, 0.25, 0.25))
    values = torch.cat([fold, normals, lit.irradiance.reshape(fold.shape)], -1)
    size = (_ROWS * _FINER[0], _COLUMNS * _FINER[1])
    fine = F.interpolate(values.permute(2, 0, 1)[None], size, mode="bicubic", align_corners=True)[0].permute(
        1, 2, 0
    )
    points, out, light = fine[..., :3], F.normalize(fine[..., 3:6], dim=-1), fine[..., 6:9].clamp_min(0)
    along = torch.cumsum(F.pad((points[:, 1:] - points[:, :-1]).norm(dim=-1), (1, 0)), 1)
    up = torch.cumsum(F.pad((points[1:] - points[:-1]).norm(dim=-1), (0, 0, 1, 0)), 0)
    height = _stitches(along / _STITCH, up / _STITCH)
    colour = _wool(along, up, k, state, points) * (0.42 + 0.62 * height)[..., None]
    shown = display(light * colour)
    vertices = points + 0.0030 * height[..., None] * out
    triangles = grid_triangles(*size).to(points.device)
    return mesh(vertices.reshape(-1, 3), shown.reshape(-1, 3), triangles)


def _stitches(across: Tensor, up: Tensor) -> Tensor:
    """Height in [0,1] of stocking stitch: columns of V's."""
    column = torch.remainder(across, 1.0) - 0.5
    row = torch.remainder(up - 0.9 * column.abs(), 1.0) - 0.5
    leg = torch.exp(-(((column.abs() - 0.25) / 0.17) ** 2))
    return leg * (0.45 + 0.55 * torch.cos(math.pi * row).clamp_min(0))


def _wool(along: Tensor, up: Tensor, k: int, state: State, like: Tensor) -> Tensor:
    """Linear albedo [...,3]."""
    base = linear(like.new_tensor(colorsys.hsv_to_rgb(state["hue"], state["strength"], state["lightness"])))
    mottled = 1 + 0.08 * torch.sin(31 * along + 5 * k) * torch.sin(23 * up + 2 * along)
    colour = base * mottled[..., None]
    if state["stripes"] > 0.5:
        band = rise((torch.remainder(along * 5.0 + 0.3 * k, 1.0) - 0.5).abs(), 0.30, 0.24)
        light = linear(like.new_tensor(colorsys.hsv_to_rgb(state["hue"], 0.35 * state["strength"], 0.92)))
        colour = blend(colour, light.expand_as(colour), band)
    return colour
