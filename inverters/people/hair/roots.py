"""Where hair is rooted: fixed points of the mesh, the same for everybody, that move with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from inverters.people.body import Body
from inverters.people.hair.vectors import unit


@dataclass(frozen=True)
class Roots:
    """N points on triangles of the mesh once subdivided; any first n of them are spread alike."""

    corners: Tensor
    """[N,3] vertices."""
    weights: Tensor
    """[N,3], barycentric."""
    canonical: Tensor
    """[N,3], on the base mesh."""
    draw: Tensor
    """[N,6], uniform in [0,1): what sets the hairs apart."""

    def __len__(self) -> int:
        return len(self.corners)

    def on(self, values: Tensor) -> Tensor:
        """Interpolate values [V1,C] of the vertices, [N,C]."""
        corners = values[self.corners.flatten()].reshape(*self.corners.shape, values.shape[1])
        return (corners * self.weights[..., None]).sum(1)

    def placed(self, vertices: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:
        """Positions and unit normals [N,3] on a mesh with vertices and normals [V1,3]."""
        return self.on(vertices), unit(self.on(normals))

    def chosen(self, which: Tensor | slice) -> Roots:
        """Those at indices or where a mask [N] is true."""
        return Roots(self.corners[which], self.weights[which], self.canonical[which], self.draw[which])


def scatter(mesh: Body, count: int, density: Callable[[Tensor], Tensor], seed: int) -> Roots:
    """Spread roots over the body by a density [T] at centres [T,3] of triangles of the base mesh."""
    level = mesh.level1
    triangles, points = level.triangles.long().cpu(), level.canonical.cpu()
    triangles = triangles[level.triangle_part.cpu() == 0]
    a, b, c = (points[triangles[:, k]] for k in range(3))
    area = torch.linalg.cross(b - a, c - a).norm(dim=-1) * density((a + b + c) / 3).clamp_min(0)
    rng = torch.Generator().manual_seed(seed)
    # Even steps through the running sum of the areas leave fewer gaps than independent draws.
    running = area.double().cumsum(0)
    at = (torch.arange(count) + torch.rand(count, generator=rng)) * (running[-1] / count)
    which = torch.searchsorted(running, at[torch.randperm(count, generator=rng)]).clamp_max(len(area) - 1)
    uv = torch.rand(count, 2, generator=rng)
    uv = torch.where(uv.sum(1, keepdim=True) > 1, 1 - uv, uv)
    weights = torch.cat([1 - uv.sum(1, keepdim=True), uv], 1)
    corners = triangles[which]
    canonical = (points[corners] * weights[..., None]).sum(1)
    draw = torch.rand(count, 6, generator=rng)
    return Roots(*(t.to(mesh.device) for t in (corners, weights, canonical, draw)))


def spread_out(points: Tensor, count: int) -> Tensor:
    """Indices [count] of points [N,3] far from each other; each is the farthest from those before it."""
    chosen = [0]
    distance = (points - points[0]).square().sum(1)
    for _ in range(count - 1):
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (points - points[chosen[-1]]).square().sum(1))
    return torch.tensor(chosen, device=points.device)
