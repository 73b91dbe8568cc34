"""A person: the mesh with skin and eyes, hair, and what is worn, lit and coloured once for all cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from inverters.people.body import Body, Shape, body
from inverters.people.body_file import PARTS
from inverters.people.expressions import actions_of
from inverters.people.eyes import make_eyes
from inverters.people.hair import Tuft, grow, hair_colour, head_hair, scalp_cover
from inverters.people.labels import LIPS, MOUTH, SKIN
from inverters.people.light import SKIN_WRAP, Light
from inverters.people.params import PARAMETERS, Values, to_values
from inverters.people.parts import Mesh, Strands
from inverters.people.skin import paint_skin
from inverters.people.wear import Worn, dress

_BUST = -0.6
"""Vertices above this height cast shadows, in world units of the base mesh."""


@dataclass(frozen=True)
class Still:
    """What hangs on the face at rest, before it is lit: the same in every expression of a person."""

    worn: Worn
    hair: Sequence[Tuft]


@dataclass(frozen=True)
class Person:
    """A person who does not exist, with one expression; what `picture.draw` draws."""

    values: Values
    """[1,1] each, by parameter name."""
    shape: Shape
    light: Light
    meshes: Sequence[Mesh]
    strands: Sequence[Strands]
    glassy: Sequence[Mesh]
    """Translucent meshes."""
    still: Still
    """What expressions do not change."""


@torch.no_grad()
def make_person(scores: Tensor, device: str = "cpu", previous: Person | None = None) -> Person:
    """Return a person.

    Args:
        scores: [P].
        device: "cpu" or "cuda".
        previous: a person on that device. If only their expressions differ, hair and clothes are taken from
            it, which saves time; the result is the same.
    """
    values = to_values(scores.reshape(1, -1).float().cpu())
    mesh = body(device)
    shape = mesh.shape(values, actions_of(values))
    if previous is not None and _differ_in_expression(values, previous.values):
        still = previous.still
    else:
        still = Still(dress(values, 0, mesh, shape), head_hair(values, 0, mesh, shape))
    worn, hair = still.worn, grow(values, 0, mesh, shape, still.hair)
    bust = shape.vertices[mesh.level1.canonical[:, 1] > _BUST]
    light = Light(values, 0, torch.cat([bust, hair.occluders(), worn.occluders()]))
    lit = light.at(shape.vertices, shape.normals, SKIN_WRAP)
    cover = scalp_cover(values, 0, mesh)
    colours = paint_skin(values, 0, mesh, shape, lit, cover, hair_colour(values, 0).to(cover))
    drawn, labels = _drawn(mesh)
    shown = drawn & ~worn.hidden
    skin = Mesh(shape.fine, colours, mesh.level2.triangles[shown], labels[shown])
    opaque, glassy = worn.coloured(light)
    meshes = [skin, *make_eyes(values, 0, mesh, shape, light), *opaque]
    return Person(values, shape, light, meshes, hair.coloured(light), glassy, still)


@cache
def _drawn(mesh: Body) -> tuple[Tensor, Tensor]:
    """Which triangles of the finest mesh are drawn (the eyes have meshes of their own), and their labels."""
    part = mesh.level2.triangle_part
    names = {"body": SKIN, "upper_teeth": MOUTH, "lower_teeth": MOUTH, "tongue": MOUTH}
    labels = torch.tensor([names.get(p, SKIN) for p in PARTS], dtype=torch.uint8, device=part.device)[part]
    corners = mesh.level2.triangles.long()
    for mask, label in (("lips", LIPS), ("inside_mouth", MOUTH)):
        labels[(mesh.level2.mask(mask) > 0.5)[corners[:, 0]]] = label
    eyes = torch.tensor([PARTS.index("left_eye"), PARTS.index("right_eye")], device=part.device)
    return ~torch.isin(part, eyes), labels


def _differ_in_expression(one: Values, two: Values) -> bool:
    """Whether two people are the same at other expressions."""
    return all(bool(one[p.name] == two[p.name]) for p in PARAMETERS if p.group != "expression")
