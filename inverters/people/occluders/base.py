"""Base class of occluders, and their colours by the person's light, with shadows of both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from inverters.people.labels import OCCLUDER
from inverters.people.light import CLOTH_WRAP, Light, Lit, display, linear
from inverters.people.params import Parameter
from inverters.people.parts import Mesh
from inverters.people.person import Person
from inverters.people.picture import Extra

State = Mapping[str, float]
"""The values of an occluder's parameters at one time."""

Colour = tuple[float, float, float]


class Occluder(ABC):
    """Something before the face; all parts of it are labelled OCCLUDER."""

    parameters: ClassVar[tuple[Parameter, ...]] = ()

    @classmethod
    def animate(cls, state: dict[str, Tensor], times: Tensor) -> dict[str, Tensor]:
        """Return the state at times [T] in seconds; constant by default.

        `state` is the one drawn for the clip, [T,1] each.
        """
        return state

    @classmethod
    @abstractmethod
    def build(cls, person: Person, state: State) -> Extra:
        """Return the occluder on a person, with every parameter given."""


def p(name: str, low: float, high: float, meaning: str, group: str = "look") -> Parameter:
    """Return a parameter of an occluder; groups are look, place and motion."""
    return Parameter(name, low, high, meaning, group)


class Painter:
    """Colours surfaces by a person's light; the person and the occluder's own points [P,3] cast shadows."""

    def __init__(self, person: Person, own: Sequence[Tensor]) -> None:
        self.light = Light(person.values, 0, torch.cat([person.light.occluders, *own]))

    def lit(self, vertices: Tensor, normals: Tensor, wrap: Colour = CLOTH_WRAP) -> Lit:
        """Return the light at vertices [V,3]."""
        return self.light.at(vertices, normals, wrap)

    def mesh(
        self,
        vertices: Tensor,
        normals: Tensor,
        triangles: Tensor,
        albedo: Tensor,
        wrap: Colour = CLOTH_WRAP,
        gloss: tuple[float, float] = (0.0, 0.0),
        two_sided: bool = False,
    ) -> Mesh:
        """Return a mesh with linear albedo [V,3], or [V,4] with alpha; gloss: of wide, narrow highlight."""
        lit = self.lit(vertices, normals, wrap)
        shine = (lit.gloss * lit.gloss.new_tensor(gloss)).sum(1, keepdim=True)
        colours = display(lit.irradiance * albedo[:, :3] + shine)
        return mesh(vertices, torch.cat([colours, albedo[:, 3:]], 1), triangles, two_sided)


def mesh(vertices: Tensor, colours: Tensor, triangles: Tensor, two_sided: bool = False) -> Mesh:
    """Return an occluder's mesh with display colours [V,3], or [V,4] with alpha."""
    labels = torch.full((len(triangles),), OCCLUDER, dtype=torch.uint8, device=vertices.device)
    return Mesh(vertices.contiguous(), colours.contiguous(), triangles.int(), labels, two_sided)


def palette(colours: Sequence[Colour], value: float, like: Tensor) -> Tensor:
    """Return a linear colour [3] between neighbours of a list of display colours, by a value in [0,1]."""
    table = like.new_tensor(colours)
    place = min(max(value, 0.0), 1.0) * (len(table) - 1)
    k = min(int(place), len(table) - 2)
    return linear(table[k] + (table[k + 1] - table[k]) * (place - k))


def blend(base: Tensor, colour: Tensor, weight: Tensor) -> Tensor:
    """Mix `colour` into `base` [...,C] by a weight [...] in [0,1]."""
    return base + (colour - base) * weight[..., None]
