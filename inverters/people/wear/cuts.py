"""Cuts of clothes: borders on the torso in canonical coordinates, and what is made of them, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from inverters.people.body import body
from inverters.people.wear.chart import Chart, chart, distance_field
from inverters.people.wear.torso import BOTTOM, Cut, cut, finer, torso

LEVELS = (-0.03, -0.02, -0.01, 0.0, 0.01, 0.02, 0.03, 0.04, 0.055, 0.07, 0.085, 0.1, 0.12)
"""Distances from the border at which charts are made."""
_FINE = -0.46
"""Cloth above this height is finer than the mesh."""
_MARGIN = 0.028
"""Skin is drawn as far as this under the cloth."""


@dataclass(frozen=True)
class Ground:
    """A garment's cloth, the chart around its border, and what it hides."""

    sheet: Cut
    chart: Chart
    covered: Tensor
    """[V2] bool: vertices of level 2 that lie under the cloth, beyond its border."""
    on_torso: Tensor
    """[n1] canonical distance from the border at the torso's coarser vertices."""


def _around(c: Tensor) -> Tensor:
    """Angle about the neck's axis, 0 in front; [V]."""
    return torch.atan2(c[:, 0], c[:, 2] + 0.075 - 0.4 * (c[:, 1] + 0.25))


def _ring(front: float, side: float, back: float) -> Callable[[Tensor], Tensor]:
    """Field of an opening at these heights; positive below it."""
    middle, second = (front + back + 2 * side) / 4, (front + back - 2 * side) / 4
    first = (front - back) / 2

    def field(c: Tensor) -> Tensor:
        turn = _around(c)
        return middle + first * torch.cos(turn) + second * torch.cos(2 * turn) - c[:, 1]

    return field


def _vee(
    ring: Callable[[Tensor], Tensor], tip: float, slope: float, blunt: float = 0.006
) -> Callable[[Tensor], Tensor]:
    """Field of an opening that is a ring behind and runs down to a tip in front."""

    def field(c: Tensor) -> Tensor:
        line = (tip + slope * (c[:, 0].square() + blunt**2).sqrt() - c[:, 1]) / (1 + slope) * 1.6
        line = torch.where(c[:, 2] > -0.1, line, torch.full_like(line, 1.0))
        return -torch.logaddexp(-ring(c) / 0.004, -line / 0.004) * 0.004

    return field


OPENINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "crew": _ring(-0.308, -0.284, -0.250),
    "scoop": _ring(-0.352, -0.303, -0.262),
    "vee": _vee(_ring(-0.30, -0.286, -0.252), -0.40, 1.15),
    "deep vee": _vee(_ring(-0.31, -0.294, -0.256), -0.47, 1.5),
    "shirt": _vee(_ring(-0.288, -0.272, -0.246), -0.372, 1.6),
    "buttoned": _ring(-0.290, -0.272, -0.246),
    "turtle": _ring(-0.268, -0.250, -0.222),
    "jacket": _vee(_ring(-0.32, -0.296, -0.258), -0.66, 2.9),
    "hood": _ring(-0.318, -0.300, -0.262),
}
"""Openings of garments by name."""
_CHART_OF = {"shirt": "buttoned"}
"""A collar goes around the neck even where the opening runs down in front."""


@cache
def ground(device: str, name: str, over: str = "") -> Ground:
    """Return a garment's ground; made once in a process.

    Args:
        device: of its tensors.
        name: of the opening.
        over: a garment that is worn over it; the cloth ends a little below that one.
    """
    t = torso(device)
    distance = distance_field(device, OPENINGS[name](t.canonical2))
    field = torch.minimum(distance, t.canonical2[:, 1] - BOTTOM)
    covered = torch.zeros(int(t.index2.max()) + 1, dtype=torch.bool, device=t.index2.device)
    covered[t.index2] = distance > _MARGIN
    below = torch.sparse.mm(t.to_fine.to_sparse().t(), distance[:, None])[:, 0]
    weight = torch.sparse.mm(t.to_fine.to_sparse().t(), torch.ones_like(distance)[:, None])[:, 0]
    around = _CHART_OF.get(name)
    own = chart(device, distance, LEVELS) if around is None else ground(device, around).chart
    if over:
        field = torch.minimum(field, 0.06 - distance_field(device, OPENINGS[over](t.canonical2)))
    sheet = cut(device, field)
    sheet = finer(sheet, (sheet.canonical[:, 1] > _FINE) & (sheet.field < 0.32))
    return Ground(sheet, own, covered, below / weight.clamp_min(1e-6))


@cache
def hidden(device: str, name: str) -> Tensor:
    """Return which triangles of level 2 lie under a garment, bool [T2]."""
    covered = ground(device, name).covered
    level = body(device).level2
    full = torch.zeros(len(level.canonical), dtype=torch.bool, device=covered.device)
    full[: len(covered)] = covered
    return full[level.triangles.long()].all(1)
