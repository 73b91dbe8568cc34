"""Guides of loose hair and of a fringe: how a style combs, curls and cuts them."""

from __future__ import annotations

import torch
from torch import Tensor

from inverters.people.hair.march import Scalp, Way, march
from inverters.people.hair.style import Style
from inverters.people.hair.vectors import length, off, tangents, unit
from inverters.people.noise import noise
from inverters.people.ramps import rise, rise_of


def loose(scalp: Scalp, style: Style) -> Tensor:
    """Guides [N,STEPS,3] of hair that is not tied."""
    top = rise(scalp.up, 0.45, 0.92)
    messy = 0.7 * torch.stack([noise(scalp.canonical, 30, k) for k in (5, 6, 7)], 1)
    messy = messy + 0.5 * (scalp.draw[:, :3] - 0.5)
    flow = off(_combed(scalp, style, top, messy), scalp.normal)
    front = rise(scalp.canonical[:, 2:3], 0.04, 0.12) * top
    curled = 1.5 * max(style.tight, 0.55 * style.curl)
    stand = (0.55 + 0.35 * style.tousled) * (1 - style.long) * (0.35 + 0.65 * top)
    start = flow + (0.20 + 0.45 * style.long * front + stand + curled) * scalp.normal
    flow = flow * (1 - 0.85 * style.tight) + 0.35 * style.curl * messy
    lift = (0.006 + 0.018 * rise_of(style.level, 0.12, 0.5)) * (0.45 + 1.1 * style.volume)
    lift *= 1 + 0.6 * style.curl
    layer = lift * (0.25 + 0.95 * scalp.draw[:, :1]) * (1 - 0.5 * (1 - style.long) * (1 - top))
    gravity = (1.0 + 8.0 * style.long) * (1 - 0.35 * style.curl) * (1 - 0.97 * style.tight)
    way = Way(
        arc=_arcs(scalp, style, top),
        start=start,
        flow=flow,
        gravity=torch.full_like(layer, gravity),
        layer=layer,
        held=(1 - style.tight) * (1 - 0.45 * style.curl),
        beside=style.long * (1 - style.tight),
        tuck=11.0 * style.tuck * (1 - style.curl),
        end=style.fall,
    )
    return march(scalp, way)


def _combed(scalp: Scalp, style: Style, top: Tensor, messy: Tensor) -> Tensor:
    """Directions [N,3] in which a comb laid the hair."""
    c, low = scalp.canonical, 1 - top
    front = rise(c[:, 2:3], 0.03, 0.12) * top
    side = torch.tanh((c[:, :1] - style.part + 0.0055 * noise(c, 26, 4)[:, None]) / 0.003)
    # No lock lies between the sides: it would stand up.
    side = torch.where(side < 0, side.clamp_max(-0.7), side.clamp_min(0.7))
    # The parting ends behind the crown; from there hair spreads evenly.
    side = torch.lerp((c[:, :1] / 0.16).clamp(-1, 1), side, rise(c[:, 2:3], -0.15, -0.04))
    across = c.new_tensor([1.0, 0.0, 0.0]) * side
    toward = 1.0 if style.part <= 0 else -1.0
    forward = top * c.new_tensor([0.25 * toward, 0.10, 0.75]) + low * c.new_tensor([0.0, -1.0, 0.10])
    parted = across * (0.35 + 0.65 * top) + c.new_tensor([0.0, -0.15, -0.35])
    parted = parted + low * c.new_tensor([0.0, -1.2, -0.35])
    falling = 0.9 * across + c.new_tensor([0.0, -0.5, -0.40]) + low * c.new_tensor([0.0, -0.8, -0.15])
    falling = falling + front * c.new_tensor([0.0, 0.45, -0.35])
    short = torch.lerp(forward, parted, style.sideways)
    short = short + 1.3 * style.tousled * (0.4 + 0.6 * top) * messy
    return torch.lerp(short, falling, style.long)


def _arcs(scalp: Scalp, style: Style, top: Tensor) -> Tensor:
    """Lengths [N,1] before long hair is cut."""
    front = rise(scalp.canonical[:, 2:3], 0.0, 0.13)
    short = style.arc * (style.sides + (1 - style.sides) * torch.maximum(top, 0.75 * front))
    reach = 0.50 + max(0.0, -0.05 - style.fall) * 1.05
    arc = torch.lerp(short, torch.full_like(short, reach), style.long)
    afro = (0.035 + 0.055 * style.volume) * rise_of(style.level, 0.1, 0.5)
    afro += 0.05 * style.long * (0.2 + 0.8 * style.volume)
    ball = max(afro, 0.012) * (0.60 + 0.40 * rise(scalp.up, -0.4, 0.4))
    arc = torch.lerp(arc, torch.minimum(arc, ball), style.tight)
    return arc * (1 - 0.25 * style.curl * (1 - style.tight))


def cut(guides: Tensor, scalp: Scalp, style: Style) -> Tensor:
    """Share [N] of each guide that is kept, so that long hair ends at one height, softly in layers."""
    ragged = 0.0125 * noise(scalp.canonical, 18, 8) + 0.05 * (scalp.draw[:, 1] - 0.6) * (0.5 + style.curl)
    level = style.fall + ragged + 0.03 * rise(scalp.up[:, 0], 0.5, 0.95)
    below = rise(guides[..., 1] - level[:, None], 0.02, -0.02)
    share = (1 - below).sum(1) / guides.shape[1]
    return torch.lerp(torch.ones_like(share), share.clamp_min(0.2), style.long * (1 - style.tight))


def waved(guides: Tensor, scalp: Scalp, style: Style) -> Tensor:
    """Guides with waves that neighbours share, and with curls of their own."""
    arc = torch.cat([guides.new_zeros(len(guides), 1), length(guides.diff(dim=1)).cumsum(1)], 1)
    begin = (arc / 0.10).clamp_max(1)
    phase = (1.6 * noise(scalp.canonical, 9, 9) + 0.8 * scalp.draw[:, 2])[:, None]
    ahead = tangents(guides)
    u = unit(torch.linalg.cross(ahead, guides.new_tensor([0.3, 1.0, 0.2]).expand_as(ahead)))
    w = torch.linalg.cross(ahead, u)
    swing = (0.0012 + 0.012 * style.wave * (0.35 + 0.65 * style.long)) * begin
    turn = arc * (48 + 14 * scalp.draw[:, 3:4]) + phase * 2
    along_u, along_w = swing * torch.cos(turn), 0.6 * swing * torch.sin(turn + 0.8)
    if style.curl > 0:
        pitch = 2 * torch.pi / (0.058 - 0.030 * style.tight)
        radius = (0.0105 - 0.0055 * style.tight) * (0.7 + 0.6 * scalp.draw[:, 4:5]) * (0.35 + 0.65 * begin)
        radius = radius * style.curl * min(1.0, 0.25 + style.arc / 0.12)
        turn = arc * pitch * (0.8 + 0.4 * scalp.draw[:, 3:4]) + 6.28 * scalp.draw[:, 5:6]
        along_u, along_w = along_u + radius * torch.cos(turn), along_w + radius * torch.sin(turn)
    return guides + along_u[..., None] * u + along_w[..., None] * w


def fringe(scalp: Scalp, style: Style) -> tuple[Tensor, Tensor]:
    """Guides [N,STEPS,3] that fall over the forehead, and the share [N] of each that is there.

    They lengthen from nothing as the parameter rises, the middle first.
    """
    c, u = scalp.canonical, scalp.draw
    ahead = torch.stack(
        [2.2 * c[:, 0] + 0.10 * (u[:, 1] - 0.5) - 4.8 * style.part, 0 * c[:, 0], 0 * c[:, 0]], 1
    )
    ahead = ahead + c.new_tensor([0.0, -0.35, 0.9])
    flow = off(ahead + 0.11 * torch.stack([noise(c, 24, k) for k in (11, 12, 13)], 1), scalp.normal)
    back = rise(c[:, 2:3], 0.14, 0.06)
    arc = (0.130 + 0.060 * back + 0.10 * c[:, :1].abs()) * (0.85 + 0.22 * u[:, :1])
    layer = 0.004 + (0.006 + 0.010 * style.volume) * (0.3 + 0.7 * u[:, 2:3])
    way = Way(arc, flow + 0.55 * scalp.normal, flow, torch.full_like(layer, 7.0), layer, 0.9, 0.0)
    grown = rise_of(style.fringe, 0.0, 0.45) * 1.35 - 0.35 * (c[:, 0] / 0.12).abs() - 0.2 * u[:, 3]
    return march(scalp, way), grown.clamp(0, 1) * min(1.0, style.fringe * 4)
