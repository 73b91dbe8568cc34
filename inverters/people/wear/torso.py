"""The torso as ground for clothes: cuts of its mesh along smooth curves, and charts around the neck.

Everything here is made once in a process on the base mesh. It yields sparse matrices from the vertices of the
once subdivided torso, so that cuts and charts follow every person's shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from inverters.people.body import body

TOP, BOTTOM = -0.17, -0.70
"""Heights between which clothes may lie, in canonical coordinates."""
SAMPLES = 192
"""Columns of a chart, around the neck."""


@dataclass(frozen=True)
class Torso:
    """Neck, shoulders and chest: n1 vertices once subdivided, n2 twice subdivided."""

    index1: Tensor
    """[n1] int64, into level 1."""
    index2: Tensor
    """[n2] int64, into level 2."""
    triangles1: Tensor
    """[t1,3] int64, into the n1 vertices."""
    triangles2: Tensor
    """[t2,3] int64, into the n2 vertices."""
    drawn2: Tensor
    """[t2] int64: which of the triangles of level 2."""
    to_fine: Tensor
    """Sparse [n2,n1]."""
    smoothing: Tensor
    """Sparse [n1,n1]."""
    canonical1: Tensor
    canonical2: Tensor


@cache
def torso(device: str) -> Torso:
    """Return the torso of the base mesh."""
    mesh = body(device)
    one, two = mesh.level1, mesh.level2
    c = one.canonical
    chin = (c[:, 2] > 0.05) & (c[:, 1] > -0.30)
    in1 = one.is_part("body") & (c[:, 1] < TOP) & ~chin
    in2 = ((mesh.to_fine @ in1[:, None].float())[:, 0] > 0.9999) & two.is_part("body")
    index1, index2 = in1.nonzero()[:, 0], in2.nonzero()[:, 0]
    drawn2 = in2[two.triangles.long()].all(1).nonzero()[:, 0]
    drawn1 = in1[one.triangles.long()].all(1).nonzero()[:, 0]
    return Torso(
        index1,
        index2,
        _renumbered(one.triangles[drawn1], index1, len(c)),
        _renumbered(two.triangles[drawn2], index2, len(two.canonical)),
        drawn2,
        _block(mesh.to_fine, index2, index1),
        _block(mesh.smoothing, index1, index1),
        c[index1],
        two.canonical[index2],
    )


def _renumbered(triangles: Tensor, kept: Tensor, count: int) -> Tensor:
    number = torch.full((count,), -1, device=kept.device)
    number[kept] = torch.arange(len(kept), device=kept.device)
    return number[triangles.long()]


def _block(matrix: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Rows and columns of a sparse matrix, each row scaled to sum 1."""
    coo = matrix.to_sparse().coalesce()
    (r, c), v = coo.indices(), coo.values()
    row = _renumbered(r, rows, matrix.shape[0])
    column = _renumbered(c, columns, matrix.shape[1])
    keep = (row >= 0) & (column >= 0)
    row, column, v = row[keep], column[keep], v[keep]
    total = torch.zeros(len(rows), device=v.device).index_add_(0, row, v)
    return sparse(row, column, v / total[row], (len(rows), len(columns)))


def sparse(rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return a sparse matrix in rows."""
    return torch.sparse_coo_tensor(torch.stack([rows, columns]), values, shape).coalesce().to_sparse_csr()


@dataclass(frozen=True)
class Cut:
    """The part of the torso where a field is positive, with a border as smooth as the field."""

    matrix: Tensor
    """Sparse [V,n1]: the vertices from the torso's."""
    triangles: Tensor
    """[T,3] int32."""
    canonical: Tensor
    """[V,3]."""
    field: Tensor
    """[V]."""


def cut(device: str, field: Tensor) -> Cut:
    """Cut the torso's triangles along the zero line of a field [n2]."""
    t = torso(device)
    count = (field > 0)[t.triangles2].sum(1)
    corners, one, edges, first, second = _crossings(device, field)
    a, b, c = corners.unbind(1)
    triangles = torch.cat(
        [
            t.triangles2[count == 3],
            torch.stack([a, first, second], 1)[one],
            torch.stack([first, b, c], 1)[~one],
            torch.stack([first, c, second], 1)[~one],
        ]
    )
    used, triangles = torch.unique(triangles, return_inverse=True)
    rows = _with_edges(field, edges).index_select(0, used).coalesce()
    matrix = torch.sparse.mm(rows, t.to_fine.to_sparse()).coalesce().to_sparse_csr()
    at = torch.sparse.mm(rows, torch.cat([t.canonical2, field[:, None]], 1))
    return Cut(matrix, triangles.int(), at[:, :3], at[:, 3])


def finer(sheet: Cut, where: Tensor) -> Cut:
    """Split the triangles with a corner in `where` (bool [V]) into four, and their neighbours to match."""
    triangles = sheet.triangles.long()
    inside = where[triangles].any(1)
    sides = torch.stack([triangles, triangles.roll(-1, 1)], -1).sort(-1).values
    edges, of = torch.unique(sides.reshape(-1, 2), dim=0, return_inverse=True)
    of = of.reshape(-1, 3)
    split = torch.zeros(len(edges), dtype=torch.bool, device=where.device)
    split[of[inside].flatten()] = True
    number = torch.where(split, split.cumsum(0) - 1, -1) + len(sheet.canonical)
    middle, cuts = number[of], split[of]
    count = cuts.sum(1)
    parts = [triangles[count == 0]]
    for k in range(3):
        # Corners and middles turned so that the case's first split edge is edge 0.
        a, b, c = triangles.roll(-k, 1).unbind(1)
        ab, bc, ca = middle.roll(-k, 1).unbind(1)
        first, second, third = cuts.roll(-k, 1).unbind(1)
        one, two = first & ~second & ~third, first & second & ~third
        parts += [torch.stack([a, ab, c], 1)[one], torch.stack([ab, b, c], 1)[one]]
        parts += [
            torch.stack([ab, b, bc], 1)[two],
            torch.stack([a, ab, bc], 1)[two],
            torch.stack([a, bc, c], 1)[two],
        ]
        parts.append(torch.stack([a, ab, ca], 1)[count == 3])
    parts.append(middle[count == 3])
    v, e = len(sheet.canonical), edges[split]
    old = torch.arange(v, device=where.device)
    m = torch.arange(len(e), device=where.device) + v
    rows = torch.sparse_coo_tensor(
        torch.stack([torch.cat([old, m, m]), torch.cat([old, e[:, 0], e[:, 1]])]),
        torch.cat([torch.ones(v), torch.full((2 * len(e),), 0.5)]).to(sheet.field),
        (v + len(e), v),
    ).coalesce()
    matrix = torch.sparse.mm(rows, sheet.matrix.to_sparse()).coalesce().to_sparse_csr()
    at = torch.sparse.mm(rows, torch.cat([sheet.canonical, sheet.field[:, None]], 1))
    return Cut(matrix, torch.cat(parts).int(), at[:, :3], at[:, 3])


def cut_edges(device: str, field: Tensor) -> tuple[Tensor, Tensor]:
    """Return a field's zeros on mesh edges, sparse [E,n2], and the pairs [S,2] of them that are joined."""
    _, _, edges, first, second = _crossings(device, field)
    n = len(field)
    rows = _with_edges(field, edges).index_select(0, torch.arange(n, n + len(edges), device=field.device))
    return rows.coalesce(), torch.stack([first, second], 1) - n


def _crossings(device: str, field: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Find the triangles that the zero line crosses.

    Returns:
        Their corners [C,3], the odd one first; whether that one is positive [C]; the edges [E,2] that are
        crossed; the numbers [C] of the new vertices on the edges from the first corner to the other two.
    """
    triangles = torso(device).triangles2
    positive = field > 0
    count = positive[triangles].sum(1)
    crossed = (count == 1) | (count == 2)
    corners, one = triangles[crossed], count[crossed] == 1
    odd = (positive[corners] == one[:, None]).int().argmax(1)
    corners = torch.stack([corners.gather(1, ((odd + k) % 3)[:, None])[:, 0] for k in range(3)], 1)
    sides = torch.cat([corners[:, [0, 1]], corners[:, [0, 2]]]).sort(1).values
    edges, of = torch.unique(sides, dim=0, return_inverse=True)
    first, second = (of + len(field)).chunk(2)
    return corners, one, edges, first, second


def _with_edges(field: Tensor, edges: Tensor) -> Tensor:
    """Sparse COO [n+E,n]: every vertex, then the zero of the field on each edge."""
    n, k = len(field), torch.arange(len(field), device=field.device)
    a, b = edges.unbind(1)
    share = field[a] / (field[a] - field[b])
    e = torch.arange(len(edges), device=field.device) + n
    return torch.sparse_coo_tensor(
        torch.stack([torch.cat([k, e, e]), torch.cat([k, a, b])]),
        torch.cat([torch.ones_like(field), 1 - share, share]),
        (n + len(edges), n),
    ).coalesce()
