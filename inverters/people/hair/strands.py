"""Hairs about guides: each takes its guides' way from a root of its own, cut to a length of its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inverters.people.hair.roots import Roots
from inverters.people.hair.vectors import length

_APART = 0.05
"""Guides whose tips are farther apart than about this are not mixed, world units."""


@dataclass(frozen=True)
class Groups:
    """Which guides S hairs follow."""

    nearest: Tensor
    """[S]."""
    second: Tensor
    """[S]."""
    mix: Tensor
    """[S] in [0,.5]: share of the second."""

    def chosen(self, which: Tensor | slice) -> Groups:
        """Those at indices or where a mask [S] is true."""
        return Groups(self.nearest[which], self.second[which], self.mix[which])


def group(hairs: Roots, guides: Roots) -> Groups:
    """Return the two nearest guides to each hair, on the base mesh."""
    found = [
        torch.cdist(part, guides.canonical).topk(2, dim=1, largest=False)
        for part in hairs.canonical.split(4096)
    ]
    distance, index = (torch.cat([f[k] for f in found]) for k in (0, 1))
    return Groups(index[:, 0], index[:, 1], distance[:, 0] / distance.sum(1).clamp_min(1e-6))


def resampled(guides: Tensor, which: Tensor, share: Tensor, count: int) -> Tensor:
    """Return `count` points of the first `share` [S] of guides [G,M,3] chosen by `which`, [S,count,3]."""
    steps = guides.shape[1]
    at = share[:, None] * torch.linspace(0, steps - 1.001, count, device=guides.device)
    low = at.floor()
    flat = guides.reshape(-1, 3)
    index = (which[:, None] * steps + low.long()).flatten()
    part = (at - low).reshape(-1, 1)
    return torch.lerp(flat[index], flat[index + 1], part).reshape(len(which), count, 3)


def between(guides: Tensor, groups: Groups, share: Tensor, count: int, mixing: float) -> Tensor:
    """Return hairs [S,count,3] between their two guides, or on the nearest where the two part.

    Args:
        guides: [G,M,3].
        groups: of the hairs.
        share: [S], how much of the guides' lengths the hairs have.
        count: points of a hair.
        mixing: 0 to follow the nearest guide alone, to 1.
    """
    tips = resampled(guides, groups.nearest, share, 2) - resampled(guides, groups.second, share, 2)
    apart = (length(tips[:, 1]) - length(tips[:, 0])) / _APART
    mix = mixing * groups.mix * torch.exp(-apart.square())
    points = resampled(guides, groups.nearest, share, count)
    return torch.lerp(points, resampled(guides, groups.second, share, count), mix[:, None, None])


def about(points: Tensor, roots: Tensor, clump: Tensor | float, spread: Tensor, reach: Tensor) -> Tensor:
    """Move hairs [S,K,3] that lie on their guides to roots [S,3] of their own.

    Args:
        points: on the guides, from the guides' roots.
        roots: of the hairs.
        clump: share of the distance from the guide that is lost at the guide's tip, [S] or a number.
        spread: [S,3], further distance at the guide's tip, world units.
        reach: [S], share of the guide's length that a hair has.
    """
    t = torch.linspace(0, 1, points.shape[1], device=points.device) * reach[:, None]
    kept = 1 - (clump[:, None] if isinstance(clump, Tensor) else clump) * t
    own = roots - points[:, 0]
    return points + own[:, None] * kept[..., None] + spread[:, None] * (0.4 * t + 0.6 * t.square())[..., None]
