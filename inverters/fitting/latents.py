"""Coordinates of a generator's latent space in which random faces are standard normal.

The 512 numbers of w have very different scales of effect. Here a code has few coordinates of unit spread, so
that one learning rate suits all of them and their norm measures how unlikely a face is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inverters.people.params import PARAMETERS

SAMPLES = 4096
"""Random z from which statistics of w and the principal axes are computed."""
MOVING = ("expression", "light")
"""Groups of a head's parameters that change within a clip."""


@dataclass(frozen=True)
class LatentSpace:
    """Coordinates of a latent space; those of random faces are standard normal.

    `to_w` maps coordinates [N,dim] to w [N,w_dim]. `moving` [dim] is 1 for coordinates in which frames of one
    person differ (expression, light) and 0 for identity; all 1 if the coordinates have no names.
    """

    dim: int
    to_w: Callable[[Tensor], Tensor]
    moving: Tensor
    w_avg: Tensor
    w_std: Tensor

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw coordinates [n,dim] of random faces."""
        return torch.randn(n, self.dim, generator=rng).to(self.w_avg.device)


def random_z(generator: Any, n: int, rng: torch.Generator) -> Tensor:
    """Draw z [n,z_dim] of random faces on the CPU.

    Where the first entries of z have names (`card.parameters`), they are normal and the rest is one, as in
    training; else all of z is normal.
    """
    named, z_dim = len(generator.card.parameters), generator.config.z_dim
    scores = torch.randn(n, named or z_dim, generator=rng)
    return torch.cat([scores, torch.ones(n, z_dim - scores.shape[1])], 1)


@torch.no_grad()
def latent_space(generator: Any, components: int = 64) -> LatentSpace:
    """Return the coordinates for a generator.

    If the first entries of z have a meaning (`card.parameters`), they are the coordinates, through the
    mapping. Else the first `components` principal axes of w over 4,096 random z (GANSpace, Harkonen et al.
    2020), each scaled to unit spread.
    """
    device = generator.backbone.mapping.w_avg.device
    card, z_dim = generator.card, generator.config.z_dim
    rng = torch.Generator().manual_seed(0)
    named = len(card.parameters)

    def through_mapping(coordinates: Tensor) -> Tensor:
        ones = coordinates.new_ones(len(coordinates), z_dim - named)
        return generator.mapping(torch.cat([coordinates, ones], 1))[:, 0]

    if named:
        w = through_mapping(torch.randn(SAMPLES, named, generator=rng).to(device))
        groups = {p.name: p.group for p in PARAMETERS}
        moving = torch.tensor([float(groups.get(name) in MOVING) for name in card.parameters], device=device)
        return LatentSpace(named, through_mapping, moving, w.mean(0), w.std(0))
    w = generator.mapping(torch.randn(SAMPLES, z_dim, generator=rng).to(device))[:, 0]
    mean = w.mean(0)
    # In float64 on the CPU, so that the axes are the same on every device.
    _, spread, axes = torch.linalg.svd((w - mean).double().cpu(), full_matrices=False)
    count = min(components, len(spread))
    scaled = axes[:count] * (spread[:count] / (SAMPLES - 1) ** 0.5)[:, None]
    basis = scaled.float().to(device)

    def along_axes(coordinates: Tensor) -> Tensor:
        return mean + coordinates @ basis

    return LatentSpace(count, along_axes, torch.ones(count, device=device), mean, w.std(0))
