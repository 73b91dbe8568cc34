"""A drinking glass with liquid, lifted to the mouth by a hand, tipped, and put down again."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from inverters.people.light import linear
from inverters.people.occluders.base import Occluder, Painter, State, mesh, p, palette
from inverters.people.occluders.hand import come_and_go
from inverters.people.occluders.hand_shape import (
    Pose,
    forearm,
    hand_model,
    placed,
    posed,
    skin_mesh,
    sleeve,
    tone,
)
from inverters.people.occluders.surface import grid_normals, grid_triangles, mesh_of
from inverters.people.params import Parameter
from inverters.people.parts import Mesh
from inverters.people.person import Person
from inverters.people.picture import Extra
from inverters.people.ramps import rise

_LIQUID = ((0.78, 0.90, 0.96), (0.96, 0.66, 0.12), (0.86, 0.28, 0.20), (0.36, 0.12, 0.06), (0.96, 0.95, 0.90))
_RADII, _HEIGHT, _WALL, _FLOOR = (0.050, 0.064), 0.225, 0.0035, 0.016
"""Radius at foot and rim, height, wall and floor of the glass, world units."""
_ROWS, _SIDES = 30, 56
_FACING = (0.0, 0.35, 0.94)
"""Normal of what light comes through."""
_GRIP = Pose(((0.30, 0.45, 0.35), *((0.62 + 0.03 * k, 0.80, 0.50) for k in range(4))))
_HOLD = (0.0, 0.19, 0.088)
"""Where the glass's axis passes through the hand, in the hand's frame."""


class DrinkingGlass(Occluder):
    """A tumbler: clear walls, a thick floor, a level liquid, and the hand that holds it."""

    parameters: ClassVar[tuple[Parameter, ...]] = (
        p("liquid", 0.0, 1.0, "water, orange juice, red juice, cola, milk"),
        p("fill", 0.35, 0.75, "how full it is"),
        p("size", 0.92, 1.1, "scale of the glass", "place"),
        p("side", 0.0, 1.0, "held from the image's left (lower half) or right", "place"),
        p("tip", 0.75, 1.15, "how far it is tipped at the mouth, in radians", "motion"),
        p("sleeve", 0.0, 1.0, "dark to light sleeve"),
        p("period", 2.8, 3.8, "seconds from sip to sip", "motion"),
        p("way", -1.0, 1.0, "coming (-), at the mouth (0), put down (+)", "motion"),
    )

    @classmethod
    def animate(cls, state: dict[str, Tensor], times: Tensor) -> dict[str, Tensor]:
        """See `Occluder.animate`."""
        share = torch.remainder(times[:, None] / state["period"].double() + 0.03, 1.0)
        way = come_and_go(share)
        drink = torch.exp(-((way / 0.25) ** 2)) * torch.sin(math.pi * ((share - 0.1) / 0.5).clamp(0, 1))
        dtype = state["tip"].dtype
        return {**state, "way": way.to(dtype), "tip": (state["tip"] + 0.22 * (drink - 0.5)).to(dtype)}

    @classmethod
    def build(cls, person: Person, state: State) -> Extra:
        """See `Occluder.build`."""
        base, shape = mesh_of(person.shape), person.shape
        lips = shape.vertices[base.level1.mask("lips") > 0.5]
        away, size = abs(state["way"]), state["size"]
        right = state["side"] < 0.5
        side = -1.0 if right else 1.0
        tip = state["tip"] * (1 - min(1.0, 2.2 * away)) + 0.05
        axis = lips.new_tensor([-0.10 * side * away, math.cos(tip), -math.sin(tip)])
        axis = F.normalize(axis, dim=0)
        middle = lips.mean(0)
        rim = middle - lips.new_tensor([0.0, 0.010, 0.0])
        rim[2] = lips[:, 2].max() + 0.002
        # The rim's near edge rests on the lower lip: the axis passes one radius before it.
        out = F.normalize(lips.new_tensor([0.0, math.sin(tip), math.cos(tip)]), dim=0)
        foot = rim + out * _RADII[1] * size - axis * _HEIGHT * size
        foot = foot + lips.new_tensor([side * 0.22 * away, -0.80 * away, 0.10 * min(1.0, 2 * away)])
        axes = _axes(axis)
        outer = _wall(foot, axes, size, 0.0)
        inner = _wall(foot, axes, size, _WALL)
        hand = _hand(person, foot + axis * 0.085 * size, axis, side, right)
        painter = Painter(person, hand)
        model = hand_model(str(lips.device))
        skin = skin_mesh(painter, model, hand[0], right, tone(person.values, None))
        cloth = hand[1].new_tensor([0.02, 0.022, 0.03]) + 0.5 * state["sleeve"] ** 2
        level = float((foot + axis * (_FLOOR + state["fill"] * (_HEIGHT - _FLOOR)) * size)[1])
        glassy = [_floor(painter, outer), _liquid(painter, inner, level, state), _shell(painter, outer)]
        surface = _surface(painter, inner, level, state)
        return Extra([skin, sleeve(painter, hand[1], cloth, (0.060, 0.105))], [], [*glassy, *surface])


def _axes(axis: Tensor) -> Tensor:
    x = F.normalize(torch.linalg.cross(axis, axis.new_tensor([0.0, 0.0, 1.0])), dim=0)
    return torch.stack([x, axis, torch.linalg.cross(x, axis)])


def _wall(foot: Tensor, axes: Tensor, size: float, inset: float) -> Tensor:
    """Grid [rows,sides,3] of the outer wall, or of the inner one above the floor."""
    low = _FLOOR if inset else 0.0
    height = torch.linspace(low, _HEIGHT, _ROWS, device=foot.device)[:, None]
    radius = _RADII[0] + (_RADII[1] - _RADII[0]) * height / _HEIGHT - inset
    turn = torch.arange(_SIDES, device=foot.device) * (2 * math.pi / _SIDES)
    local = torch.stack([radius * torch.sin(turn), height.expand(-1, _SIDES), radius * torch.cos(turn)], -1)
    return foot + (local * size) @ axes


def _fresnel(points: Tensor, normals: Tensor) -> Tensor:
    """How much glass reflects to a viewer in front, in [0,1]."""
    view = F.normalize(points.new_tensor([0.0, 0.0, 2.7]) - points, dim=-1)
    return (1 - (normals * view).sum(-1).abs()).clamp(0, 1) ** 2.5


def _flat(grid: Tensor) -> tuple[Tensor, Tensor]:
    rows, sides = grid.shape[:2]
    return grid.reshape(-1, 3), grid_triangles(rows, sides, closed=True).to(grid.device)


def _shell(painter: Painter, outer: Tensor) -> Mesh:
    """The wall: nearly clear, brighter where it turns away, white along the rim."""
    normals = grid_normals(outer, closed=True)
    edge = _fresnel(outer, normals)
    up = torch.linspace(0, 1, len(outer), device=outer.device)[:, None]
    rim = rise(up, 0.965, 0.99)
    alpha = (0.07 + 0.45 * edge + 0.35 * rim).clamp_max(0.8)
    vertices, triangles = _flat(outer)
    grey = outer.new_tensor([0.80, 0.84, 0.86]).expand_as(outer)
    albedo = torch.cat([grey, alpha[..., None]], -1).reshape(-1, 4)
    made = painter.mesh(vertices, normals.reshape(-1, 3), triangles, albedo, gloss=(0.0, 0.5))
    lit = painter.lit(vertices, normals.reshape(-1, 3))
    shine = (lit.gloss[:, 1] * 0.5).clamp(0, 0.7)
    colours = made.colours.clone()
    colours[:, 3] = torch.maximum(colours[:, 3], shine)
    return mesh(vertices, colours, triangles)


def _floor(painter: Painter, outer: Tensor) -> Mesh:
    """The thick floor of the glass: a disc and a low ring."""
    centre = outer[0].mean(0)
    share = torch.tensor([0.05, 0.6, 0.92, 1.0], device=outer.device)[:, None, None]
    disc = centre + share * (outer[0] - centre)
    facing = disc.new_tensor(_FACING).expand_as(disc)
    alpha = torch.tensor([0.16, 0.20, 0.42, 0.55], device=outer.device)[:, None].expand(-1, outer.shape[1])
    albedo = torch.cat([outer.new_tensor([0.70, 0.78, 0.80]).expand_as(disc), alpha[..., None]], -1)
    vertices, triangles = _flat(disc)
    return painter.mesh(vertices, facing.reshape(-1, 3), triangles, albedo.reshape(-1, 4))


def _cover(state: State) -> float:
    """Alpha of the liquid seen through: water is clear, milk is not."""
    return 0.16 + 0.72 * min(1.0, 4 * state["liquid"])


def _liquid(painter: Painter, inner: Tensor, level: float, state: State) -> Mesh:
    """The liquid along the inner wall, below the level."""
    normals = grid_normals(inner, closed=True)
    colour = palette(_LIQUID, state["liquid"], inner)
    wet = rise(inner[..., 1], level + 0.003, level - 0.003)
    alpha = wet * (_cover(state) + 0.10 * _fresnel(inner, normals))
    albedo = torch.cat([colour.expand_as(inner), alpha[..., None]], -1).reshape(-1, 4)
    vertices, triangles = _flat(inner)
    # Light comes through the liquid: it is bright on all sides.
    through = F.normalize(0.35 * normals + normals.new_tensor(_FACING), dim=-1)
    return painter.mesh(vertices, through.reshape(-1, 3), triangles, albedo, (0.8, 0.8, 0.8))


def _surface(painter: Painter, inner: Tensor, level: float, state: State) -> list[Mesh]:
    """The liquid's level surface: where the inner wall's lines cross the level."""
    low, high = inner[0], inner[-1]
    share = ((level - low[:, 1]) / (high[:, 1] - low[:, 1]).clamp_min(1e-4)).clamp(0, 1)
    edge = low + share[:, None] * (high - low)
    centre = edge.mean(0)
    rings = torch.tensor([0.02, 0.5, 1.0], device=inner.device)[:, None, None]
    disc = centre + rings * (edge - centre)
    colour = palette(_LIQUID, state["liquid"], inner) * 1.1 + linear(inner.new_tensor(0.2))
    alpha = torch.full_like(disc[..., :1], 0.8 * _cover(state))
    albedo = torch.cat([colour.expand_as(disc), alpha], -1).reshape(-1, 4)
    vertices, triangles = _flat(disc)
    up = disc.new_tensor([0.0, 1.0, 0.0]).expand_as(vertices)
    return [painter.mesh(vertices, up, triangles, albedo, gloss=(0.0, 0.2))]


def _hand(person: Person, hold: Tensor, axis: Tensor, side: float, right: bool) -> list[Tensor]:
    """Points of the hand and of the forearm's path in the world; the thumb is towards the rim."""
    model = hand_model(str(hold.device))
    back = F.normalize(axis.new_tensor([side * 0.92, -0.1, 0.40]), dim=0)
    back = F.normalize(back - (back * axis).sum() * axis, dim=0)
    fingers = torch.linalg.cross(axis, back) * (1.0 if right else -1.0)
    arm = forearm(model)
    points = torch.cat([posed(model, _GRIP), arm])
    at = placed(points, points.new_zeros(3), fingers, -back, right)
    grip = placed(points.new_tensor([_HOLD]), points.new_zeros(3), fingers, -back, right)[0]
    at = at + (hold - grip)
    return [at[: -len(arm)], at[-len(arm) :]]
