"""Sphere tracing of procedural heads: depth, hits and images, with an optional occluder in front."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from inverters.heads.field import BACKDROP_RADIUS, Values, backdrop_color, radiance, signed_distance
from inverters.heads.params import to_values
from inverters.rendering.rays import make_rays

_RELAX = 0.92
"""Share of the distance stepped; the field overstates distance by a few percent where it bends most."""
_CLOSE = 8e-4
_COMPACT_EVERY = 4
_HALF_CUBE = 0.5


class Occluder(Protocol):
    """Something solid in front of a head."""

    def signed_distance(self, points: Tensor) -> Tensor:
        """Distance [N,M] at world points [N,M,3]."""
        ...

    def radiance(self, points: Tensor) -> Tensor:
        """Shaded colour [N,M,3] in [0,1]."""
        ...


class Hit(NamedTuple):
    """Where rays end: depth [N,R] along the ray, and whether a surface was met [N,R]."""

    depth: Tensor
    hit: Tensor


@dataclass(frozen=True)
class HeadRender:
    """image [N,3,H,W] in [-1,1]; depth [N,H,W] in world units; occluder_mask [N,H,W], True where it is in front."""

    image: Tensor
    depth: Tensor
    occluder_mask: Tensor


def trace(
    values: Values,
    origins: Tensor,
    directions: Tensor,
    near: float = 2.2,
    far: float = 3.4,
    steps: int = 64,
    occluder: Occluder | None = None,
) -> Hit:
    """March rays [N,R,3] through the field of each head until its surface; rays that leave [near, far] miss."""
    depth = torch.full(origins.shape[:2], near, dtype=origins.dtype, device=origins.device)
    hit = torch.zeros_like(depth, dtype=torch.bool)
    for n in range(origins.shape[0]):
        row = {name: value[n : n + 1] for name, value in values.items()}
        guard = _row_of(occluder, n)
        depth[n], hit[n] = _march(row, origins[n], directions[n], near, far, steps, guard)
    return Hit(depth, hit)


def _row_of(occluder: Occluder | None, n: int) -> Occluder | None:
    """The occluder of head n: itself, or its n-th row where it can be indexed."""
    pick = getattr(occluder, "row", None)
    return pick(n) if pick is not None else occluder


def _march(
    row: Values, origins: Tensor, directions: Tensor, near: float, far: float, steps: int, occluder: Occluder | None
) -> tuple[Tensor, Tensor]:
    """Trace the rays [R,3] of one head, dropping those that have ended every few steps."""
    depth = torch.full(origins.shape[:1], near, dtype=origins.dtype, device=origins.device)
    hit = torch.zeros_like(depth, dtype=torch.bool)
    alive = torch.arange(depth.shape[0], device=depth.device)
    o, d, t = origins, directions, depth.clone()
    for step in range(steps):
        points = (o + t[:, None] * d)[None]
        distance = signed_distance(row, points)[0]
        if occluder is not None:
            distance = torch.minimum(distance, occluder.signed_distance(points)[0])
        landed = distance < _CLOSE
        t = torch.where(landed, t + distance, t + _RELAX * distance)
        if step % _COMPACT_EVERY == _COMPACT_EVERY - 1 or step == steps - 1:
            depth[alive], hit[alive] = t, landed
            going = (~landed & (t < far)).nonzero()[:, 0]
            if going.numel() == 0:
                break
            alive, o, d, t = alive[going], o[going], d[going], t[going]
    inside = depth < far
    return depth.clamp(near, far), inside & (hit | (depth < far))


def _shade(row: Values, points: Tensor, hit: Tensor, occluder: Occluder | None) -> tuple[Tensor, Tensor]:
    """Colours [R,3] at the ends of rays [R,3], and which of them belong to the occluder [R]."""
    wall = backdrop_color(row, points[None, :, 1].clamp(-_HALF_CUBE, _HALF_CUBE))[0]
    x, z = points[:, 0], points[:, 2]
    solid = hit & (x * x + z * z < (BACKDROP_RADIUS - 0.006) ** 2) & (points[:, 1].abs() <= _HALF_CUBE)
    solid = solid | (hit & (z > 0.0) & (points.abs().amax(dim=-1) <= _HALF_CUBE))
    owned = torch.zeros_like(hit)
    if occluder is not None:
        owned = hit & (occluder.signed_distance(points[None])[0] < signed_distance(row, points[None])[0])
    colors = wall.clone()
    head = (solid & ~owned).nonzero()[:, 0]
    if head.numel():
        colors[head] = radiance(row, points[None, head])[0]
    front = owned.nonzero()[:, 0]
    if occluder is not None and front.numel():
        colors[front] = occluder.radiance(points[None, front])[0]
    return colors, owned


@torch.no_grad()
def render(
    scores: Tensor,
    cam2world: Tensor,
    intrinsics: Tensor,
    size: tuple[int, int],
    occluder: Occluder | None = None,
    chunk: int = 8192,
    antialias: bool = False,
) -> HeadRender:
    """Render heads [N,P] from cameras [N,4,4], intrinsics [N,3,3] at (H,W).

    An occluder serves every head, unless it has `row(n)`, which gives that of head n. antialias takes four rays a
    pixel; depth and mask are then the nearest of the four and a majority.
    """
    height, width = size
    scale = 2 if antialias else 1
    values = to_values(scores)
    origins, directions = make_rays(cam2world, intrinsics, (height * scale, width * scale))
    images, depths, masks = [], [], []
    for n in range(scores.shape[0]):
        row = {name: value[n : n + 1] for name, value in values.items()}
        guard = _row_of(occluder, n)
        colors, depth, owned = [], [], []
        for o, d in zip(origins[n].split(chunk), directions[n].split(chunk)):
            t, hit = _march(row, o, d, 2.0, 3.7, 64, guard)
            color, mine = _shade(row, o + t[:, None] * d, hit, guard)
            colors.append(color), depth.append(t), owned.append(mine)
        shape = (1, height * scale, width * scale, -1)
        images.append(torch.cat(colors).reshape(shape).permute(0, 3, 1, 2))
        depths.append(torch.cat(depth).reshape(shape).permute(0, 3, 1, 2))
        masks.append(torch.cat(owned).reshape(shape).permute(0, 3, 1, 2))
    image, depth_map, mask = torch.cat(images), torch.cat(depths), torch.cat(masks)
    if antialias:
        image = F.avg_pool2d(image, 2)
        depth_map = -F.max_pool2d(-depth_map, 2)
        mask = F.avg_pool2d(mask.to(image.dtype), 2) >= 0.5
    return HeadRender(image * 2.0 - 1.0, depth_map[:, 0], mask[:, 0])
