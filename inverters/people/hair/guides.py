"""Guide hairs of a head: stepped from the scalp along combed ways, under gravity, over the skin."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from inverters.people.expressions import rise
from inverters.people.hair.head_field import MIDDLE, HeadField
from inverters.people.hair.noise import noise
from inverters.people.hair.roots import Roots
from inverters.people.hair.style import Style, ramp

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
        return F.normalize(self.canonical - self.canonical.new_tensor(MIDDLE), dim=-1)[:, 1:2]


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
    open_face: Tensor
    """[N,1] in [0,1]: whether they leave the face free."""


def scalp_of(roots: Roots, vertices: Tensor, normals: Tensor, field: HeadField, ear: Tensor) -> Scalp:
    """Return where roots lie on a mesh with vertices and normals [V1,3]."""
    position, normal = roots.placed(vertices, normals)
    return Scalp(position, normal, roots.canonical, roots.draw, field, ear)


def march(scalp: Scalp, way: Way) -> Tensor:
    """Step guides from the scalp, [N,STEPS,3], evenly along their lengths."""
    step = way.arc / (STEPS - 1)
    direction = F.normalize(way.start, dim=-1)
    at = scalp.position + 0.001 * scalp.normal
    down = at.new_tensor([0.0, -1.0, 0.0])
    wide = scalp.ear[:, 0].abs().mean() / 0.195
    points, done = [at], torch.zeros_like(step)
    for _ in range(STEPS - 1):
        combed = 15.0 * torch.exp(-done / 0.07)
        turn = combed * way.flow + way.gravity * down
        direction = F.normalize(direction + step.clamp_max(0.04) * turn, dim=-1)
        done = done + step
        following = _settled(at + step * direction, scalp, way, done, wide)
        direction = F.normalize(0.35 * direction + 0.65 * F.normalize(following - at, dim=-1), dim=-1)
        at = following
        points.append(at)
    return torch.stack(points, 1)


def _settled(at: Tensor, scalp: Scalp, way: Way, done: Tensor, wide: Tensor) -> Tensor:
    """Points [N,3] out of the head, in their layer while they lie on it, and beside the face."""
    height, normal = scalp.field.height(at)
    height = height[:, None]
    near_ear = (-(torch.cdist(at, scalp.ear) / 0.055).square()).exp().sum(1, keepdim=True)
    clear = _LAID + way.layer * (done / 0.05).clamp_max(1) + 0.022 * near_ear * way.open_face
    out = (clear - height).clamp_min(0)
    ceiling = 1.15 * clear + 0.004
    on_head = rise(at[:, 1:2], -0.06, 0.03) * way.held
    down = (height - ceiling).clamp_min(0).clamp_max(0.02) * on_head * 0.7
    at = at + normal * (out - down)
    x, y, z = at.split(1, 1)
    edge = wide * (0.150 - 0.012 * rise(y, 0.0, -0.15))
    before = rise(z, 0.02, 0.08) * rise(y, 0.165, 0.125) * way.open_face
    aside = (edge - x.abs()).clamp_min(0) * before * 0.45
    return torch.cat([x + torch.where(x < 0, -aside, aside), y, z], 1)


def tangent(direction: Tensor, normal: Tensor) -> Tensor:
    """Unit directions [N,3] along the surface."""
    return F.normalize(direction - (direction * normal).sum(1, keepdim=True) * normal, dim=-1, eps=1e-6)


def loose(scalp: Scalp, style: Style) -> Tensor:
    """Guides [N,STEPS,3] of hair that is not tied."""
    return march(scalp, _way(scalp, style))


def _way(scalp: Scalp, style: Style) -> Way:
    c, n, u, up = scalp.canonical, scalp.normal, scalp.draw, scalp.up
    top, front = rise(up, 0.45, 0.92), rise(c[:, 2:3], 0.0, 0.13)
    side = torch.tanh((c[:, :1] - style.part + 0.010 * noise(c, 26, 4)[:, None]) / 0.010)
    across = c.new_tensor([1.0, 0.0, 0.0])
    toward = 1.0 if style.part <= 0 else -1.0
    forward = c.new_tensor([0.25 * toward, 0.10, 0.75]) * top + c.new_tensor([0.0, -1.0, 0.10]) * (1 - top)
    parted = (
        side * across * (0.35 + 0.65 * top)
        + c.new_tensor([0.0, -0.15, -0.35])
        + (1 - top) * c.new_tensor([0.0, -1.2, -0.35])
    )
    falling = (
        side * across * 0.9 + c.new_tensor([0.0, -0.5, -0.40]) + (1 - top) * c.new_tensor([0.0, -0.8, -0.15])
    )
    short = torch.lerp(forward, parted, style.sideways)
    messy = torch.stack([noise(c, 30, k) for k in (5, 6, 7)], 1) + 0.5 * (u[:, :3] - 0.5)
    short = short + 1.3 * style.tousled * (0.4 + 0.6 * top) * messy
    flow = tangent(torch.lerp(short, falling, style.long), n)
    stand = max(style.tight, 0.55 * style.curl)
    init = 0.20 + (0.55 + 0.35 * style.tousled) * (1 - style.long) * (0.35 + 0.65 * top) + 1.5 * stand
    flow = flow * (1 - 0.85 * style.tight) + 0.35 * style.curl * messy
    ratio = style.sides + (1 - style.sides) * torch.maximum(top, 0.75 * front)
    ratio = ratio * (1 - style.tight * (1 - style.long) * 0.1)
    arc = torch.lerp(style.arc * ratio, torch.full_like(ratio, _reach(style)), style.long)
    afro = (0.045 + 0.075 * style.volume) * ramp(style.level, 0.1, 0.5) + 0.10 * style.long * (
        0.3 + 0.7 * style.volume
    )
    arc = torch.lerp(
        arc,
        torch.minimum(arc, torch.full_like(arc, max(afro, 0.012)) * (0.65 + 0.35 * rise(up, -0.4, 0.4))),
        style.tight,
    )
    arc = arc * (1 - 0.25 * style.curl * (1 - style.tight))
    lift = (0.006 + 0.018 * ramp(style.level, 0.12, 0.5)) * (0.45 + 1.1 * style.volume)
    lift *= 1 + 0.6 * style.curl
    layer = lift * (0.25 + 0.95 * u[:, :1]) * (1 - 0.5 * (1 - style.long) * (1 - top))
    gravity = (
        torch.full_like(layer, 1.0 + 8.0 * style.long) * (1 - 0.35 * style.curl) * (1 - 0.97 * style.tight)
    )
    held = (1 - style.tight) * (1 - 0.45 * style.curl)
    open_face = torch.full_like(layer, style.long * (1 - style.tight))
    return Way(arc, flow + init * n, flow, gravity, layer, held, open_face)


def _reach(style: Style) -> float:
    """Length of the longest way down to where long hair ends."""
    return 0.50 + max(0.0, -0.05 - style.fall) * 1.05


def cut(guides: Tensor, scalp: Scalp, style: Style) -> Tensor:
    """Share [N] of each guide that is kept, so that long hair ends at one height, softly in layers."""
    ragged = 0.018 * noise(scalp.canonical, 18, 8) + 0.05 * (scalp.draw[:, 1] - 0.6) * (0.5 + style.curl)
    level = style.fall + ragged + 0.03 * rise(scalp.up[:, 0], 0.5, 0.95)
    below = rise(guides[..., 1] - level[:, None], 0.02, -0.02)
    share = (1 - below).sum(1) / guides.shape[1]
    return torch.lerp(torch.ones_like(share), share.clamp_min(0.2), style.long * (1 - style.tight))


def waved(guides: Tensor, scalp: Scalp, style: Style) -> Tensor:
    """Guides with waves that neighbours share, and with curls of their own."""
    arc = torch.cat([guides.new_zeros(len(guides), 1), guides.diff(dim=1).norm(dim=-1).cumsum(1)], 1)
    begin = (arc / 0.10).clamp_max(1)
    phase = (2.2 * noise(scalp.canonical, 9, 9) + 0.8 * scalp.draw[:, 2])[:, None]
    ahead = F.normalize(guides[:, 2:] - guides[:, :-2], dim=-1, eps=1e-6)
    ahead = torch.cat([ahead[:, :1], ahead, ahead[:, -1:]], 1)
    u = F.normalize(
        torch.linalg.cross(ahead, guides.new_tensor([0.3, 1.0, 0.2]).expand_as(ahead)), dim=-1, eps=1e-6
    )
    w = torch.linalg.cross(ahead, u)
    swing = (0.0012 + 0.012 * style.wave * (0.35 + 0.65 * style.long)) * begin
    turn = arc * (48 + 14 * scalp.draw[:, 3:4]) + phase * 2
    moved = swing[..., None] * (torch.cos(turn)[..., None] * u + 0.6 * torch.sin(turn + 0.8)[..., None] * w)
    if style.curl > 0:
        pitch = 2 * torch.pi / (0.058 - 0.030 * style.tight)
        radius = (0.0105 - 0.0055 * style.tight) * (0.7 + 0.6 * scalp.draw[:, 4:5]) * (0.35 + 0.65 * begin)
        radius = radius * style.curl * min(1.0, 0.25 + style.arc / 0.12)
        turn = arc * pitch * (0.8 + 0.4 * scalp.draw[:, 3:4]) + 6.28 * scalp.draw[:, 5:6]
        moved = moved + radius[..., None] * (torch.cos(turn)[..., None] * u + torch.sin(turn)[..., None] * w)
    return guides + moved


def fringe(scalp: Scalp, style: Style) -> tuple[Tensor, Tensor]:
    """Guides [N,STEPS,3] that fall over the forehead, and the share [N] of each that is there.

    They lengthen from nothing as the parameter rises, the middle first.
    """
    c, n, u = scalp.canonical, scalp.normal, scalp.draw
    sweep = -6.0 * style.part
    spread = 2.2 * c[:, :1] + 0.10 * (u[:, 1:2] - 0.5)
    direction = torch.cat(
        [spread + 0.8 * sweep, torch.full_like(spread, -0.35), torch.full_like(spread, 0.9)], 1
    )
    flow = tangent(direction + 0.25 * torch.stack([noise(c, 24, k) for k in (11, 12, 13)], 1), n)
    back = rise(c[:, 2:3], 0.14, 0.06)
    arc = (0.105 + 0.050 * back + 0.10 * c[:, :1].abs()) * (0.85 + 0.22 * u[:, :1])
    layer = 0.004 + (0.006 + 0.010 * style.volume) * (0.3 + 0.7 * u[:, 2:3])
    still = torch.zeros_like(layer)
    guides = march(scalp, Way(arc, flow + 0.55 * n, flow, still + 7.0, layer, 0.9, still))
    grown = ramp(style.fringe, 0.0, 0.45) * 1.35 - 0.35 * (c[:, 0] / 0.12).abs() - 0.2 * u[:, 3]
    return guides, grown.clamp(0, 1) * min(1.0, style.fringe * 4)
