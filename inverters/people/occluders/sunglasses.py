"""Sunglasses: dark curved lenses in a frame that sits on the nose and the ears."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from inverters.people.body_file import PARTS
from inverters.people.occluders.base import Occluder, Painter, State, blend, p, palette
from inverters.people.occluders.surface import (
    grid_normals,
    grid_triangles,
    landmark,
    mesh_of,
    skin_points,
    tube,
)
from inverters.people.params import Parameter
from inverters.people.parts import Mesh, normals_of
from inverters.people.person import Person
from inverters.people.picture import Extra
from inverters.people.ramps import rise

_LENS = ((0.05, 0.05, 0.06), (0.17, 0.10, 0.06), (0.06, 0.11, 0.09), (0.10, 0.09, 0.20))
_FRAME = ((0.05, 0.05, 0.055), (0.33, 0.18, 0.10), (0.55, 0.10, 0.12), (0.80, 0.67, 0.40))
_RINGS, _TURNS = 14, 64
_WRAP = 1.5
"""The lenses' plane bends back by this times x squared."""
_CLEAR = 0.008


class Sunglasses(Occluder):
    """Dark lenses in a solid frame."""

    parameters: ClassVar[tuple[Parameter, ...]] = (
        p("tint", 0.0, 1.0, "lenses: grey, brown, green, violet"),
        p("frame", 0.0, 1.0, "frame: black, tortoise, red, gold"),
        p("shape", 0.0, 1.0, "round, drop-shaped, square lenses"),
        p("size", 0.9, 1.2, "scale of the lenses", "place"),
        p("slide", -0.006, 0.010, "how far down the nose they sit, world units", "place"),
        p("gradient", 0.0, 1.0, "even lenses to lenses that lighten downwards"),
        p("thickness", 0.0028, 0.0060, "radius of the rims, world units"),
    )

    @classmethod
    def build(cls, person: Person, state: State) -> Extra:
        """See `Occluder.build`."""
        centre, spacing = _eyes(person)
        y = float(centre[1]) - 0.010 - state["slide"]
        outline = _outline(state).to(centre.device)
        half = spacing / 2 + 0.005
        plane = _plane(person, outline, half, y)
        sides, rims, glasses = (1.0, -1.0), [], []
        for side in sides:
            grid = _lens(outline, side, half, y, plane)
            glasses.append(grid)
            rim = torch.cat([grid[-1], grid[-1, :2]])
            rims.append(tube(rim, state["thickness"], 8))
        bridge = tube(_bridge(outline, half, y, plane), state["thickness"] * 0.9, 8)
        temples = [tube(_temple(person, outline, s, half, y, plane), 0.0042, 8) for s in sides]
        frame = [*rims, bridge, *temples]
        painter = Painter(person, [v for v, _ in frame])
        tone = palette(_FRAME, state["frame"], centre)
        metal = state["frame"] > 0.85
        solid = [_solid(painter, v, t, tone, metal) for v, t in frame]
        shown = [_glassy(painter, grid, side, state) for grid, side in zip(glasses, sides, strict=True)]
        return Extra(solid, [], shown)


def _eyes(person: Person) -> tuple[Tensor, float]:
    """Middle between the eyes [3] and their distance."""
    part, vertices = mesh_of(person.shape).level1.part, person.shape.neutral
    left, right = (vertices[part == PARTS.index(f"{s}_eye")].mean(0) for s in ("left", "right"))
    return (left + right) / 2, float((left - right).norm())


def _outline(state: State) -> Tensor:
    """Outline [A,2] of the lens at +x, counter-clockwise from the outer end."""
    turn = torch.arange(_TURNS) * (2 * math.pi / _TURNS)
    kind = 2 * state["shape"]
    square, drop = max(kind - 1.0, 0.0), 1.0 - abs(kind - 1.0)
    power = 2.0 / (2.2 + 2.6 * square)
    c, s = torch.cos(turn), torch.sin(turn)
    x = c.sign() * c.abs() ** power * (0.053 + 0.005 * drop + 0.005 * square)
    y = s.sign() * s.abs() ** power * (0.046 - 0.006 * square)
    # A drop hangs down and outwards.
    low = (-s).clamp_min(0)
    x = x + drop * (0.010 * low * low * (1 - 0.3 * c) - 0.006 * low)
    y = y - drop * 0.006 * low + 0.10 * square * x.clamp_min(0) * s.clamp_min(0)
    return torch.stack([x, y], 1) * state["size"]


def _plane(person: Person, outline: Tensor, half: float, y: float) -> float:
    """Depth z at x = 0 of the bent plane that stands just before brows, lashes and cheeks."""
    skin = skin_points(person.shape)
    x, height, z = skin.unbind(1)
    wide, tall = float(outline[:, 0].abs().max()), float(outline[:, 1].abs().max())
    behind = ((x.abs() - half).abs() < 0.9 * wide) & ((height - y).abs() < 0.85 * tall)
    behind &= x.abs() > 0.028
    reach = (z + _WRAP * x * x)[behind].max()
    nose = landmark(person.shape, (0.0, 0.030, 0.210), rest=True)[2] - 0.008
    return float(torch.maximum(reach, nose)) + _CLEAR


def _lens(outline: Tensor, side: float, half: float, y: float, plane: float) -> Tensor:
    """Grid [rings,A,3] of a lens from its middle to its rim."""
    share = torch.linspace(0.001, 1, _RINGS, device=outline.device)[:, None]
    x = side * (half + share * outline[:, 0])
    height = y + share * outline[:, 1]
    z = plane - _WRAP * x * x + 0.004 * (1 - share * share)
    return torch.stack([x, height, z.expand_as(x)], -1)


def _bridge(outline: Tensor, half: float, y: float, plane: float) -> Tensor:
    inner = half + float(outline[:, 0].min())
    x = torch.linspace(-inner - 0.001, inner + 0.001, 13, device=outline.device)
    u = 1 - (x / inner) ** 2
    return torch.stack([x, y + 0.010 + 0.007 * u, plane - _WRAP * x * x + 0.004 * u], 1)


def _temple(person: Person, outline: Tensor, side: float, half: float, y: float, plane: float) -> Tensor:
    """Path of the temple from the rim's outer end over the root of the ear to behind it."""
    k = int((outline[:, 0] + 0.6 * outline[:, 1]).argmax())
    x = half + float(outline[k, 0])
    start = torch.tensor([side * x, y + float(outline[k, 1]) * 0.75, plane - _WRAP * x * x])
    ear = landmark(person.shape, (side * 0.172, 0.044, 0.000), rest=True).cpu()
    ear = ear + torch.tensor([side * 0.006, 0.004, 0.0])
    outer = abs(float(start[0])) + 0.004 + 0.3 * max(0.0, abs(float(ear[0])) - abs(float(start[0])))
    hinge = torch.tensor([outer * side, float(start[1]), float(start[2]) - 0.028])
    end = ear + torch.tensor([-side * 0.004, -0.030, -0.045])
    corners = torch.stack([start, hinge, hinge + (ear - hinge) * 0.5, ear, end])
    t = torch.linspace(0, 1, 5)
    parts = [corners[k] + (corners[k + 1] - corners[k]) * t[:-1, None] for k in range(4)]
    return torch.cat([*parts, corners[-1:]]).to(outline.device)


def _solid(painter: Painter, vertices: Tensor, triangles: Tensor, tone: Tensor, metal: bool) -> Mesh:
    shine = (0.10, 0.45) if metal else (0.006, 0.07)
    normals = normals_of(vertices, triangles)
    return painter.mesh(vertices, normals, triangles, tone.expand_as(vertices), gloss=shine)


def _glassy(painter: Painter, grid: Tensor, side: float, state: State) -> Mesh:
    """A lens: what shines through is left to its alpha; reflections are those of a viewer in front."""
    rings, turns = grid.shape[:2]
    normals = grid_normals(grid, closed=True)
    normals = normals * normals[..., 2:].sign()
    bulged = F.normalize(normals + grid.new_tensor([2.0, 0.8, 0.0]) * (grid - grid.mean((0, 1))), dim=-1)
    height = (grid[..., 1] - grid[..., 1].min()) / (grid[..., 1].max() - grid[..., 1].min())
    lighter = state["gradient"] * rise(height, 0.75, 0.0)
    tint = palette(_LENS, state["tint"], grid)
    colour = tint.expand_as(grid) * (1 + 1.5 * lighter[..., None])
    sky = rise(height, 0.55, 1.0) * 0.010
    across = grid[..., 0] - side * 0.07 + 0.45 * (grid[..., 1] - grid[..., 1].mean())
    streak = (
        torch.exp(-((across / 0.009) ** 2)) * 0.014 + torch.exp(-(((across - 0.018) / 0.004) ** 2)) * 0.008
    )
    colour = colour + (sky + streak)[..., None] * colour.new_tensor([0.80, 0.93, 1.0])
    alpha = 0.985 - 0.20 * lighter
    albedo = torch.cat([blend(colour, colour * 0.6, rise(height, 0.9, 1.0)), alpha[..., None]], -1)
    triangles = grid_triangles(rings, turns, closed=True).to(grid.device)
    return painter.mesh(
        grid.reshape(-1, 3), bulged.reshape(-1, 3), triangles, albedo.reshape(-1, 4), gloss=(0.0, 0.02)
    )
