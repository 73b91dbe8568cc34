"""Hair tied back: over the scalp to a knot, then a pony tail or a bun."""

from __future__ import annotations

import torch
from torch import Tensor

from inverters.people.hair.head_field import MIDDLE
from inverters.people.hair.march import STEPS, Scalp
from inverters.people.hair.style import Style
from inverters.people.hair.vectors import length, unit
from inverters.people.ramps import rise

_ON_HEAD = 16
"""Points of a guide between root and knot."""
_TIE = 0.016
"""Radius of the hair where it is tied."""


def tied(scalp: Scalp, style: Style) -> Tensor:
    """Guides [N,STEPS,3] of hair tied behind the head."""
    middle = scalp.position.new_tensor(MIDDLE)
    knot, out = _knot(scalp, style)
    roots, to = unit(scalp.position - middle), unit(knot - middle)
    angle = torch.acos((roots @ to).clamp(-0.999, 0.999))[:, None, None]
    t = torch.linspace(0, 1, _ON_HEAD, device=roots.device)[None, :, None]
    ways = (torch.sin((1 - t) * angle) * roots[:, None] + torch.sin(t * angle) * to) / torch.sin(angle)
    radius = torch.lerp(length(scalp.position - middle)[:, None, None], (knot - middle).norm(), t)
    points = middle + ways * radius
    layer = (0.003 + 0.012 * style.volume) * (0.2 + 0.8 * scalp.draw[:, :1])
    for _ in range(2):
        height, normal = scalp.field.height(points)
        want = 0.002 + layer * rise(t[..., 0], 0.0, 0.25)
        points = points + normal * (want - height)[..., None] * rise(t, 0.0, 0.2)
    disc, u, w = _disc(scalp, out)
    tail = torch.lerp(
        _pony(scalp, style, disc, u, w, knot, out), _bun(scalp, style, disc, u, w, knot, out), style.bun
    )
    points = torch.lerp(points, tail[:, :1], rise(t, 0.55, 1.0))
    return torch.cat([points, tail], 1)


def _knot(scalp: Scalp, style: Style) -> tuple[Tensor, Tensor]:
    """Where the hair is tied, and the way out of the head there, [3] each."""
    behind = scalp.position.new_tensor([0.0, style.tie_height, -0.30])
    height, normal = scalp.field.height(behind[None])
    return behind - normal[0] * (height[0] - 0.020), normal[0]


def _disc(scalp: Scalp, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Place of each hair in the round of the knot [N,2] in the unit circle, and the round's axes [3]."""
    u = unit(torch.linalg.cross(out.new_tensor([0.0, 1.0, 0.0]), out))
    w = torch.linalg.cross(out, u)
    radius, turn = scalp.draw[:, 1:2].sqrt(), 6.2832 * scalp.draw[:, 2:3]
    return torch.cat([radius * torch.cos(turn), radius * torch.sin(turn)], 1), u, w


def _pony(
    scalp: Scalp, style: Style, disc: Tensor, u: Tensor, w: Tensor, knot: Tensor, out: Tensor
) -> Tensor:
    s = torch.linspace(0, 1, STEPS - _ON_HEAD, device=disc.device)[None, :, None]
    length = (0.22 + 0.45 * style.level) * (0.85 + 0.15 * scalp.draw[:, 3:4, None])
    gone = s * length
    away = 0.075 * (1 - torch.exp(-gone / 0.05))
    fall = gone - 0.055 * (1 - torch.exp(-gone / 0.055))
    thick = _TIE + (0.014 + 0.020 * style.volume) * rise(s, 0.0, 0.3) - 0.020 * rise(s, 0.6, 1.0)
    across = disc[:, None, :1] * u + disc[:, None, 1:] * w
    down = disc.new_tensor([0.0, -1.0, 0.0])
    path = knot + away * out + fall * down + thick * across
    height, normal = scalp.field.height(path)
    return path + normal * (0.015 - height).clamp_min(0)[..., None]


def _bun(scalp: Scalp, style: Style, disc: Tensor, u: Tensor, w: Tensor, knot: Tensor, out: Tensor) -> Tensor:
    s = torch.linspace(0, 1, STEPS - _ON_HEAD, device=disc.device)[None, :, None]
    size = 0.044 + 0.022 * style.level
    start = torch.atan2(disc[:, 1], disc[:, 0])[:, None, None]
    ring = disc.norm(dim=1)[:, None, None]
    around = start + 5.2 * s
    tube = 0.52 * size * (0.75 + 0.25 * ring)
    lean = 6.2832 * scalp.draw[:, 4:5, None] + 2.6 * s
    radius = 0.62 * size + tube * torch.cos(lean)
    open_up = rise(s, 0.0, 0.18)
    flat = (torch.cos(around) * u + torch.sin(around) * w) * torch.lerp(
        torch.full_like(radius, _TIE), radius, open_up
    )
    return knot + flat + out * (0.55 * size + tube * torch.sin(lean)) * open_up
