"""A person: the mesh with skin and eyes, hair, and what is worn, lit and coloured once for all cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inverters.people.body import Shape, body
from inverters.people.body_file import PARTS
from inverters.people.expressions import actions_of
from inverters.people.eyes import make_eyes
from inverters.people.hair import Tuft, grow, hair_colour, head_hair, scalp_cover
from inverters.people.labels import EYE, LIPS, MOUTH, SKIN
from inverters.people.light import SKIN_WRAP, Light
from inverters.people.params import PARAMETERS, Values, to_values
from inverters.people.parts import Mesh, Strands
from inverters.people.skin import paint_skin
from inverters.people.wear import Worn, dress


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


@dataclass(frozen=True)
class Still:
    """What hangs on the face at rest, before it is lit: the same in every expression of a person."""

    worn: Worn
    hair: Sequence[Tuft]


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
    head = shape.vertices[mesh.level1.canonical[:, 1] > -0.6]
    light = Light(values, 0, torch.cat([head, hair.occluders(), worn.occluders()]))
    lit = light.at(shape.vertices, shape.normals, SKIN_WRAP)
    colour = paint_skin(
        values, 0, mesh, shape, lit, scalp_cover(values, 0, mesh), hair_colour(values).to(shape.fine)
    )
    labels = torch.tensor(
        [SKIN, EYE, EYE, MOUTH, MOUTH, MOUTH, SKIN], dtype=torch.uint8, device=shape.fine.device
    )
    lips = mesh.level2.mask("lips") > 0.5
    own = labels[mesh.level2.triangle_part]
    own[lips[mesh.level2.triangles[:, 0].long()]] = LIPS
    eyes = torch.isin(mesh.level2.triangle_part, torch.tensor([1, 2], device=own.device))
    kept = ~(eyes | worn.hidden)
    opaque, glassy = worn.coloured(light)
    skin = Mesh(shape.fine, colour, mesh.level2.triangles[kept], own[kept])
    meshes = [skin, *make_eyes(values, 0, mesh, shape, light), *opaque]
    return Person(values, shape, light, meshes, hair.coloured(light), glassy, still)


def _differ_in_expression(one: Values, two: Values) -> bool:
    """Whether two people are the same at other expressions."""
    return all(bool(one[q.name] == two[q.name]) for q in PARAMETERS if q.group != "expression")


__all__ = ["PARTS", "Person", "make_person"]
