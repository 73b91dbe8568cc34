"""Inside of the mouth: the cavity, gums, separate teeth, the tongue."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from inverters.people.body import Body, Shape
from inverters.people.noise import noise
from inverters.people.params import Values
from inverters.people.ramps import rise

_SEAM = -0.1225
"""Height at which the lips of the base mesh meet."""
_UPPER = (0.0197, 0.0155, 0.0178, 0.0165, 0.0160, 0.0235, 0.0235)
_LOWER = (0.0128, 0.0138, 0.0160, 0.0165, 0.0168, 0.0250, 0.0250)
"""Widths of the teeth from the middle to the side, world units."""


@dataclass(frozen=True)
class Dentition:
    """Static paint of the teeth's vertices."""

    index: Tensor
    """[n] in V2."""
    white: Tensor
    """[n] in [0,1]: 1 in the middle of a tooth, less at its borders."""
    gum: Tensor
    """[n] in [0,1]."""
    yellow: Tensor
    """[n]: canines and back teeth are yellower."""
    front: Tensor
    """[n] in [0,1]: 0 deep in the mouth."""


def gap(mesh: Body, shape: Shape) -> Tensor:
    """Return the distance between the lips in the middle, in world units."""
    upper, lower = _lip_edges(mesh)
    return (shape.vertices[upper, 1].min() - shape.vertices[lower, 1].max()).clamp_min(0)


@cache
def _lip_edges(mesh: Body) -> tuple[Tensor, Tensor]:
    """Vertices of level 1 on the middle of the upper and of the lower lip."""
    c = mesh.level1.canonical
    middle = (mesh.level1.mask("lips") > 0.5) & (c[:, 0].abs() < 0.012) & (c[:, 2] > 0.205)
    above = c[:, 1] > _SEAM
    return (middle & above).nonzero()[:, 0], (middle & ~above).nonzero()[:, 0]


@cache
def dentition(mesh: Body) -> Dentition:
    """Return the paint of the teeth; made once a mesh."""
    level = mesh.level2
    columns = []
    for part, widths, down in (("upper_teeth", _UPPER, True), ("lower_teeth", _LOWER, False)):
        index = level.is_part(part).nonzero()[:, 0]
        c, normals = level.canonical[index], level.normals(level.canonical)[index]
        outward = c - c.new_tensor([0.0, 0.0, 0.075])
        inner = (normals[:, 0] * outward[:, 0] + normals[:, 2] * outward[:, 2]) < 0
        columns.append((index, *_row_of_teeth(c, widths, down, inner)))
    return Dentition(*(torch.cat(parts) for parts in zip(*columns, strict=True)))


def _row_of_teeth(
    c: Tensor, widths: tuple[float, ...], down: bool, inner: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """White, gum, yellow and front [n] at points [n,3] of one row.

    `down`: the teeth's edges are below; inner: bool [n], points that face the tongue.
    """
    x, y, z = c[:, 0].abs(), c[:, 1], c[:, 2]
    bend = 24.0
    slope = 2 * bend * x
    arc = 0.5 * (x * (1 + slope**2).sqrt() + torch.asinh(slope) / (2 * bend))
    borders = torch.tensor((0.0, *widths), device=c.device).cumsum(0)
    tooth = torch.searchsorted(borders, arc.contiguous(), right=True).clamp(1, len(widths)) - 1
    width = borders[tooth + 1] - borders[tooth]
    across = ((arc - borders[tooth]) / width * 2 - 1).clamp(-1, 1)
    white = 1 - 0.75 * across.abs() ** 5
    near = (arc[:, None] - arc).abs() < 0.008
    edge = torch.where(near, y, 9.0).min(1).values if down else torch.where(near, y, -9.0).max(1).values
    height = (y - edge) if down else (edge - y)
    crown = (0.0245 if down else 0.0205) * (1 - 0.025 * tooth) * torch.where(inner, 0.55, 1.0)
    gum = rise(height - crown * (1 - 0.22 * across**2 * (0.4 + across.abs())), -0.0015, 0.0015)
    white = white * (0.90 + 0.10 * rise(height, 0.0, 0.004))
    yellow = 0.25 * (tooth == 2) + 0.12 * tooth / 6 + 0.35 * rise(height, 0.35 * 0.022, 0.022)
    return white, gum, yellow, rise(z, 0.10, 0.195) * torch.where(inner, 0.35, 1.0)


def paint_mouth(
    values: Values,
    row: int,
    mesh: Body,
    shape: Shape,
    irradiance: Tensor,
    openness: Tensor,
    gloss: Tensor,
) -> list[tuple[Tensor, Tensor]]:
    """Return indices in V2 and linear colours of teeth and tongue.

    Args:
        values: [N,1] by parameter name.
        row: the person's.
        mesh: the morphable mesh.
        shape: the person's.
        irradiance: [V2,3].
        openness: [V2].
        gloss: [V2].
    """
    old = max(0.0, (float(values["age"][row, 0]) - 30) / 50)
    teeth = dentition(mesh)
    i = teeth.index
    enamel = irradiance.new_tensor([0.80, 0.72, 0.60]) * (1 - 0.10 * old)
    dull = (0.5 * teeth.yellow + 0.35 * old)[:, None] * irradiance.new_tensor([0.10, 0.17, 0.34])
    colour = enamel * (1 - dull) * teeth.white[:, None]
    gum = irradiance.new_tensor([0.46, 0.17, 0.16])
    colour = torch.lerp(colour, gum.expand_as(colour), teeth.gum[:, None])
    deep = (0.16 + 0.84 * teeth.front)[:, None]
    # What stands between lips that hardly part is dark.
    parted = 0.06 + 0.94 * float(rise(gap(mesh, shape), 0.0015, 0.011))
    deep = deep * parted
    light = irradiance[i] * (0.6 + 0.4 * openness[i, None]) + 0.16 * irradiance.new_tensor([1.0, 0.9, 0.84])
    painted = [(i, colour * light * deep + 0.10 * parted * (gloss[i] * teeth.front)[:, None])]
    j = mesh.level2.is_part("tongue").nonzero()[:, 0]
    c = mesh.level2.canonical[j]
    rough = 1 + 0.14 * noise(c, 190, 70) - 0.22 * torch.exp(-((c[:, 0] / 0.004) ** 2))
    body = irradiance.new_tensor([0.42, 0.155, 0.145]) * rough[:, None]
    depth = (0.12 + 0.88 * rise(c[:, 2], 0.07, 0.17))[:, None] * parted
    light = irradiance[j] * (0.3 + 0.7 * openness[j, None]) + 0.02
    painted.append((j, body * light * depth + 0.06 * gloss[j, None] * depth))
    return painted
