"""Freckles, moles and age spots: extra melanin at places that are the same for everybody."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from inverters.people.body import Body
from inverters.people.noise import noise
from inverters.people.params import Values
from inverters.people.ramps import rise

_MOLES = 36
_REACH = 0.012
_MIXED = ("chin_width", "cheek_inner", "ear_lobe", "nose_curve", "eye_bag", "temples")
"""Parameters that decide, besides `moles`, which moles a person has: smooth, and as good as random."""


@dataclass(frozen=True)
class Marks:
    """What the marks of everybody are made from."""

    freckle: Tensor
    """[V2], above 0 in freckles; the more, the sooner they appear."""
    age_spot: Tensor
    """[V2], as `freckle`."""
    mole_vertex: Tensor
    """[R]: vertices near moles."""
    mole: Tensor
    """[R]: mole of each of them."""
    mole_distance: Tensor
    """[R]: distance from it, in world units."""
    mole_mix: Tensor
    """[moles,len(_MIXED)]."""


@cache
def marks(mesh: Body) -> Marks:
    """Return the marks of a mesh; made once a mesh."""
    c = mesh.level2.canonical
    x, y, z = c[:, 0].abs(), c[:, 1], c[:, 2]
    generator = torch.Generator().manual_seed(5)
    calm = (mesh.level2.mask("lips") < 0.1) & (mesh.level2.mask("eyelids") < 0.1)
    able = (z > 0.03) & (y > -0.30) & (y < 0.20) & (x > 0.025) & (x < 0.16) & calm & (mesh.level2.part == 0)
    able &= mesh.level2.mask("inside_mouth") < 0.1
    near = able.nonzero()[:, 0]
    cells = torch.randperm(len(near), generator=generator)[:_MOLES].to(near.device)
    distance = torch.cdist(c[near[cells]], c)
    mole, vertex = (distance < _REACH).nonzero(as_tuple=True)
    band = spread(c)
    return Marks(
        freckle=noise(c, 150, 50) + 0.6 * noise(c, 240, 51) + 0.15 * noise(c, 22, 52) + 0.8 * band,
        age_spot=noise(c, 42, 53) + 0.4 * noise(c, 80, 54) + 0.15 * noise(c, 130, 55),
        mole_vertex=vertex,
        mole=mole,
        mole_distance=distance[mole, vertex],
        mole_mix=torch.randn(_MOLES, len(_MIXED) + 1, generator=generator),
    )


def spread(c: Tensor) -> Tensor:
    """Where freckles are: 0 over nose and cheeks, negative elsewhere, [n]."""
    x, y = c[:, 0].abs(), c[:, 1]
    nose = torch.exp(-(((y + 0.022) / 0.045) ** 2) - (x / 0.12) ** 4)
    brow = 0.5 * torch.exp(-(((y - 0.14) / 0.06) ** 2) - (x / 0.10) ** 4)
    return torch.maximum(nose, brow) * rise(c[:, 2], 0.02, 0.09) - 1


def melanin_of_marks(values: Values, row: int, mesh: Body, melanin: float) -> Tensor:
    """Return the melanin [V2] that marks add to skin of this melanin."""
    field = marks(mesh)
    many = max(0.0, (float(values["freckles"][row, 0]) - 2 / 3) * 3)
    light = math.exp(-2.2 * max(0.0, melanin - 0.12))
    old = max(0.0, (float(values["age"][row, 0]) - 45) / 35)
    total = torch.zeros_like(field.freckle)
    if many > 0:
        total += rise(field.freckle, 1.00 - 0.70 * many, 1.70 - 0.60 * many) * (
            0.40 * light * min(1.0, 0.3 + many)
        )
    if old > 0:
        total += rise(field.age_spot, 0.85 - 0.15 * old, 2.0) * (0.34 * old)
    return total.index_add(0, field.mole_vertex, _moles(values, row, field, melanin))


def _moles(values: Values, row: int, field: Marks, melanin: float) -> Tensor:
    """Melanin [R] of moles at the vertices near them."""
    mixed = torch.tensor([float(values[name][row, 0]) for name in _MIXED] + [1.0])
    chance = torch.special.ndtr((field.mole_mix @ mixed) / (mixed.square().sum().sqrt() + 0.2) * 1.2)
    share = 0.30 * float(values["moles"][row, 0]) ** 1.5
    strong = ((share - chance) / 0.10).clamp(0, 1).to(field.mole_distance.device)[field.mole]
    size = 0.0026 + 0.0018 * strong
    soft: Tensor = strong * torch.exp(-((field.mole_distance / size) ** 2))
    return (0.55 + 0.35 * min(1.0, melanin)) * soft
