"""Codes of z whose w are nearest to given codes of w: where a bounded fit begins at an encoder."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from inverters.fitting.latents import SAMPLES, random_z
from inverters.fitting.spaces import mapped_rows, retracted

STEPS = 300
"""Steps for the mean of all rows; each row then takes half as many from there."""
_RATE = 0.1
"""Learning rate of Adam at first; entries of z are about 1."""
_AT_ONCE = 4096
"""Most codes that are moved at a time."""


def nearest_z(generator: Any, ws: Tensor, steps: int = STEPS) -> Tensor:
    """Return z [K,L,z_dim] on the sphere whose w are nearest to ws [K,L,w_dim].

    The mapping is not invertible: what lies off its image comes back as the nearest that was found, by Adam
    with retraction (Katsumata et al. 2024, equation 5), in units of the spread of w.
    """
    device = ws.device
    z = random_z(generator, SAMPLES, torch.Generator().manual_seed(0)).to(device)
    with torch.no_grad():
        known = generator.mapping(z)[:, 0]
    spread = known.std(0).clamp_min(1e-8)
    mean = ws.mean(0, keepdim=True)
    apart = torch.cdist(mean[0] / spread, known / spread)
    first = _approach(generator, retracted(z[apart.argmin(1)])[None], mean, spread, steps)
    if len(ws) == 1:
        return first
    rows = max(1, _AT_ONCE // ws.shape[1])
    parts = (_approach(generator, first.expand_as(part), part, spread, steps // 2) for part in ws.split(rows))
    return torch.cat(list(parts))


def _approach(generator: Any, z: Tensor, ws: Tensor, spread: Tensor, steps: int) -> Tensor:
    """Move z [K,L,z_dim] by Adam towards codes of ws [K,L,w_dim]; return what came nearest, row by row."""
    z = z.clone().requires_grad_()
    adam = torch.optim.Adam([z], lr=_RATE)
    best, least = z.detach().clone(), torch.full(z.shape[:2], torch.inf, device=z.device)
    for i in range(steps + 1):
        adam.param_groups[0]["lr"] = _RATE * (0.5 + 0.5 * math.cos(math.pi * i / max(steps, 1)))
        error = ((mapped_rows(generator, z) - ws) / spread).square().mean(-1)
        nearer = error.detach() < least
        best = torch.where(nearer[..., None], z.detach(), best)
        least = torch.where(nearer, error.detach(), least)
        (z.grad,) = torch.autograd.grad(error.sum(), z)
        adam.step()
        with torch.no_grad():
            z.copy_(retracted(z))
    return best
