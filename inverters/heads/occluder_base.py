"""Base class of occluders: parameters, coordinates, and the same light as on the head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from inverters.heads.anatomy import UNITS, Values
from inverters.heads.paint import shade
from inverters.heads.params import Parameter

_NORMAL_STEP = 0.002
_TETRAHEDRON = ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1))


class Occluder(ABC):
    """Something in front of the face, as a field: `signed_distance` and `radiance` at world points [N,M,3].

    `values` are the parameters of the N heads (`to_values`), so that worn things fit the face. `state` has
    the occluder's own parameters, [N,1] each; a missing one takes the middle of its range.
    """

    parameters: ClassVar[tuple[Parameter, ...]] = ()

    def __init__(self, values: Values, state: Mapping[str, Tensor] | None = None) -> None:
        state = state or {}
        unknown = set(state) - {p.name for p in self.parameters}
        if unknown:
            known = ", ".join(p.name for p in self.parameters)
            raise KeyError(f"unknown parameters {sorted(unknown)} of {type(self).__name__}; known: {known}")
        self.values = values
        like = next(iter(values.values()))
        self.state = {
            p.name: state[p.name].to(like).expand_as(like)
            if p.name in state
            else torch.full_like(like, (p.low + p.high) / 2)
            for p in self.parameters
        }

    @classmethod
    def animate(cls, state: dict[str, Tensor], times: Tensor) -> dict[str, Tensor]:
        """Return the state at times [T] in seconds; constant by default.

        `state` is the one drawn for the clip, [T,1] each.
        """
        return state

    def row(self, n: int) -> Self:
        """Return the occluder of head n alone."""
        values = {name: value[n : n + 1] for name, value in self.values.items()}
        return type(self)(values, {name: value[n : n + 1] for name, value in self.state.items()})

    @abstractmethod
    def distance(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Return the signed distance [N,M] in design units at design coordinates [N,M]."""

    def relief(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Return the distance whose gradient is the shading normal; `distance`, unless overridden."""
        return self.distance(x, y, z)

    @abstractmethod
    def material(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return colour [N,M,3], gloss [N,M,1] and softness [N,M,1] at design coordinates [N,M].

        See `paint.shade` for gloss and softness.
        """

    def coordinates(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the design coordinates of world points [N,M,3].

        x and y are divided by the face's width and height.
        """
        x, y, z = (points * (1.0 / UNITS)).unbind(-1)
        return x / self.values["face_width"], y / self.values["face_height"], z

    def signed_distance(self, points: Tensor) -> Tensor:
        """Return the signed distance [N,M] in world units, negative inside; outside it is a lower bound."""
        return self.distance(*self.coordinates(points)) * (0.8 * UNITS)

    def radiance(self, points: Tensor) -> Tensor:
        """Return the colour [N,M,3] in [0,1] under the head's light; the same from every camera."""
        n, m = points.shape[:2]
        corners = points.new_tensor(_TETRAHEDRON)
        taps = (points[:, :, None] + _NORMAL_STEP * corners).reshape(n, 4 * m, 3)
        around = self.relief(*self.coordinates(taps)).reshape(n, m, 4, 1)
        normal = F.normalize((around * corners).sum(2), dim=-1, eps=1e-6)
        steps = points.new_tensor([0.012, 0.035])
        out = (points[:, :, None] + steps[:, None] * normal[:, :, None]).reshape(n, 2 * m, 3)
        reach = UNITS * self.relief(*self.coordinates(out)).reshape(n, m, 2)
        occlusion = 0.4 * ((steps - reach).clamp_min(0.0) / steps).clamp_max(1.0).sum(-1)
        colour, gloss, soft = self.material(*self.coordinates(points))
        return shade(self.values, colour, gloss, soft, normal, occlusion).clamp(0.0, 1.0)


def segment(
    x: Tensor,
    y: Tensor,
    z: Tensor,
    a: tuple[float | Tensor, ...],
    b: tuple[float | Tensor, ...],
    r0: float,
    r1: float,
) -> Tensor:
    """Return the distance [N,M] of a capsule from `a` to `b` whose radius goes from r0 to r1."""
    px, py, pz = x - a[0], y - a[1], z - a[2]
    bx, by, bz = (b[k] - a[k] for k in range(3))
    t = ((px * bx + py * by + pz * bz) / (bx * bx + by * by + bz * bz)).clamp(0.0, 1.0)
    px, py, pz = px - t * bx, py - t * by, pz - t * bz
    return torch.sqrt(px * px + py * py + pz * pz + 1e-10) - (r0 + (r1 - r0) * t)


def round_box(x: Tensor, y: Tensor, z: Tensor, half: tuple[float, float, float], radius: float) -> Tensor:
    """Return the distance [N,M] of a box with half sizes `half` and edges rounded by `radius`."""
    qx, qy, qz = (c.abs() - (h - radius) for c, h in zip((x, y, z), half, strict=True))
    ox, oy, oz = qx.clamp_min(0.0), qy.clamp_min(0.0), qz.clamp_min(0.0)
    inside = torch.maximum(torch.maximum(qx, qy), qz).clamp_max(0.0)
    return torch.sqrt(ox * ox + oy * oy + oz * oz + 1e-10) + inside - radius


def blend(base: Tensor, colour: Tensor, weight: Tensor) -> Tensor:
    """Mix `colour` into `base` [N,M,3] by a weight [N,M] in [0,1]."""
    return base + (colour - base) * weight[..., None]


def constant(like: Tensor, value: float) -> Tensor:
    """Return `value` as a material property [N,M,1]."""
    return torch.full_like(like, value)[..., None]
