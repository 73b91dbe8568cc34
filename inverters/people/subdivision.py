"""Catmull-Clark subdivision of a mesh of quads as a sparse matrix.

Catmull and Clark, "Recursively generated B-spline surfaces on arbitrary topological meshes" (1978).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Refined:
    """One step: `matrix` [m,n] maps the vertices, quads [4F,4], and the parent face [4F] of each quad."""

    matrix: Tensor
    quads: Tensor
    parent: Tensor


def subdivide(quads: Tensor, count: int) -> Refined:
    """Return one Catmull-Clark step of quads [F,4] over `count` vertices.

    The new vertices are the old ones, then one for each edge, then one for each face. Vertices of no face
    stay where they are; a border is a cubic spline of its own.
    """
    faces = len(quads)
    sides = torch.stack([quads, quads.roll(-1, 1)], -1).reshape(-1, 2).sort(1).values
    edges, of_side, uses = torch.unique(sides, dim=0, return_inverse=True, return_counts=True)
    of_side = of_side.reshape(faces, 4)
    inner = uses == 2
    row = torch.arange(faces).repeat_interleave(4)
    face_point = _sparse(row, quads.flatten(), torch.full((4 * faces,), 0.25), faces, count)
    edge_row = torch.arange(len(edges)).repeat_interleave(2)
    middle = _sparse(edge_row, edges.flatten(), torch.full((2 * len(edges),), 0.5), len(edges), count)
    edge_face = _sparse(of_side.flatten(), row, torch.ones(4 * faces), len(edges), faces)
    edge_point = _scale(torch.where(inner, 0.5, 1.0), middle) + _scale(
        torch.where(inner, 0.25, 0.0), torch.sparse.mm(edge_face, face_point)
    )
    matrix = torch.cat(
        [_vertex_point(quads, edges, inner, face_point, middle, count), edge_point, face_point]
    )
    k = torch.arange(faces)
    around = [
        torch.stack(
            [quads[:, j], count + of_side[:, j], count + len(edges) + k, count + of_side[:, (j - 1) % 4]], 1
        )
        for j in range(4)
    ]
    return Refined(matrix.coalesce(), torch.cat(around), k.repeat(4))


def _vertex_point(
    quads: Tensor, edges: Tensor, inner: Tensor, face_point: Tensor, middle: Tensor, count: int
) -> Tensor:
    """Matrix [count,count] of the old vertices: (F + 2 R + (k - 3) P) / k inside, (R + P) / 2 on a border."""
    faces, lines = len(quads), len(edges)
    in_face = _sparse(
        quads.flatten(), torch.arange(faces).repeat_interleave(4), torch.ones(4 * faces), count, faces
    )
    on_edge = _sparse(
        edges.flatten(), torch.arange(lines).repeat_interleave(2), torch.ones(2 * lines), count, lines
    )
    valence = torch.bincount(quads.flatten(), minlength=count).float()
    edge_valence = torch.bincount(edges.flatten(), minlength=count).float().clamp_min(1)
    k = valence.clamp_min(1)
    border_ends = edges[~inner].flatten()
    border = torch.zeros(count, dtype=torch.bool)
    border[border_ends] = True
    alone, inside = valence == 0, (~border).float()
    smooth = _scale(inside / k / k, torch.sparse.mm(in_face, face_point))
    smooth = smooth + _scale(2 * inside / edge_valence / k, torch.sparse.mm(on_edge, middle))
    own = torch.where(alone, 1.0, torch.where(border, 0.5, (k - 3) / k))
    border_edge = _scale(
        0.5 / torch.bincount(border_ends, minlength=count).clamp_min(1),
        torch.sparse.mm(on_edge, _scale((~inner).float(), middle)),
    )
    every = torch.arange(count)
    return smooth + border_edge + _sparse(every, every, own, count, count)


def _sparse(rows: Tensor, columns: Tensor, values: Tensor, height: int, width: int) -> Tensor:
    return torch.sparse_coo_tensor(torch.stack([rows, columns]), values, (height, width)).coalesce()


def _scale(factor: Tensor, matrix: Tensor) -> Tensor:
    """Rows of a sparse matrix times `factor`."""
    matrix = matrix.coalesce()
    rows = matrix.indices()[0]
    return torch.sparse_coo_tensor(matrix.indices(), matrix.values() * factor[rows], matrix.shape).coalesce()


@dataclass(frozen=True)
class Split:
    """Triangles whose long edges are halved: `matrix` [m,n], triangles [T,3], the parent [T] of each."""

    matrix: Tensor
    triangles: Tensor
    parent: Tensor


def split_long(triangles: Tensor, points: Tensor, allowed: Tensor, longest: float, rounds: int = 3) -> Split:
    """Halve the edges longer than `longest` between two allowed points, up to `rounds` times.

    Neighbours share every new vertex, so that no gaps open.

    Args:
        triangles: [T,3] int64.
        points: [n,3], by which edges are measured.
        allowed: bool [n].
        longest: in the unit of `points`.
        rounds: the most halvings of an edge.
    """
    count = len(points)
    every = torch.arange(count)
    matrix = _sparse(every, every, torch.ones(count), count, count)
    parent = torch.arange(len(triangles))
    for _ in range(rounds):
        sides = torch.stack([triangles, triangles.roll(-1, 1)], -1).reshape(-1, 2).sort(1).values
        edges, of_side = torch.unique(sides, dim=0, return_inverse=True)
        long = (points[edges[:, 0]] - points[edges[:, 1]]).norm(dim=1) > longest
        long &= allowed[edges].all(1)
        if not long.any():
            break
        ends = edges[long]
        middle = torch.where(long, len(points) + long.cumsum(0) - 1, -1)[of_side].reshape(-1, 3)
        triangles, kept = _split(triangles, middle)
        parent = parent[kept]
        row = torch.arange(len(ends)).repeat_interleave(2)
        halves = _sparse(row, ends.flatten(), torch.full((2 * len(ends),), 0.5), len(ends), len(points))
        matrix = torch.cat([matrix, torch.sparse.mm(halves, matrix)]).coalesce()
        points = torch.cat([points, points[ends].mean(1)])
        allowed = torch.cat([allowed, torch.ones(len(ends), dtype=torch.bool)])
    return Split(matrix, triangles, parent)


def _split(triangles: Tensor, middle: Tensor) -> tuple[Tensor, Tensor]:
    """Triangles and their parents after edges k to k + 1 were halved at vertex middle[:,k] (-1: not)."""
    cut = middle >= 0
    number = cut.sum(1)
    # Turn each triangle so that one cut is its first edge, and of two the first and the second.
    first = torch.where(number == 2, (cut.int().argmin(1) + 1) % 3, cut.int().argmax(1))
    order = (first[:, None] + torch.arange(3)) % 3
    (a, b, c), (ab, bc, ca) = triangles.gather(1, order).T, middle.gather(1, order).T
    pieces = {
        0: [(a, b, c)],
        1: [(a, ab, c), (ab, b, c)],
        2: [(ab, b, bc), (a, ab, bc), (a, bc, c)],
        3: [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)],
    }
    found, parents = [], []
    for cuts, corners in pieces.items():
        own = (number == cuts).nonzero()[:, 0]
        for three in corners:
            found.append(torch.stack(three, 1)[own])
            parents.append(own)
    return torch.cat(found), torch.cat(parents)
