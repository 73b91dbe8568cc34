"""Paint on the face: a layer on the skin, in canonical coordinates, so that it moves with the face."""

from __future__ import annotations

from functools import cache
from typing import ClassVar

import torch
from torch import Tensor

from inverters.people.body import body
from inverters.people.light import SKIN_WRAP, display, linear
from inverters.people.occluders.base import Occluder, Painter, State, blend, mesh, p, palette
from inverters.people.occluders.surface import mesh_of
from inverters.people.params import Parameter
from inverters.people.person import Person
from inverters.people.picture import Extra
from inverters.people.ramps import rise

_PAINT = ((0.84, 0.10, 0.12), (0.95, 0.66, 0.08), (0.10, 0.52, 0.28), (0.08, 0.30, 0.72), (0.52, 0.14, 0.62))
_WHITE = (0.95, 0.94, 0.92)
_LIFT = 0.0016
"""Distance of the layer from the skin, world units."""
_DARK = 0.09


class FacePaint(Occluder):
    """Paint of one of three designs: stripes on the cheeks and a band over the brow, two halves, a mask."""

    parameters: ClassVar[tuple[Parameter, ...]] = (
        p("design", 0.0, 1.0, "stripes and band, two halves, mask round the eyes"),
        p("first", 0.0, 1.0, "first colour"),
        p("second", 0.0, 1.0, "second colour"),
        p("size", 0.9, 1.2, "scale of the patches", "place"),
        p("tilt", -0.2, 0.35, "stripes level to rising outward, in radians", "place"),
        p("cover", 0.86, 0.97, "thin to thick paint"),
    )

    @classmethod
    def build(cls, person: Person, state: State) -> Extra:
        """See `Occluder.build`."""
        base = mesh_of(person.shape)
        face = _face(str(base.device))
        colour, alpha = _design(base.level2.canonical[face.fine], state)
        shape = person.shape
        painter = Painter(person, [])
        lit = painter.lit(shape.vertices[face.coarse], shape.normals[face.coarse], SKIN_WRAP)
        irradiance = shape.vertices.new_zeros(len(shape.vertices), 5)
        irradiance[face.coarse] = torch.cat([lit.irradiance, lit.gloss], 1)
        light = (base.to_fine @ irradiance)[face.fine]
        shine = light[:, 3:4] * 0.02 + light[:, 4:5] * 0.02
        shown = torch.cat([display(light[:, :3] * colour + shine), alpha[:, None]], 1)
        vertices = shape.fine[face.fine] + _LIFT * shape.fine_normals[face.fine]
        keep = (alpha[face.triangles.long()] > 0.004).any(1)
        return Extra([], [], [mesh(vertices, shown, face.triangles[keep])])


class _Face:
    """The skin of the face that paint may cover."""

    def __init__(self, device: str) -> None:
        base = body(device)
        c2, c1 = base.level2.canonical, base.level1.canonical
        own = base.level2.is_part("body") & (base.level2.mask("inside_mouth") < 0.5)
        own &= (c2[:, 2] > 0.0) & (c2[:, 1] > -0.25) & (c2[:, 1] < 0.26)
        triangles = base.level2.triangles.long()
        inside = own[triangles].all(1)
        self.fine = own.nonzero()[:, 0]
        place = torch.zeros(len(own), dtype=torch.long, device=own.device)
        place[self.fine] = torch.arange(len(self.fine), device=own.device)
        self.triangles = place[triangles[inside]].int()
        near = base.level1.is_part("body") & (c1[:, 2] > -0.03) & (c1[:, 1] > -0.28) & (c1[:, 1] < 0.29)
        self.coarse = near.nonzero()[:, 0]


@cache
def _face(device: str) -> _Face:
    return _Face(device)


def _design(points: Tensor, state: State) -> tuple[Tensor, Tensor]:
    """Linear albedo [V,3] and alpha [V] at canonical points [V,3]."""
    first, second = (palette(_PAINT, state[n], points) for n in ("first", "second"))
    white = linear(points.new_tensor(_WHITE))
    x, y, z = points.unbind(1)
    ragged = 0.0014 * torch.sin(150 * y + 60 * x + 3) + 0.0009 * torch.sin(307 * x - 161 * y)
    kind = int(min(state["design"] * 3, 2))
    if kind == 0:
        colour, inside = _stripes(x, y, ragged, state, first, second, white)
    elif kind == 1:
        edge = rise(x + ragged, -0.003, 0.003)
        colour = blend(first.expand_as(points), second, edge)
        colour = blend(colour, white, torch.exp(-((((x + ragged) / 0.016) ** 2) ** 2)))
        inside = _oval(x, y, z, ragged)
    else:
        colour, inside = _domino(x, y, ragged, state, first, second)
    eyes = torch.sqrt((x.abs() - 0.071) ** 2 + (1.7 * (y - 0.034)) ** 2) + ragged
    lips = torch.sqrt((0.75 * x) ** 2 + (1.35 * (y + 0.122)) ** 2) + 0.3 * ragged
    free = rise(eyes, 0.036, 0.042) * (rise(lips, 0.046, 0.052) if kind == 1 else 1.0)
    streak = 1 - _DARK * (0.5 + 0.5 * torch.sin(700 * y + 60 * torch.sin(40 * x)))
    above = rise(y + 0.6 * (z - 0.185).clamp_max(0.0), -0.232, -0.224)  # not under the chin
    return colour * streak[:, None], state["cover"] * inside * free * above * rise(z, 0.0, 0.02)


def _stripes(
    x: Tensor, y: Tensor, ragged: Tensor, state: State, first: Tensor, second: Tensor, white: Tensor
) -> tuple[Tensor, Tensor]:
    """Three stripes on each cheek and a band over the brow, as of a team's colours."""
    size, tilt = state["size"], state["tilt"]
    dx, dy = x.abs() - 0.092, y + 0.062
    u, v = dx + tilt * dy, dy - tilt * dx
    height = v / (0.033 * size)
    cheek = rise(u.abs() + ragged, 0.044 * size, 0.041 * size) * rise(height.abs(), 1.04, 0.96)
    arc = y - 0.145 + 0.9 * x * x + 0.5 * ragged
    band = rise(arc.abs(), 0.0165 * size, 0.0135 * size) * rise(x.abs() + ragged, 0.094, 0.088)
    colour = blend(first.expand(len(x), 3), white, rise(height, 0.40, 0.32))
    colour = blend(colour, second, rise(height, -0.32, -0.40))
    colour = blend(colour, second, rise(y, 0.08, 0.10))
    return colour, torch.maximum(cheek, band)


def _oval(x: Tensor, y: Tensor, z: Tensor, ragged: Tensor) -> Tensor:
    """The face within its outline."""
    reach = torch.sqrt((x / 0.150) ** 2 + ((y + 0.005) / 0.222) ** 2) + 2 * ragged
    return rise(reach, 1.0, 0.95)


def _domino(
    x: Tensor, y: Tensor, ragged: Tensor, state: State, first: Tensor, second: Tensor
) -> tuple[Tensor, Tensor]:
    """A mask over nose and eyes with points that rise to the temples, and a rim."""
    ax = x.abs()
    top = 0.098 + 0.45 * (ax - 0.05).clamp_min(0) - 0.014 * torch.exp(-((ax / 0.02) ** 2))
    low = -0.020 + 0.30 * (ax - 0.06).clamp_min(0) - 0.040 * torch.exp(-((ax / 0.022) ** 2))
    inset = torch.minimum((top - y), (y - low)) * 0.9
    inset = torch.minimum(inset, 0.148 * state["size"] - ax) + ragged
    colour = blend(first.expand(len(x), 3), second, rise(inset, 0.011, 0.008))
    return colour, rise(inset, 0.0, 0.003)
