"""Drawing in plain torch, the specification of `drawing_compiled.py`, which has the same functions.

Triangles: a sample is covered where its centre lies inside by exact integer edge functions; a centre on an
edge belongs to the triangle to the right of it, or below. Strands: one fragment for each sample along the
longer axis of a segment, or a column of them where it is wider than a sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from inverters.rendering.canvas import STEPS, Canvas, Screen

SLACK = 1e-3
"""Fragments of strands count up to this far behind the canvas, world units."""
_OPAQUE = 0.999999
"""Greatest alpha of a fragment, so that its logarithm exists."""
_WIDEST = 32768.0
_CANDIDATES = 1 << 21
"""Pairs of a primitive and a sample that are looked at together."""


class _Covered(NamedTuple):
    """Samples inside triangles."""

    triangle: Tensor
    """[N] int64"""
    sample: Tensor
    """[N] int64: row * W + column."""
    weights: Tensor
    """[N,3] barycentric coordinates in the world."""
    depth: Tensor
    """[N]"""


def hits(
    screen: Screen, triangles: Tensor, two_sided: Tensor | None, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return the nearest triangle [H,W] int32 (-1: none) and barycentric coordinates [H,W,3]."""
    farthest = torch.full(size, torch.inf, device=screen.x.device)
    found = _nearest(screen, triangles, two_sided, farthest)
    triangle = torch.full((farthest.numel(),), -1, dtype=torch.int32, device=farthest.device)
    weights = farthest.new_zeros(farthest.numel(), 3)
    triangle[found.sample] = found.triangle.int()
    weights[found.sample] = found.weights
    return triangle.reshape(size), weights.reshape(*size, 3)


def draw_triangles(
    canvas: Canvas,
    screen: Screen,
    colours: Tensor,
    triangles: Tensor,
    labels: Tensor,
    two_sided: Tensor | None,
) -> None:
    """Draw opaque triangles into the canvas."""
    found = _nearest(screen, triangles, two_sided, canvas.depth)
    canvas.colour.view(-1, 3)[found.sample] = _interpolated(found, triangles, colours)
    canvas.depth.view(-1)[found.sample] = found.depth
    canvas.label.view(-1)[found.sample] = labels[found.triangle]


def draw_translucent(
    canvas: Canvas, screen: Screen, colours: Tensor, triangles: Tensor, labels: Tensor | None
) -> None:
    """Blend triangles over the canvas one after another, from both sides."""
    both = torch.ones(len(triangles), dtype=torch.bool, device=triangles.device)
    depth, colour, label = canvas.depth.view(-1), canvas.colour.view(-1, 3), canvas.label.view(-1)
    for part in _covered(screen, triangles, both, canvas.size):
        front = part.depth < depth[part.sample]
        found = _Covered(*(t[front] for t in part))
        rgba = _interpolated(found, triangles, colours)
        for layer in _layers(found.sample):
            place, alpha = found.sample[layer], rgba[layer, 3:]
            colour[place] = colour[place] * (1 - alpha) + rgba[layer, :3] * alpha
            if labels is not None:
                solid = alpha[:, 0] >= 0.5
                label[place[solid]] = labels[found.triangle[layer]][solid]


def _layers(sample: Tensor) -> Iterator[Tensor]:
    """Indices of the first fragment of each sample, then of the second, and so on."""
    order = sample.argsort(stable=True)
    _, counts = torch.unique_consecutive(sample[order], return_counts=True)
    starts = (counts.cumsum(0) - counts).repeat_interleave(counts)
    rank = torch.arange(len(order), device=order.device) - starts
    for place in range(int(counts.max()) if len(counts) else 0):
        yield order[rank == place]


def _nearest(screen: Screen, triangles: Tensor, two_sided: Tensor | None, depth: Tensor) -> _Covered:
    """The nearest triangle of each sample, if nearer than `depth` [H,W]; the first of two at one depth."""
    size = (depth.shape[0], depth.shape[1])
    none = torch.iinfo(torch.int64).max
    best = torch.full((depth.numel(),), none, device=depth.device)
    for part in _covered(screen, triangles, two_sided, size):
        front = part.depth < depth.view(-1)[part.sample]
        # Positive floats are ordered as their bits.
        keys = (part.depth.view(torch.int32).long() << 32) | part.triangle
        best.scatter_reduce_(0, part.sample[front], keys[front], "amin")
    sample = (best != none).nonzero()[:, 0]
    triangle = best[sample] & 0xFFFFFFFF
    edges, area = _edges(screen, triangles, triangle, sample, size[1])
    return _surface(screen, triangles, triangle, sample, edges, area)


def _covered(
    screen: Screen, triangles: Tensor, two_sided: Tensor | None, size: tuple[int, int]
) -> Iterator[_Covered]:
    """The samples inside each triangle, in the order of the triangles."""
    height, width = size
    corners = _corners(screen, triangles)
    area = _area(corners)
    kept = (screen.inverse_depth[triangles.long()] > 0).all(1) & (area != 0)
    # Rows count downwards, so that the front has a negative area.
    kept &= area < 0 if two_sided is None else (area < 0) | two_sided
    low, high = corners.amin(1), corners.amax(1)
    first = ((low + STEPS // 2 - 1) >> 8).clamp(min=0)
    last = torch.minimum((high - STEPS // 2) >> 8, torch.tensor([width - 1, height - 1], device=low.device))
    extent = (last - first + 1).clamp(min=0).long()
    counts = extent.prod(1) * kept
    for triangle, place in _expand(counts):
        columns = extent[triangle, 0]
        x, y = first[triangle, 0] + place % columns, first[triangle, 1] + place // columns
        sample = y * width + x
        edges, area_of = _edges(screen, triangles, triangle, sample, width)
        inside = (edges - _ties(corners[triangle]) >= 0).all(1)
        triangle, sample, edges, area_of = (t[inside] for t in (triangle, sample, edges, area_of))
        yield _surface(screen, triangles, triangle, sample, edges, area_of)


def _expand(counts: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Owner and number within the owner of each of `counts` [N] items, in pieces."""
    ends = counts.cumsum(0)
    start = 0
    while start < len(counts):
        before = ends[start] - counts[start]
        stop = int(torch.searchsorted(ends, before + _CANDIDATES, right=True))
        stop = max(stop, start + 1)
        part = counts[start:stop]
        owner = torch.arange(start, stop, device=counts.device).repeat_interleave(part)
        place = torch.arange(len(owner), device=counts.device) - (ends - counts - before)[owner]
        yield owner, place
        start = stop


def _corners(screen: Screen, triangles: Tensor) -> Tensor:
    """Positions [N,3,2] int32 of the vertices of triangles [N,3]."""
    return torch.stack([screen.x[triangles.long()], screen.y[triangles.long()]], -1)


def _area(corners: Tensor) -> Tensor:
    """Twice the signed area of triangles [N,3,2] int32, as int64."""
    (ux, uy), (vx, vy) = ((corners[:, k] - corners[:, 0]).long().unbind(1) for k in (1, 2))
    return ux * vy - uy * vx


def _sides(corners: Tensor) -> Tensor:
    """Vectors [N,3,2] int64 along the edges opposite each vertex, as if the area were positive."""
    sign = _area(corners).sign()[:, None]
    along = (corners[:, [2, 0, 1]] - corners[:, [1, 2, 0]]).long()
    return along * sign[..., None]


def _ties(corners: Tensor) -> Tensor:
    """[N,3]: 1 where a sample exactly on the edge belongs to the neighbour."""
    dx, dy = _sides(corners).unbind(-1)
    return 1 - ((dy < 0) | ((dy == 0) & (dx > 0))).long()


def _edges(
    screen: Screen, triangles: Tensor, triangle: Tensor, sample: Tensor, width: int
) -> tuple[Tensor, Tensor]:
    """Edge functions [N,3] of samples [N] in triangles [N], and the area [N], all positive inside."""
    corners = _corners(screen, triangles[triangle])
    x, y = (STEPS * v + STEPS // 2 for v in (sample % width, sample // width))
    along = _sides(corners)
    start = corners[:, [1, 2, 0]].long()
    edges = along[..., 0] * (y[:, None] - start[..., 1]) - along[..., 1] * (x[:, None] - start[..., 0])
    return edges, _area(corners).abs()


def _surface(
    screen: Screen, triangles: Tensor, triangle: Tensor, sample: Tensor, edges: Tensor, area: Tensor
) -> _Covered:
    weights = edges.float() * screen.inverse_depth[triangles[triangle].long()]
    total = weights[:, 0] + weights[:, 1] + weights[:, 2]
    return _Covered(triangle, sample, weights / total[:, None], area.float() / total)


def _interpolated(found: _Covered, triangles: Tensor, values: Tensor) -> Tensor:
    """Values [V,C] of the vertices at covered samples, [N,C]."""
    a, b, c = values[triangles[found.triangle].long()].unbind(1)
    weights = found.weights
    return weights[:, :1] * a + weights[:, 1:2] * b + weights[:, 2:] * c


class _Segments(NamedTuple):
    """Segments along their longer axis on the canvas, all [N] (colours [N,3])."""

    steep: Tensor
    """The longer axis is y."""
    first: Tensor
    last: Tensor
    """Samples [first, last) along the longer axis."""
    start: Tensor
    scale: Tensor
    """Position in [0,1] of sample i: (i + .5 - start) * scale."""
    across: Tensor
    slope: Tensor
    """Along the shorter axis at position s: across + s * slope."""
    near: Tensor
    far: Tensor
    """Inverse depth of the ends."""
    width: Tensor
    """Extent along the shorter axis in samples at depth 1."""
    colours: tuple[Tensor, Tensor]


class _Fragments(NamedTuple):
    sample: Tensor
    depth: Tensor
    weight: Tensor
    colour: Tensor


def draw_strands(
    canvas: Canvas,
    screen: Screen,
    colours: Tensor,
    diameter: Tensor,
    opacity: float,
    soft: float,
    label: int,
) -> None:
    """Draw strands; `diameter` [S] in samples at depth 1."""
    segments = _segments(screen, colours, diameter, canvas.size)
    found = _fragments(segments, canvas.size)
    depth, colour = canvas.depth.view(-1), canvas.colour.view(-1, 3)
    seen = found.depth < depth[found.sample] + SLACK
    found = _Fragments(*(t[seen] for t in found))
    nearest = torch.full_like(depth, torch.inf)
    nearest.scatter_reduce_(0, found.sample, found.depth, "amin")
    clear = torch.zeros_like(depth)
    clear.index_add_(0, found.sample, torch.log1p(-(opacity * found.weight).clamp(max=_OPAQUE)))
    clear.exp_()
    front = found.depth <= nearest[found.sample] + soft
    sample, weight = found.sample[front], found.weight[front, None]
    total = depth.new_zeros(len(depth), 1).index_add_(0, sample, weight)
    mean = torch.zeros_like(colour).index_add_(0, sample, weight * found.colour[front]) / total
    touched = total[:, 0] > 0
    mixed = colour * clear[:, None] + mean * (1 - clear[:, None])
    colour.copy_(torch.where(touched[:, None], mixed, colour))
    solid = touched & (1 - clear > 0.5)
    depth.copy_(torch.where(solid, torch.minimum(depth, nearest), depth))
    canvas.label.view(-1)[solid] = label


def _segments(screen: Screen, colours: Tensor, diameter: Tensor, size: tuple[int, int]) -> _Segments:
    points = torch.stack(screen, -1)
    a, b = points[:, :-1].reshape(-1, 3), points[:, 1:].reshape(-1, 3)
    colour_a, colour_b = colours[:, :-1].reshape(-1, 3), colours[:, 1:].reshape(-1, 3)
    delta = b - a
    steep = delta[:, 1].abs() > delta[:, 0].abs()
    backwards = torch.where(steep, delta[:, 1], delta[:, 0]) < 0
    ends = [torch.where(backwards[:, None], *pair) for pair in ((b, a), (a, b))]
    tints = [torch.where(backwards[:, None], *pair) for pair in ((colour_b, colour_a), (colour_a, colour_b))]
    a, b = (torch.where(steep[:, None], end[:, [1, 0, 2]], end) for end in ends)
    length = torch.where(steep, size[0], size[1])
    first = torch.ceil(a[:, 0] - 0.5).clamp(min=0).long()
    last = torch.minimum(torch.ceil(b[:, 0] - 0.5).long(), length)
    last = torch.where((a[:, 2] > 0) & (b[:, 2] > 0), last, 0)
    scale, slope = 1 / (b[:, 0] - a[:, 0]), b[:, 1] - a[:, 1]
    stretch = torch.sqrt(1 + (slope * scale).square())
    width = diameter.repeat_interleave(points.shape[1] - 1) * stretch
    return _Segments(
        steep, first, last, a[:, 0], scale, a[:, 1], slope, a[:, 2], b[:, 2], width, (tints[0], tints[1])
    )


def _fragments(segments: _Segments, size: tuple[int, int]) -> _Fragments:
    height, width = size
    found = []
    for owner, place in _expand((segments.last - segments.first).clamp(min=0)):
        along = segments.first[owner] + place
        s = (along.float() + 0.5 - segments.start[owner]) * segments.scale[owner]
        middle = segments.across[owner] + s * segments.slope[owner]
        near, far = segments.near[owner], segments.far[owner]
        inverse = near + s * (far - near)
        depth = 1 / inverse
        share = (s * far * depth)[:, None]
        colour = segments.colours[0][owner]
        colour = colour + share * (segments.colours[1][owner] - colour)
        wide = (segments.width[owner] * inverse).clamp(max=_WIDEST)
        thin, steep = wide <= 1, segments.steep[owner]
        low = torch.where(thin, middle.floor(), torch.ceil(middle - 0.5 * wide - 0.5)).long()
        high = torch.where(thin, low + 1, torch.ceil(middle + 0.5 * wide - 0.5).long())
        low = low.clamp(min=0)
        high = torch.minimum(high, torch.where(steep, width, height))
        for fragment, offset in _expand((high - low).clamp(min=0)):
            u, v = along[fragment], low[fragment] + offset
            sample = torch.where(steep[fragment], u * width + v, v * width + u)
            found.append(_Fragments(sample, depth[fragment], wide[fragment].clamp(max=1), colour[fragment]))
    if not found:
        nothing = segments.start[:0]
        return _Fragments(nothing.long(), nothing, nothing, nothing[:, None].expand(0, 3))
    return _Fragments(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def visibility(queries: Tensor, occluders: Tensor, axes: Tensor, bias: float, resolution: int) -> Tensor:
    """Return visibility [D,Q] of queries [3,Q] among occluders [3,P].

    `axes` [D,3,4]: column and row in cells, and depth towards the light, affine in the position.
    """
    return torch.stack([_visible(queries, occluders, of_one, bias, resolution) for of_one in axes])


def _visible(queries: Tensor, occluders: Tensor, axes: Tensor, bias: float, resolution: int) -> Tensor:
    column, row, depth = _along(axes, occluders)
    within = (column >= 0) & (column < resolution) & (row >= 0) & (row < resolution)
    cell = row[within].long() * resolution + column[within].long()
    nearest = occluders.new_full((resolution * resolution,), -9.0)
    nearest.scatter_reduce_(0, cell, depth[within], "amax")
    column, row, depth = _along(axes, queries)
    column, row = column - 0.5, row - 0.5
    left, top = (v.clamp(0, resolution - 2).long() for v in (column, row))
    right, down = (column - left).clamp(0, 1), (row - top).clamp(0, 1)

    def lit(step: int) -> Tensor:
        return (1 - (nearest[top * resolution + left + step] - (depth + bias)) * 50).clamp(0, 1)

    above = (1 - right) * lit(0) + right * lit(1)
    below = (1 - right) * lit(resolution) + right * lit(resolution + 1)
    return (1 - down) * above + down * below


def _along(axes: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x, y, z = points
    a, b, c = (x * r[0] + y * r[1] + z * r[2] + r[3] for r in axes)
    return a, b, c
