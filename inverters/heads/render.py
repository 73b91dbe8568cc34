"""Sphere tracing of procedural heads: depth, hits and images, with an optional occluder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from inverters.heads.anatomy import Values
from inverters.heads.field import (
    BACKDROP_RADIUS,
    head_distance,
    radiance,
    signed_distance,
)
from inverters.heads.paint import backdrop_color
from inverters.heads.params import to_values
from inverters.rendering.rays import make_rays

_RELAX = 0.92
"""Share of the distance stepped; the field overestimates distance by a few percent where it bends most."""
_CLOSE = 8e-4
_COMPACT_EVERY = 4
_HALF_CUBE = 0.5
_NEAR, _FAR, _STEPS = 2.0, 3.7, 64
_BATCH = 16384
"""Points evaluated at once: larger batches do not fit the cache, smaller ones pay more call overhead."""
_HEAD_CENTRE, _HEAD_RADII = (0.0, 0.02, -0.03), (0.25, 0.34, 0.33)
_BODY_TOP = -0.05
"""An ellipsoid and a height; outside the one and above the other there is only backdrop."""


class Occluder(Protocol):
    """A solid in front of N heads."""

    def signed_distance(self, points: Tensor) -> Tensor:
        """Return the distance [N,M] at world points [N,M,3], negative inside."""
        ...

    def radiance(self, points: Tensor) -> Tensor:
        """Return the shaded colour [N,M,3] in [0,1] at world points [N,M,3]."""
        ...


class Hit(NamedTuple):
    """End of each ray: depth [N,R] along it in world units, and whether it met a surface, bool [N,R]."""

    depth: Tensor
    hit: Tensor


@dataclass(frozen=True)
class HeadRender:
    """image [N,3,H,W] in [-1,1]; depth [N,H,W] along rays; occluder_mask [N,H,W], True on the occluder."""

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
    """Trace rays [N,R,3] to the surface of each head; rays that leave the depths [near, far] miss."""
    depth = torch.full(origins.shape[:2], near, dtype=origins.dtype, device=origins.device)
    hit = torch.zeros_like(depth, dtype=torch.bool)
    for n in range(origins.shape[0]):
        row = {name: value[n : n + 1] for name, value in values.items()}
        guard = _row_of(occluder, n)
        depth[n], hit[n] = _march(row, origins[n], directions[n], near, far, steps, guard)
    return Hit(depth, hit)


def _row_of(occluder: Occluder | None, n: int) -> Occluder | None:
    """Occluder of head n: its `row(n)` if it has that method, else itself."""
    pick = getattr(occluder, "row", None)
    return pick(n) if pick is not None else occluder


def _march(
    row: Values,
    origins: Tensor,
    directions: Tensor,
    near: float,
    far: float,
    steps: int,
    occluder: Occluder | None,
) -> tuple[Tensor, Tensor]:
    """Trace the rays [R,3] of one head; finished rays are dropped every _COMPACT_EVERY steps."""
    wall = _to_backdrop(origins, directions)
    depth = wall.clone()
    start = torch.full_like(depth, near)
    if occluder is None:
        alive = _may_meet_head(origins, directions, start, wall.clamp_max(far)).nonzero()[:, 0]
    else:
        alive = torch.arange(depth.shape[0], device=depth.device)
    o, d, t, end = origins[alive], directions[alive], start[alive], wall[alive]
    for step in range(steps):
        distance = _distance(row, o + t[:, None] * d, occluder)
        landed = distance < _CLOSE
        t = torch.minimum(torch.where(landed, t + distance, t + _RELAX * distance), end)
        if step % _COMPACT_EVERY == _COMPACT_EVERY - 1 or step == steps - 1:
            depth[alive] = t
            going = (~landed & (t < end) & (t < far)).nonzero()[:, 0]
            if going.numel() == 0:
                break
            alive, o, d, t, end = alive[going], o[going], d[going], t[going], end[going]
    # A ray that has not converged after all steps counts as a hit at its last point.
    return depth.clamp(near, far), depth < far


def _distance(row: Values, points: Tensor, occluder: Occluder | None) -> Tensor:
    """Distance [R] of head and occluder at points [R,3], without the backdrop."""
    found = []
    for some in points.split(_BATCH):
        distance = head_distance(row, some[None])[0]
        if occluder is not None:
            distance = torch.minimum(distance, occluder.signed_distance(some[None])[0])
        found.append(distance)
    return torch.cat(found)


def _to_backdrop(origins: Tensor, directions: Tensor) -> Tensor:
    """Depth [R] where rays meet the backdrop, its cylinder or the plane z = 0 beside it; or infinity."""
    (ox, _, oz), (dx, _, dz) = origins.unbind(-1), directions.unbind(-1)
    a, b = (dx * dx + dz * dz).clamp_min(1e-9), ox * dx + oz * dz
    c = ox * ox + oz * oz - BACKDROP_RADIUS**2
    wall = (torch.sqrt((b * b - a * c).clamp_min(0.0)) - b) / a
    plane = -oz / torch.where(dz < -1e-6, dz, torch.full_like(dz, -1e-6))
    beside = (ox + plane * dx).abs() >= BACKDROP_RADIUS
    depth = torch.where(beside, plane, wall)
    return torch.where(dz < -1e-6, depth, torch.full_like(depth, torch.inf))


def _may_meet_head(origins: Tensor, directions: Tensor, near: Tensor, far: Tensor) -> Tensor:
    """Conservative test [R]: False only for rays that pass beside head and body."""
    radii = origins.new_tensor(_HEAD_RADII)
    o, d = (origins - origins.new_tensor(_HEAD_CENTRE)) / radii, directions / radii
    closest = o - d * ((o * d).sum(-1, keepdim=True) / (d * d).sum(-1, keepdim=True))
    y0, y1 = origins[:, 1] + near * directions[:, 1], origins[:, 1] + far * directions[:, 1]
    return (closest.square().sum(-1) < 1.0) | (torch.minimum(y0, y1) < _BODY_TOP)


def surface_colors(
    row: Values, points: Tensor, hit: Tensor, occluder: Occluder | None
) -> tuple[Tensor, Tensor]:
    """Return colours [R,3] in [0,1] where one head's rays end [R,3], and which rays end on the occluder [R].

    Rays that end on the backdrop or outside the unit cube take the backdrop's colour at their height, clamped
    to the cube.
    """
    colors = backdrop_color(row, points[None, :, 1].clamp(-_HALF_CUBE, _HALF_CUBE))[0].clone()
    x, y, z = points.unbind(-1)
    before_wall = torch.where(z < 0.0, x * x + z * z < (BACKDROP_RADIUS - 0.006) ** 2, x.abs() <= _HALF_CUBE)
    solid = hit & before_wall & (y.abs() <= _HALF_CUBE) & (z < _HALF_CUBE)
    owned = torch.zeros_like(hit)
    if occluder is not None:
        near = hit.nonzero()[:, 0]
        for some in near.split(_BATCH):
            there = points[None, some]
            owned[some] = (occluder.signed_distance(there) < signed_distance(row, there))[0]
    for some in (solid & ~owned).nonzero()[:, 0].split(_BATCH // 4):
        if some.numel():
            colors[some] = radiance(row, points[None, some])[0]
    if occluder is not None:
        for some in owned.nonzero()[:, 0].split(_BATCH // 4):
            if some.numel():
                colors[some] = occluder.radiance(points[None, some])[0]
    return colors, owned


@torch.no_grad()
def render(
    scores: Tensor,
    cam2world: Tensor,
    intrinsics: Tensor,
    size: tuple[int, int],
    occluder: Occluder | None = None,
    antialias: bool = False,
) -> HeadRender:
    """Render heads at the resolution `size`.

    Args:
        scores: [N,P], standard normal.
        cam2world: [N,4,4].
        intrinsics: [N,3,3], normalised by the image size.
        size: (H, W) in pixels.
        occluder: of every head, or one with `row(n)`, which gives that of head n.
        antialias: four rays a pixel; depth is then the nearest of the four, and the mask true where at least
            two of them meet the occluder.
    """
    height, width = size
    scale = 2 if antialias else 1
    values = to_values(scores)
    origins, directions = make_rays(cam2world, intrinsics, (height * scale, width * scale))
    images, depths, masks = [], [], []
    for n in range(scores.shape[0]):
        row = {name: value[n : n + 1] for name, value in values.items()}
        guard = _row_of(occluder, n)
        depth, hit = _march(row, origins[n], directions[n], _NEAR, _FAR, _STEPS, guard)
        ends = origins[n] + depth[:, None] * directions[n]
        colors, owned = surface_colors(row, ends, hit, guard)
        shape = (1, height * scale, width * scale, -1)
        images.append(colors.reshape(shape).permute(0, 3, 1, 2))
        depths.append(depth.reshape(shape).permute(0, 3, 1, 2))
        masks.append(owned.reshape(shape).permute(0, 3, 1, 2))
    image, depth_map, mask = torch.cat(images), torch.cat(depths), torch.cat(masks)
    if antialias:
        image = F.avg_pool2d(image, 2)
        depth_map = -F.max_pool2d(-depth_map, 2)
        mask = F.avg_pool2d(mask.to(image.dtype), 2) >= 0.5
    return HeadRender(image * 2.0 - 1.0, depth_map[:, 0], mask[:, 0])
