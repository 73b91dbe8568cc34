"""Segments of a face by place and colour, each with a space of its own (SAM).

Parmar et al. 2022, "Spatially-Adaptive Multilayer Selection for GAN Inversion and Editing". There the
features of a layer lie in the picture. Those of a tri-plane generator lie in the planes: a segment is a part
of the plane XY, which a frontal picture shows, and a pixel belongs to where its surface point falls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inverters.fitting.spaces import LayerCodes
from inverters.fitting.targets import Targets
from inverters.rendering.rays import make_rays
from inverters.rendering.sampling import Sampling

SIDE = 32
"""Places of the plane XY along a side."""
_ROUNDS = 10


@dataclass(frozen=True)
class Seen:
    """What some rows of a problem show, and where on the plane XY."""

    rows: Tensor
    """[n]."""
    places: Tensor
    """[n,h*h], the place of each pixel's surface point, counted row by row."""
    colours: Tensor
    """[n,h*h,3] in [-1,1], of the crops."""
    keep: Tensor
    """[n,h*h]: 1 on the face, 0 on the occluder."""


@torch.no_grad()
def rendered(
    generator: Any, targets: Targets, rows: Tensor, ws: Tensor, layer_codes: LayerCodes, sampling: Sampling
) -> tuple[Tensor, Tensor]:
    """Return colours [n,h*h,3] and depths [n,h*h] of rows [n], by codes of all rows."""
    colours, depths = [], []
    for row in rows.split(1):
        planes = layer_codes.at(row).planes(generator, ws[row])
        camera = targets.cam2world[row], targets.intrinsics[row]
        found = generator.render(planes, *camera, targets.resolution, sampling)
        colours.append(found.features[:, :3].flatten(2).mT)
        depths.append(found.depth.flatten(1))
    return torch.cat(colours), torch.cat(depths)


@torch.no_grad()
def seen_places(generator: Any, targets: Targets, rows: Tensor, depths: Tensor) -> Seen:
    """Return what rows [n] show, with the places of surface points at depths [n,h*h] along the rays."""
    size = targets.resolution
    origins, directions = make_rays(targets.cam2world[rows], targets.intrinsics[rows], (size, size))
    points = origins + depths[..., None] * directions
    unit = points[..., :2] / generator.config.box_warp + 0.5
    x, y = (unit * SIDE).long().clamp(0, SIDE - 1).unbind(-1)
    return Seen(rows, y * SIDE + x, targets.raw(rows).flatten(2).mT, targets.keep(rows).flatten(1).to(depths))


def segments(seen: Seen, count: int) -> Tensor:
    """Return the segment [SIDE*SIDE] of each place: at most `count` clusters of places and mean colours.

    K-means, from centres spread over the places that are seen; the others join the nearest by place.
    """
    flat = seen.places.flatten()
    weight = torch.zeros(SIDE * SIDE, device=flat.device).index_add_(0, flat, torch.ones_like(flat).float())
    colour = torch.zeros(SIDE * SIDE, 3, device=flat.device).index_add_(0, flat, seen.colours.flatten(0, 1))
    colour = colour / weight.clamp_min(1)[:, None]
    axis = (torch.arange(SIDE, device=flat.device) + 0.5) * 2 / SIDE - 1
    place = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).flatten(0, 1)
    known = weight > 0
    points = torch.cat([place, colour], 1)[known]
    centres = points[torch.linspace(0, len(points) - 1, min(count, len(points))).round().long()]
    for _ in range(_ROUNDS):
        nearest = torch.cdist(points, centres).argmin(1)
        share = F.one_hot(nearest, len(centres)).to(points)
        held = share.sum(0)[:, None]
        centres = torch.where(held > 0, share.T @ points / held.clamp_min(1), centres)
    found = torch.cdist(place, centres[:, :2]).argmin(1)
    found[known] = torch.cdist(points, centres).argmin(1)
    return found


def errors_of(seen: Seen, labels: Tensor, colours: Tensor) -> Tensor:
    """Return the root mean squared error [S] of rendered colours [n,h*h,3] in each segment.

    Pixels of an occluder are left out; a segment that no pixel shows has 0.
    """
    square = (colours - seen.colours).square().mean(-1) * seen.keep
    owner = labels[seen.places].flatten()
    total, count = (torch.zeros(int(labels.max()) + 1, device=owner.device) for _ in range(2))
    total.index_add_(0, owner, square.flatten())
    count.index_add_(0, owner, seen.keep.flatten())
    return (total / count.clamp_min(1e-9)).sqrt() * (count > 0)


def mask_of(labels: Tensor, chosen: Tensor, side: int) -> Tensor:
    """Return the share [1,side,side] of a layer's places in the segments that are `chosen` [S], bool."""
    whole = chosen[labels].float().reshape(1, 1, SIDE, SIDE)
    small = side <= SIDE
    found = F.interpolate(whole, size=(side, side), mode="area" if small else "bilinear")
    return found[0]
