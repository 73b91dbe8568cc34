"""Frames of a clip: one ray a pixel, and four only where something has an edge, at a third of the cost of four everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inverters.heads.animation import ClipScript
from inverters.heads.occluder_base import Occluder
from inverters.heads.occluders import make_occluder
from inverters.heads.params import to_values
from inverters.heads.render import _shade, trace
from inverters.rendering.rays import pixel_centres, rays_at

NEAR, FAR = 2.0, 3.7
"""Limits of the rays in world units."""
_EDGE = 0.045
"""Step between neighbouring pixels, of 1, from which a pixel gets four rays."""
_CHUNK = 8192


@dataclass(frozen=True)
class Frame:
    """image [3,H,W] in [0,1]; depth [H,W] along the pixel's ray in world units; mask [H,W], True on the occluder."""

    image: Tensor
    depth: Tensor
    mask: Tensor


def occluder_at(script: ClipScript, t: int, scores: Tensor) -> Occluder | None:
    """The clip's occluder in frame t on a head with these scores [1,P], or None."""
    if script.occluder is None:
        return None
    state = {name: value[t : t + 1] for name, value in script.state.items()}
    return make_occluder(script.occluder, to_values(scores), state)


@torch.no_grad()
def render_frame(script: ClipScript, t: int, scores: Tensor | None = None, occluded: bool = True) -> Frame:
    """Render frame t of a clip; `scores` [1,P] replaces the clip's own, `occluded` False leaves the occluder away."""
    scores = script.scores[t : t + 1] if scores is None else scores
    occluder = occluder_at(script, t, scores) if occluded else None
    height, width = script.size
    uv = pixel_centres(script.size)
    colours, depth, owned = _shoot(script, t, scores, occluder, uv)
    image = colours.reshape(height, width, 3)
    mask = owned.reshape(height, width)
    where = _edges(image, mask).reshape(-1).nonzero()[:, 0]
    if len(where):
        corner = torch.tensor([[-0.25, -0.25], [0.25, -0.25], [-0.25, 0.25], [0.25, 0.25]])
        finer = uv[where, None] + corner / torch.tensor([width, height])
        fine, near, mine = _shoot(script, t, scores, occluder, finer.reshape(-1, 2))
        colours[where] = fine.reshape(-1, 4, 3).mean(1)
        depth[where] = near.reshape(-1, 4).amin(1)
        owned[where] = mine.reshape(-1, 4).float().mean(1) >= 0.5
    return Frame(image.permute(2, 0, 1).contiguous(), depth.reshape(height, width), owned.reshape(height, width))


def _shoot(
    script: ClipScript, t: int, scores: Tensor, occluder: Occluder | None, uv: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Colours [R,3], depth [R] and whether the occluder is met [R] along rays through uv [R,2] of frame t."""
    values = to_values(scores)
    camera, lens = script.cam2world[t : t + 1], script.intrinsics[t : t + 1]
    colours, depth, owned = [], [], []
    for part in uv.split(_CHUNK):
        origins, directions = rays_at(camera, lens, part)
        hit = trace(values, origins, directions, NEAR, FAR, 64, occluder)
        points = origins[0] + directions[0] * hit.depth[0, :, None]
        colour, mine = _shade(values, points, hit.hit[0], occluder)
        colours.append(colour), depth.append(hit.depth[0]), owned.append(mine)
    return torch.cat(colours), torch.cat(depth), torch.cat(owned)


def _edges(image: Tensor, mask: Tensor) -> Tensor:
    """Pixels [H,W] that differ from a neighbour (image [H,W,3], mask [H,W])."""
    edge = torch.zeros_like(mask)
    for dim in (0, 1):
        n = image.shape[dim]
        a, b = image.narrow(dim, 0, n - 1), image.narrow(dim, 1, n - 1)
        step = ((a - b).abs().amax(-1) > _EDGE) | (mask.narrow(dim, 0, n - 1) ^ mask.narrow(dim, 1, n - 1))
        edge.narrow(dim, 0, n - 1).logical_or_(step)
        edge.narrow(dim, 1, n - 1).logical_or_(step)
    return edge
