"""Steps of hair: from the scalp along combed ways, under gravity, over the skin."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inverters.people.hair.head_field import MIDDLE, HeadField
from inverters.people.hair.roots import Roots
from inverters.people.hair.vectors import unit
from inverters.people.ramps import rise

STEPS = 40
"""Points of a guide."""
_LAID = 0.003
"""Least height over the skin."""


@dataclass(frozen=True)
class Scalp:
    """Where N guides start on a person's head."""

    position: Tensor
    """[N,3]."""
    normal: Tensor
    """[N,3]."""
    canonical: Tensor
    """[N,3]: the same on the base mesh."""
    draw: Tensor
    """[N,6] in [0,1)."""
    field: HeadField
    ear: Tensor
    """[2,3]: middles of the ears."""

    @property
    def up(self) -> Tensor:
        """How far on top each root is, [N,1] in [-1,1]."""
        return unit(self.canonical - self.canonical.new_tensor(MIDDLE))[:, 1:2]


@dataclass(frozen=True)
class Way:
    """How N guides go: what `march` follows."""

    arc: Tensor
    """[N,1]: lengths in world units."""
    start: Tensor
    """[N,3]: first direction, any length."""
    flow: Tensor
    """[N,3]: direction that a comb gave them near the root."""
    gravity: Tensor
    """[N,1]: turn to the ground, radians a unit."""
    layer: Tensor
    """[N,1]: height over the skin in which they lie."""
    held: float
    """How much they keep to their layer, in [0,1]."""
    beside: float
    """How much they leave the face free, in [0,1]."""
    tuck: float = 0.0
    """Turn towards the neck at the tips, radians a unit."""
    end: float = 0.0
    """Height of the tips that are tucked."""


def scalp_of(roots: Roots, vertices: Tensor, normals: Tensor, field: HeadField, ear: Tensor) -> Scalp:
    """Return where roots lie on a mesh with vertices and normals [V1,3]."""
    position, normal = roots.placed(vertices, normals)
    return Scalp(position, normal, roots.canonical, roots.draw, field, ear)


def march(scalp: Scalp, way: Way) -> Tensor:
    """Step guides from the scalp, [N,STEPS,3], evenly along their lengths."""
    step = way.arc / (STEPS - 1)
    direction = unit(way.start)
    at = scalp.position + 0.001 * scalp.normal
    points, done = [at], torch.zeros_like(step)
    for _ in range(STEPS - 1):
        direction = unit(direction + step.clamp_max(0.04) * _turn(at, way, done))
        done = done + step
        following = _beside_face(_settled(at + step * direction, scalp, way, done), scalp, way)
        direction = unit(0.35 * direction + 0.65 * unit(following - at))
        at = following
        points.append(at)
    return torch.stack(points, 1)


def _turn(at: Tensor, way: Way, done: Tensor) -> Tensor:
    """What turns the hair at points [N,3] after the lengths `done` [N,1], radians a unit."""
    weight = way.gravity * (done / 0.06).clamp(0.25, 1.0)
    turn = 15.0 * torch.exp(-done / 0.07) * way.flow + weight * at.new_tensor([0.0, -1.0, 0.0])
    if way.tuck:
        axis = (at - at.new_tensor(MIDDLE)) * at.new_tensor([1.0, 0.0, 1.0])
        turn = turn - way.tuck * rise(at[:, 1:2], way.end + 0.12, way.end + 0.02) * unit(axis)
    return turn


def _settled(at: Tensor, scalp: Scalp, way: Way, done: Tensor) -> Tensor:
    """Points [N,3] out of the head, and in their layer while they lie on it."""
    height, normal = scalp.field.height(at)
    height = height[:, None]
    near_ear = sum((-(at - ear).square().sum(1, keepdim=True) / 0.055**2).exp() for ear in scalp.ear)
    clear = _LAID + way.layer * (done / 0.05).clamp_max(1) + 0.022 * way.beside * near_ear
    out = (clear - height).clamp_min(0)
    on_head = rise(at[:, 1:2], -0.06, 0.03) * way.held
    down = (height - 1.15 * clear - 0.004).clamp(0, 0.02) * on_head * 0.7
    return at + normal * (out - down)


def _beside_face(at: Tensor, scalp: Scalp, way: Way) -> Tensor:
    """Points [N,3] turned about the head's axis until they leave the face free."""
    if not way.beside:
        return at
    x, y, z = (at - at.new_tensor(MIDDLE)).split(1, 1)
    azimuth = torch.atan2(x.abs(), z)
    free = 0.52 * rise(y, 0.13, 0.06) + 0.26 * rise(y, 0.06, 0.0) + 0.37 * rise(y, 0.0, -0.12)
    free = free + 0.22 * (scalp.draw[:, 4:5] - 0.55)
    turn = (free - azimuth).clamp(0, 0.35) * 0.40 * way.beside * torch.where(x < 0, -1.0, 1.0)
    # On the shoulders hair parts to the chest and to the back.
    apart = 0.10 * torch.tanh((azimuth - 1.5) / 0.12) * rise(y, -0.33, -0.45) * way.beside
    turn = turn + apart * torch.where(x < 0, -1.0, 1.0)
    cos, sin = torch.cos(turn), torch.sin(turn)
    return torch.cat([x * cos + z * sin, y, z * cos - x * sin], 1) + at.new_tensor(MIDDLE)
