"""Lines of age and of expression, pores and the lips' lines as relief in the base mesh's coordinates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from inverters.people.body import Body, gender_of
from inverters.people.noise import noise
from inverters.people.params import Values
from inverters.people.ramps import rise
from inverters.people.skin.places import curve, spot

_STEP = 0.0009


@dataclass(frozen=True)
class Relief:
    """Heights by kind of line: what they are at strength 1, at the V2 vertices."""

    names: tuple[str, ...]
    slopes: Tensor
    """[K,V2,3], gradients of the height."""
    depth: Tensor
    """[K,V2] in [0,1]: how deep in a line a vertex lies."""


def _forehead(c: Tensor) -> Tensor:
    """Four arcs over the brows, broken here and there."""
    x, y = c[:, 0], c[:, 1]
    bend = 0.008 * (1 - (x.abs() / 0.07 - 0.8).square()).clamp_min(-1) + 0.006 * noise(c, 14, 3)
    total = torch.zeros_like(x)
    for k, (middle, strength) in enumerate(((0.122, 0.7), (0.142, 1.0), (0.163, 0.9), (0.186, 0.6))):
        broken = (0.75 + 0.6 * noise(c, 18, 20 + k)).clamp(0, 1)
        total = total + strength * broken * torch.exp(-(((y - bend - middle) / 0.0042) ** 2))
    return total * torch.exp(-((x / 0.078) ** 4)) * rise(c[:, 2], 0.08, 0.13)


def _frown(c: Tensor) -> Tensor:
    """Two lines between the brows and one across the root of the nose."""
    wobble = 0.002 * noise(c, 40, 5)
    upright = curve(c, (0.013, 0.066), (0.018, 0.108), 0.004 + wobble, 0.0042)
    across = curve(c, (-0.016, 0.052), (0.016, 0.052), 0.002, 0.003)
    return upright + 0.6 * across


def _crow(c: Tensor) -> Tensor:
    """Rays from the outer corners of the eyes."""
    total = torch.zeros_like(c[:, 0])
    for k, angle in enumerate((-0.62, -0.28, 0.05, 0.36, 0.70)):
        start = (0.114 + 0.003 * (k % 2), 0.034 + 0.012 * math.sin(angle))
        length = (0.024, 0.030, 0.033, 0.028, 0.021)[k]
        end = (start[0] + length * math.cos(angle), start[1] + length * math.sin(angle))
        total = total + curve(c, start, end, 0.0028 * (-1) ** k, 0.0022)
    return total


def _under_eye(c: Tensor) -> Tensor:
    """The groove from the inner corner of the eye to the cheek, and fine lines above it."""
    trough = curve(c, (0.040, 0.016), (0.098, 0.000), -0.009, 0.0042)
    fine = curve(c, (0.052, 0.010), (0.100, 0.012), -0.008, 0.0024)
    return 0.8 * trough + 0.5 * fine


def _nasolabial(c: Tensor) -> Tensor:
    return curve(c, (0.037, -0.048), (0.070, -0.126), 0.007, 0.0050)


def _marionette(c: Tensor) -> Tensor:
    return curve(c, (0.064, -0.132), (0.068, -0.176), 0.004, 0.0042)


def _mouth(c: Tensor) -> Tensor:
    """Short upright lines around the lips."""
    x, y = c[:, 0].abs(), c[:, 1]
    stripes = torch.sin(x * 560 + 2.6 * noise(c, 36, 9)).clamp_min(0) ** 2
    above = torch.exp(-(((y + 0.086) / 0.010) ** 2)) * rise(c[:, 2], 0.14, 0.18)
    below = torch.exp(-(((y + 0.158) / 0.010) ** 2)) * rise(c[:, 2], 0.14, 0.18)
    return stripes * (above + 0.6 * below) * torch.exp(-((x / 0.05) ** 4))


def _cheeks(c: Tensor) -> Tensor:
    """Slack skin: shallow creases that run down the cheeks."""
    tilted = torch.stack([c[:, 0].abs() * 1.6 + 0.7 * c[:, 1], c[:, 1] * 0.4, c[:, 2] * 0.4], 1)
    creases = 1 - (noise(tilted, 40, 12).abs() * 1.7).clamp(max=1)
    return creases**2 * spot(c, (0.108, -0.075, 0.13), (0.035, 0.060, 0.08))


def _neck(c: Tensor) -> Tensor:
    x, y = c[:, 0], c[:, 1]
    sag = 0.02 * (x / 0.09) ** 2 + 0.006 * noise(c, 12, 14)
    rings = torch.zeros_like(x)
    for middle, strength in ((-0.262, 0.8), (-0.294, 1.0), (-0.325, 0.7)):
        rings = rings + strength * torch.exp(-(((y - sag - middle) / 0.0055) ** 2))
    return rings * rise(c[:, 2], -0.02, 0.04) * torch.exp(-((x / 0.10) ** 4))


def _lips(c: Tensor) -> Tensor:
    """The lips' own upright lines."""
    stretched = torch.stack([c[:, 0] * 1.0, c[:, 1] * 0.22, c[:, 2] * 0.2], 1)
    stripes = (0.5 + noise(stretched, 300, 17)).clamp(0, 1)
    return stripes * spot(c, (0.0, -0.122, 0.21), (0.045, 0.022, 0.05))


def _pores(c: Tensor) -> Tensor:
    return 0.5 + 0.5 * noise(c, 150, 1) + 0.45 * noise(c, 250, 2)


_KINDS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "forehead": (_forehead, 0.0040),
    "frown": (_frown, 0.0020),
    "crow": (_crow, 0.0018),
    "under_eye": (_under_eye, 0.0022),
    "nasolabial": (_nasolabial, 0.0034),
    "marionette": (_marionette, 0.0026),
    "mouth": (_mouth, 0.0014),
    "cheeks": (_cheeks, 0.0012),
    "neck": (_neck, 0.0030),
    "lips": (_lips, 0.0007),
    "pores": (_pores, 0.00016),
}
"""Each kind with its greatest depth in world units."""


@cache
def relief(mesh: Body) -> Relief:
    """Return the relief of every kind at the vertices of the finer level; made once a mesh."""
    c = mesh.level2.canonical
    steps = torch.eye(3, device=c.device) * _STEP
    slopes, depths = [], []
    for shape, depth in _KINDS.values():
        here = shape(c)
        slopes.append(torch.stack([(here - shape(c + step)) * (depth / _STEP) for step in steps], 1))
        depths.append(here.clamp(0, 1))
    return Relief(tuple(_KINDS), torch.stack(slopes), torch.stack(depths))


def strengths(values: Values, row: int) -> Tensor:
    """Return how strong each kind of line is, [K], in the order of `relief`.

    Age makes lines, expressions deepen them.
    """

    def value(name: str) -> float:
        return float(values[name][row, 0])

    def above(name: str, low: float) -> float:
        return max(0.0, (value(name) - low) / (1 - low))

    age = max(0.0, (value("age") - 26) / 54) ** 1.15
    line = age * (1 + 0.45 * value("lines")) + 0.10 * (1 + value("lines"))
    line = max(0.0, min(1.25, line * (1.06 - 0.12 * gender_of(values, row))))
    smile, up, frown = above("smile", 0.0), above("brows", 0.0), above("frown", 0.6)
    up, narrow = min(1.0, up + above("surprise", 0.6)), above("squint", 0.5)
    eased = 0.25 + 0.75 * min(1.0, line)
    fold = 0.5 * value("laugh_lines") * (0.2 + 0.6 * line)
    found = {
        "forehead": 0.75 * line + 0.7 * up * eased,
        "frown": 0.65 * line + (0.9 * frown + 0.35 * max(0.0, -value("brows"))) * eased,
        "crow": 0.85 * line + (0.5 * smile + 0.5 * narrow) * eased,
        "under_eye": 0.22 + 0.7 * line + 0.25 * smile * eased,
        "nasolabial": max(0.0, 0.10 + 0.75 * line + 0.55 * smile * eased + fold),
        "marionette": 0.7 * line * (1 - 0.5 * smile),
        "mouth": max(0.0, 0.8 * line - 0.15) + 0.8 * above("pucker", 0.6) * eased,
        "cheeks": max(0.0, 0.9 * line - 0.2),
        "neck": 0.18 + 0.75 * line,
        "lips": 0.7 + 0.5 * line,
        "pores": 0.75 + 0.55 * line,
    }
    return torch.tensor([found[name] for name in _KINDS])


def turned(mesh: Body, strength: Tensor, normals: Tensor, towards: Tensor) -> tuple[Tensor, Tensor]:
    """How lines turn the surface.

    Args:
        mesh: whose relief.
        strength: [K] of each kind.
        normals: unit normals [V2,3].
        towards: direction of the light [V2,3].

    Returns:
        (n' - n) . towards [V2], and the depth [V2] in lines, pores left out.
    """
    field = relief(mesh)
    kinds = len(field.names)
    slope = (strength @ field.slopes.reshape(kinds, -1)).reshape(-1, 3)
    along = (slope * normals).sum(1)
    change = along * (normals * towards).sum(1) - (slope * towards).sum(1)
    weights = strength.clone()
    weights[field.names.index("pores")] = 0
    weights[field.names.index("lips")] *= 0.5
    return change, weights @ field.depth
