"""A person: the mesh with skin and eyes, hair, and what is worn, lit and coloured once for all cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inverters.people.body import Shape, body
from inverters.people.body_file import PARTS
from inverters.people.expressions import actions_of
from inverters.people.labels import EYE, LIPS, MOUTH, SKIN
from inverters.people.light import SKIN_WRAP, Light, display
from inverters.people.params import Values, to_values
from inverters.people.parts import Mesh, Strands


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


@torch.no_grad()
def make_person(scores: Tensor, device: str = "cpu") -> Person:
    """Return the person with these scores [P], on a device ("cpu" or "cuda")."""
    values = to_values(scores.reshape(1, -1).float().cpu())
    mesh = body(device)
    shape = mesh.shape(values, actions_of(values))
    light = Light(values, 0, shape.vertices[mesh.level1.canonical[:, 1] > -0.6])
    lit = light.at(shape.vertices, shape.normals, SKIN_WRAP)
    colour = display(mesh.to_fine @ lit.irradiance * torch.tensor([0.6, 0.4, 0.32], device=shape.fine.device))
    labels = torch.tensor(
        [SKIN, EYE, EYE, MOUTH, MOUTH, MOUTH, SKIN], dtype=torch.uint8, device=shape.fine.device
    )
    lips = mesh.level2.mask("lips") > 0.5
    own = labels[mesh.level2.triangle_part]
    own[lips[mesh.level2.triangles[:, 0].long()]] = LIPS
    return Person(values, shape, light, [Mesh(shape.fine, colour, mesh.level2.triangles, own)], [], [])


__all__ = ["PARTS", "Person", "make_person"]
