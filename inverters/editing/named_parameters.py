"""Edits of named parameters of codes that were fitted in w: the mapping moved at the nearest random face.

The first entries of z of a generator of ours have names. What one of them changes in w depends on the face,
so that one direction for all faces shows about half of the change asked for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from inverters.fitting.latents import LatentSpace, latent_space

_STEPS = 100
_RATE = 0.1
_PRIOR = 0.01
"""Weight of the coordinates' mean square beside that of w's error in standard deviations."""


def named_change(generator: Any, ws: Tensor, steps: Tensor) -> Tensor:
    """Return what moving the named parameters adds to the codes of one clip.

    All frames have the change of the face nearest to their mean, so that frames with the same step get the
    same change.

    Args:
        generator: one whose card names entries of z.
        ws: codes [K,num_ws,w_dim], in or near the range of the mapping.
        steps: [K,P], in standard deviations of each parameter.

    Returns:
        [K,1,w_dim], on the device of ws.
    """
    space = latent_space(generator)
    with torch.no_grad():
        face = nearest_face(space, ws.mean((0, 1)).to(space.w_avg))
        kinds, rows = steps.to(face).unique(dim=0, return_inverse=True)
        change = space.to_w(face + kinds) - space.to_w(face[None])
        change[(kinds == 0).all(1)] = 0
        return change[rows, None].to(ws)


@torch.enable_grad()
def nearest_face(space: LatentSpace, w: Tensor) -> Tensor:
    """Return the coordinates [dim] of the likely random face whose code is nearest to w [w_dim]."""
    face = torch.zeros(1, space.dim, device=w.device, requires_grad=True)
    scale = space.w_std.clamp_min(1e-6)
    optimiser = torch.optim.Adam([face], lr=_RATE)
    for step in range(_STEPS):
        optimiser.param_groups[0]["lr"] = _RATE * (1 - step / _STEPS)
        error = ((space.to_w(face) - w) / scale).square().mean() + _PRIOR * face.square().mean()
        (face.grad,) = torch.autograd.grad(error, face)
        optimiser.step()
    return face.detach()[0]
