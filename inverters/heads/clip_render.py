"""Rendering of a clip's frames: trace only the pixels that differ from a frame already rendered.

Pixels on edges get four rays.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from inverters.heads.animation import ClipScript
from inverters.heads.occluders import Occluder, make_occluder
from inverters.heads.params import to_values
from inverters.heads.render import surface_colors, trace
from inverters.rendering.rays import pixel_centres, rays_at

NEAR, FAR = 2.0, 3.7
"""Limits of the rays in world units."""
_EDGE = 0.045
"""Least difference between neighbouring pixels, of a range of 1, at which a pixel gets four rays."""
_CHUNK = 1 << 17
_STRIDE = 4
"""Pixels between the rays of the coarse pass that finds what an edit changes."""
_CHANGE = 1.0 / 1024
"""Least difference in colour, of 1, or in depth, in world units, that counts as a change."""
_REACH = 0.003
"""World units by which an occluder is enlarged to find its outline; a pixel is about 0.0025 wide."""


@dataclass(frozen=True)
class Frame:
    """A frame: image [3,H,W] in [0,1], depth [H,W] along the ray in world units, occluder mask [H,W]."""

    image: Tensor
    depth: Tensor
    mask: Tensor


@torch.no_grad()
def render_clean(
    script: ClipScript, t: int, scores: Tensor | None = None, base: tuple[Frame, Tensor] | None = None
) -> Frame:
    """Render frame t of a clip without its occluder.

    Args:
        script: of the clip.
        t: index of the frame.
        scores: [1,P] in place of the clip's own.
        base: the same frame already rendered, and the scores [1,P] in it. A coarse pass finds the pixels that
            differ, and only these are rendered again.
    """
    scores = script.scores[t : t + 1] if scores is None else scores
    if base is None:
        everywhere = torch.ones(script.size, dtype=torch.bool)
        return _render_where(script, t, scores, None, everywhere, _blank(script))
    frame, before = base
    return _render_where(script, t, scores, None, _changed(script, t, before, scores), frame)


@torch.no_grad()
def render_occluded(script: ClipScript, t: int, clean: Frame, scores: Tensor | None = None) -> Frame:
    """Render frame t with the clip's occluder over `clean`, a render of the same head (scores [1,P])."""
    scores = script.scores[t : t + 1] if scores is None else scores
    if script.occluder is None:
        return clean
    state = {name: value[t : t + 1] for name, value in script.state.items()}
    occluder = make_occluder(script.occluder, to_values(scores), state)
    return _render_where(script, t, scores, occluder, _outline(script, t, occluder), clean)


def _blank(script: ClipScript) -> Frame:
    height, width = script.size
    nothing = torch.zeros(height, width)
    return Frame(torch.zeros(3, height, width), nothing, nothing.bool())


def _render_where(
    script: ClipScript, t: int, scores: Tensor, occluder: Occluder | None, where: Tensor, base: Frame
) -> Frame:
    """Return `base` with the pixels `where` [H,W] rendered again, those on edges with four rays."""
    height, width = script.size
    uv = pixel_centres(script.size)
    image = base.image.permute(1, 2, 0).reshape(-1, 3).clone()
    depth, owned = base.depth.reshape(-1).clone(), base.mask.reshape(-1).clone()
    chosen = where.reshape(-1).nonzero()[:, 0]
    if len(chosen):
        image[chosen], depth[chosen], owned[chosen] = _shoot(script, t, scores, occluder, uv[chosen])
    edge = _edges(image.reshape(height, width, 3), owned.reshape(height, width)) & where
    chosen = edge.reshape(-1).nonzero()[:, 0]
    if len(chosen):
        corners = torch.tensor([[-0.25, -0.25], [0.25, -0.25], [-0.25, 0.25], [0.25, 0.25]])
        finer = uv[chosen, None] + corners / torch.tensor([width, height])
        colours, near, mine = _shoot(script, t, scores, occluder, finer.reshape(-1, 2))
        image[chosen] = colours.reshape(-1, 4, 3).mean(1)
        depth[chosen] = near.reshape(-1, 4).amin(1)
        owned[chosen] = mine.reshape(-1, 4).float().mean(1) >= 0.5
    picture = image.reshape(height, width, 3).permute(2, 0, 1).contiguous()
    return Frame(picture, depth.reshape(height, width), owned.reshape(height, width))


def _shoot(
    script: ClipScript, t: int, scores: Tensor, occluder: Occluder | None, uv: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Colours [R,3], depth [R] and whether the occluder is hit [R], of rays through uv [R,2] of frame t."""
    values = to_values(scores)
    colours, depth, owned = [], [], []
    for part in uv.split(_CHUNK):
        origins, directions = rays_at(script.cam2world[t : t + 1], script.intrinsics[t : t + 1], part)
        hit = trace(values, origins, directions, NEAR, FAR, 64, occluder)
        points = origins[0] + directions[0] * hit.depth[0, :, None]
        colour, mine = surface_colors(values, points, hit.hit[0], occluder)
        colours.append(colour), depth.append(hit.depth[0]), owned.append(mine)
    return torch.cat(colours), torch.cat(depth), torch.cat(owned)


def _edges(image: Tensor, mask: Tensor) -> Tensor:
    """Pixels [H,W] that differ from a neighbour in colour (image [H,W,3]) or in the mask [H,W]."""
    edge = torch.zeros_like(mask)
    for dim in (0, 1):
        n = image.shape[dim]
        a, b = image.narrow(dim, 0, n - 1), image.narrow(dim, 1, n - 1)
        step = ((a - b).abs().amax(-1) > _EDGE) | (mask.narrow(dim, 0, n - 1) ^ mask.narrow(dim, 1, n - 1))
        edge.narrow(dim, 0, n - 1).logical_or_(step)
        edge.narrow(dim, 1, n - 1).logical_or_(step)
    return edge


def _changed(script: ClipScript, t: int, before: Tensor, after: Tensor) -> Tensor:
    """Pixels [H,W] where two heads [1,P] differ in colour or depth.

    Both are rendered on a coarse grid; the cells that differ are enlarged by one cell.
    """
    height, width = script.size
    rows = torch.arange(_STRIDE // 2, height, _STRIDE)
    columns = torch.arange(_STRIDE // 2, width, _STRIDE)
    uv = pixel_centres(script.size).reshape(height, width, 2)[rows][:, columns].reshape(-1, 2)
    one, one_depth, _ = _shoot(script, t, before, None, uv)
    two, two_depth, _ = _shoot(script, t, after, None, uv)
    differs = ((one - two).abs().amax(-1) > _CHANGE) | ((one_depth - two_depth).abs() > _CHANGE)
    coarse = differs.reshape(1, 1, len(rows), len(columns)).float()
    coarse = F.max_pool2d(coarse, 3, stride=1, padding=1)
    full = F.interpolate(coarse, scale_factor=_STRIDE, mode="nearest")
    full = F.pad(
        full, (0, max(width - full.shape[-1], 0), 0, max(height - full.shape[-2], 0)), mode="replicate"
    )
    return full[0, 0, :height, :width] > 0


def _outline(script: ClipScript, t: int, occluder: Occluder, steps: int = 64) -> Tensor:
    """Pixels [H,W] whose rays pass within _REACH of the occluder, whether or not the head hides it there."""
    origins, directions = rays_at(
        script.cam2world[t : t + 1], script.intrinsics[t : t + 1], pixel_centres(script.size)
    )
    near = torch.zeros(origins.shape[1], dtype=torch.bool)
    alive = torch.arange(len(near))
    depth = torch.full((len(near),), NEAR)
    for _ in range(steps):
        points = origins[:, alive] + directions[:, alive] * depth[alive, None]
        distance = occluder.signed_distance(points)[0]
        near[alive] |= distance < _REACH
        depth[alive] += distance.clamp_min(_REACH / 2)
        alive = alive[(distance >= _REACH) & (depth[alive] < FAR)]
        if len(alive) == 0:
            break
    near[alive] = True  # rays that have not converged are rendered too
    return near.reshape(script.size)
