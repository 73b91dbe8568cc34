"""Where hair grows on the scalp, on the base mesh."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from inverters.people.body import Body
from inverters.people.hair.head_field import MIDDLE
from inverters.people.hair.style import Style
from inverters.people.hair.vectors import unit
from inverters.people.noise import noise
from inverters.people.ramps import rise

_AZIMUTHS = (0.0, 0.35, 0.75, 1.1, 1.35, 1.6, 1.9, 2.4, math.pi)
_HEIGHTS = (0.212, 0.216, 0.175, 0.085, 0.03, 0.05, -0.03, -0.13, -0.155)
_RECEDING = (0.055, 0.075, 0.090, 0.02, 0.0, 0.0, 0.0, 0.0, 0.0)
"""How much higher the hairline lies by azimuth where it recedes, at 1."""
_BALD = (0.13, 0.13, 0.16, 0.17, 0.06, 0.05, 0.07, 0.03, 0.0)
"""And how much higher still on a head that is bald above its sides."""
_SOFT = 0.040
"""Over this width above the hairline hair grows as dense as everywhere."""


def growth(canonical: Tensor, ears: Tensor, style: Style) -> Tensor:
    """Return how dense hair grows at points [N,3] of the base mesh, [N] in [0,1].

    Args:
        canonical: points of the head, neck and shoulders.
        ears: [N], how near an ear is, in [0,1].
        style: of the person.
    """
    offset = canonical - canonical.new_tensor(MIDDLE)
    azimuth = torch.atan2(offset[:, 0], offset[:, 2]).abs()
    line = _interpolated(azimuth, _HEIGHTS) + style.recession * _interpolated(azimuth, _RECEDING)
    line = line + style.bald * _interpolated(azimuth, _BALD) + style.hairline_shift * (azimuth < 1.0)
    ragged = 0.005 * noise(canonical, 14, 1) + 0.004 * noise(canonical, 55, 2)
    above = canonical[:, 1] + ragged - line
    soft = _SOFT * (0.5 + 0.5 * rise(azimuth, 2.2, 1.3)) * (1 + 1.6 * style.recession)
    dense = rise(above / soft, -0.15, 1.0) * (1 - ears) * (canonical[:, 1] > -0.2)
    up = unit(offset)[:, 1]
    return dense * (1 - style.thin_crown * rise(up, 0.70, 0.95) * (0.85 + 0.10 * noise(canonical, 40, 3)))


@cache
def near_ears(mesh: Body) -> Tensor:
    """How near an ear is at the vertices [V1], in [0,1]."""
    near = mesh.level1.mask("ears")
    for _ in range(7):
        near = torch.maximum(near, mesh.smoothing @ near)
    return (near * 6 - 0.5).clamp(0, 1)


def _interpolated(azimuth: Tensor, values: tuple[float, ...]) -> Tensor:
    at, of = azimuth.new_tensor(_AZIMUTHS), azimuth.new_tensor(values)
    k = torch.searchsorted(at, azimuth.contiguous(), right=True).clamp(1, len(at) - 1)
    share = ((azimuth - at[k - 1]) / (at[k] - at[k - 1])).clamp(0, 1)
    share = share * share * (3 - 2 * share)
    return torch.lerp(of[k - 1], of[k], share)
