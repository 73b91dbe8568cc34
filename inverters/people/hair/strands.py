"""Hairs about guides: each takes its guide's way from a root of its own, cut to a length of its own."""

from __future__ import annotations

import torch
from torch import Tensor


def resampled(guides: Tensor, which: Tensor, share: Tensor, count: int) -> Tensor:
    """Return `count` points of the first `share` [S] of guides [G,M,3] chosen by `which` [S], [S,count,3]."""
    groups, steps, _ = guides.shape
    at = share[:, None] * torch.linspace(0, steps - 1.001, count, device=guides.device)
    low = at.floor()
    flat = guides.reshape(-1, 3)
    index = (which[:, None] * steps + low.long()).flatten()
    part = (at - low).reshape(-1, 1)
    return torch.lerp(flat[index], flat[index + 1], part).reshape(len(which), count, 3)


def about(
    points: Tensor, roots: Tensor, clump: float, spread: Tensor, reach: Tensor, together: Tensor | float
) -> Tensor:
    """Move hairs [S,K,3] that lie on their guides to roots [S,3] of their own.

    Args:
        points: on the guides, from the guides' roots.
        roots: of the hairs.
        clump: share of the distance from the guide that is lost at the tip.
        spread: [S,3], further distance at the tip, world units.
        reach: [S], share of the guide's length that a hair has.
        together: less clumping for hairs, in [0,1], [S] or a number.
    """
    t = torch.linspace(0, 1, points.shape[1], device=points.device)[None, :, None] * reach[:, None, None]
    own = (roots - points[:, 0])[:, None]
    return points + own * (1 - clump * together * t) + spread[:, None] * t.square()
