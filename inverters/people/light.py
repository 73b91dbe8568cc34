"""Light on people: an environment of forty directions, shadows, and highlights for a viewer in front.

What a point reflects is the same from every camera; a tri-plane can hold it only so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from inverters.people.params import Values
from inverters.people.ramps import rise
from inverters.rendering.drawing import visibility

DIRECTIONS = 40
SKIN_WRAP = (0.32, 0.14, 0.08)
"""How far red, green and blue light wraps around skin; subsurface scattering."""
CLOTH_WRAP = (0.1, 0.1, 0.1)
_VIEWER = (0.0, 0.0, 2.7)
_BIAS = 0.008


@dataclass(frozen=True)
class Lit:
    """Light at Q points."""

    irradiance: Tensor
    """[Q,3], linear."""
    dominant: Tensor
    """[Q,3]: mean direction of the light, shorter than 1 where it comes from all sides."""
    openness: Tensor
    """[Q] in [0,1]: share of the light of all directions that other things leave."""
    gloss: Tensor
    """[Q,2]: strength of a wide and of a narrow highlight, seen from the front."""


class Light:
    """The environment of one person, and what stands in its way."""

    def __init__(self, values: Values, row: int, occluders: Tensor) -> None:
        """occluders: points [P,3] that cast shadows: vertices of the head, of the hair, of what is worn."""
        like = occluders
        self.directions = sphere(DIRECTIONS).to(like)
        self.key, self.radiance = (t.to(like) for t in environment(values, row, self.directions.cpu()))
        self.occluders = occluders

    def at(
        self,
        points: Tensor,
        normals: Tensor,
        wrap: tuple[float, float, float] = CLOTH_WRAP,
        bias: float = _BIAS,
    ) -> Lit:
        """Return the light at points [Q,3] of a surface with unit normals [Q,3]."""
        seen = visibility(points, normals, self.occluders, self.directions, bias)
        facing = self.directions @ normals.T
        brightness = self.radiance.mean(1)
        irradiance = torch.stack(
            [
                self.radiance[:, c] @ (((facing + w) / (1 + w)).clamp_min(0) ** 1.15 * seen)
                for c, w in enumerate(wrap)
            ],
            1,
        )
        front = facing.clamp_min(0)
        arriving = front * seen
        weighted = arriving * brightness[:, None]
        dominant = (weighted.T @ self.directions) / weighted.sum(0).clamp_min(1e-6)[:, None]
        openness = arriving.sum(0) / front.sum(0).clamp_min(1e-6)
        return Lit(irradiance, dominant, openness, self._gloss(points, normals, weighted))

    def _gloss(self, points: Tensor, normals: Tensor, weighted: Tensor) -> Tensor:
        """Highlights [Q,2] of Blinn's half vectors, powers 14 and 60."""
        view = F.normalize(points.new_tensor(_VIEWER) - points, dim=-1)
        n_view = (normals * view).sum(-1)
        n_light = self.directions @ normals.T
        half = (2 + 2 * (self.directions @ view.T)).clamp_min(1e-6).rsqrt()
        n_half = ((n_view + n_light) * half).clamp_min(0)
        squared = n_half * n_half
        seventh = squared * squared * squared * n_half
        wide = seventh * seventh
        narrow = wide * wide * wide * wide * squared * squared
        return torch.stack([(wide * weighted).sum(0) * 3, (narrow * weighted).sum(0) * 10], 1)


def sphere(count: int) -> Tensor:
    """Return `count` directions evenly spread over the sphere, [count,3] (Fibonacci's lattice)."""
    k = torch.arange(count, dtype=torch.float64) + 0.5
    polar, turn = torch.arccos(1 - 2 * k / count), math.pi * (1 + math.sqrt(5)) * k
    x, z = torch.cos(turn) * torch.sin(polar), torch.sin(turn) * torch.sin(polar)
    return torch.stack([x, torch.cos(polar), z], 1).float()


def environment(values: Values, row: int, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Return the direction of the key light [3], and the radiance [D,3] of all lights.

    Args:
        values: [N,1] by parameter name.
        row: the person's.
        directions: [D,3].
    """
    x, y, soft, warm = (float(values[n][row, 0]) for n in ("light_x", "light_y", "light_soft", "light_warm"))
    key = F.normalize(torch.tensor([x, y, 0.75]), dim=0)
    height = directions[:, 1:2]
    sky = torch.tensor([0.92, 0.98, 1.08]) * (0.34 + 0.22 * soft) * rise(height, -0.6, 1.0)
    ground = torch.tensor([0.50, 0.42, 0.36]) * 0.22 * rise(height, 0.4, -1.0)
    sharp = 11.0 - 7.5 * soft
    # A lobe's integral over the sphere goes with 1 / sharp: softer light stays as bright as hard light.
    tint = torch.tensor([1.0 + 0.10 * warm, 1.0, 1.0 - 0.12 * warm])
    main = (
        _lobe(directions, key, sharp) * torch.tensor([1.05, 1.0, 0.95]) * tint * (4.4 * (sharp / 9.0) ** 0.85)
    )
    side = 1.0 if x >= 0 else -1.0
    fill = _lobe(directions, torch.tensor([-x, 0.25, 0.75]), 3.0) * torch.tensor([0.95, 1.0, 1.1]) * 0.26
    rim = _lobe(directions, torch.tensor([-0.8 * side, 0.45, -0.5]), 10.0) * 0.8
    strength = 0.72 + 0.56 * float(values["light_strength"][row, 0])
    radiance = (sky + ground + main + fill + rim) * (2.3 * strength / len(directions))
    return key, radiance


def _lobe(directions: Tensor, centre: Tensor, sharpness: float) -> Tensor:
    """exp(sharpness (cos - 1)) [D,1] about a direction."""
    return torch.exp(sharpness * (directions @ F.normalize(centre, dim=0) - 1))[:, None]


def display(colour: Tensor) -> Tensor:
    """Return linear light [...,3] as display values in [0,1]: a tone curve, then sRGB's transfer function."""
    x = colour.clamp_min(0) * 1.75
    x = (x * (1 + 0.12 * x) / (1 + 0.62 * x) * 1.22).clamp(0, 1)
    return torch.where(x < 0.0031308, 12.92 * x, 1.055 * x.clamp_min(1e-6) ** (1 / 2.4) - 0.055)


def linear(colour: Tensor) -> Tensor:
    """Return display values in [0,1] as linear light (sRGB)."""
    return torch.where(colour <= 0.04045, colour / 12.92, ((colour.clamp_min(0) + 0.055) / 1.055) ** 2.4)
