"""Where things sit on a person's head at rest: landmarks, and how far its front and sides reach."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from inverters.people.body import Shape, body


@dataclass(frozen=True)
class _Places:
    eyes: tuple[Tensor, Tensor]
    """Vertices of the eyes, at negative and at positive x."""
    front: Tensor
    side: Tensor
    """Vertices of one side each of two: |x| is used."""
    ears: Tensor


@cache
def _places(device: str) -> _Places:
    level = body(device).level1
    c, skin = level.canonical, level.is_part("body")
    inner = level.mask("inside_mouth") > 0.1
    front = (skin | level.is_part("left_eye", "right_eye")) & ~inner & (c[:, 2] > 0.05) & (c[:, 0].abs() < 0.175)
    front &= (c[:, 1] > -0.12) & (c[:, 1] < 0.15)
    normals = level.normals(c)
    side = skin & (level.mask("ears") < 0.15) & (normals[:, 0].abs() > 0.2) & (c[:, 0] > 0.09)
    side &= (c[:, 1] > -0.08) & (c[:, 1] < 0.15) & (c[:, 2] > -0.13)
    return _Places(
        (level.is_part("right_eye").nonzero()[:, 0], level.is_part("left_eye").nonzero()[:, 0]),
        (front & (normals[:, 2] > 0.1)).nonzero()[:, 0],
        side.nonzero()[:, 0],
        (skin & (level.mask("ears") > 0.5)).nonzero()[:, 0],
    )


@cache
def nearest(device: str, points: tuple[tuple[float, float, float], ...]) -> Tensor:
    """Return the body's vertices of level 1 nearest to canonical points, [P]."""
    level = body(device).level1
    skin = level.is_part("body").nonzero()[:, 0]
    far = torch.cdist(torch.tensor(points, device=skin.device), level.canonical[skin])
    return skin[far.argmin(1)]


class Head:
    """A person's head without its expression."""

    def __init__(self, device: str, shape: Shape) -> None:
        self.device = device
        self.points, self.normals = shape.neutral, shape.neutral_normals
        places = _places(device)
        self.eyes = [self.points[index].mean(0) for index in places.eyes]
        """Centres of the eyeballs [3] at negative and at positive x."""
        self._front = self.points[places.front]
        self._side = self.points[places.side]

    def front(self, at: Tensor) -> Tensor:
        """Return how far forward the face reaches, z [Q], at x and y [Q,2]."""
        return _near(at, self._front[:, :2], self._front[:, 2])

    def side(self, at: Tensor) -> Tensor:
        """Return how wide the head is without the ears, |x| [Q], at y and z [Q,2]."""
        return _near(at, self._side[:, 1:], self._side[:, 0])

    def at(self, *points: tuple[float, float, float]) -> tuple[Tensor, Tensor]:
        """Return positions and normals [P,3] of the body's vertices at canonical points."""
        index = nearest(self.device, points)
        return self.points[index], self.normals[index]


def _near(at: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """Values at the nearest places, the nearer the more; the upper of two layers counts for more."""
    far, index = torch.cdist(at, places).topk(6, largest=False)
    found = values[index]
    weight = 1 / (far + 1e-3) * torch.exp(60 * (found - found.amax(1, keepdim=True)))
    return (weight * found).sum(1) / weight.sum(1)
