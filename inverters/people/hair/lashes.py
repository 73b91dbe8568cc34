"""Lashes: hairs along the strips of MakeHuman's mesh, which move with the lids."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from inverters.people.body import Body, Shape, gender_of
from inverters.people.hair.face import Look, tuft_of
from inverters.people.hair.hair import Tuft
from inverters.people.labels import BROW
from inverters.people.params import Values
from inverters.people.ramps import rise_of

_UPPER, _LOWER = 64, 40
"""Hairs of a lid."""


@dataclass(frozen=True)
class Strip:
    """A strip of lashes: a grid of vertices of the control mesh, root to tip, from the nose outwards."""

    grid: Tensor
    """[rows,columns]."""
    upper: bool


def lashes(values: Values, row: int, mesh: Body, shape: Shape) -> Tuft:
    """Return the lashes of both eyes: the upper long and curved, the lower fine and few."""
    woman = rise_of(gender_of(values, row), 0.3, 0.7)
    paint = max(0.0, 2 * float(values["make_up"][row, 0]) - 1) * woman
    hairs, facing = [], []
    for upper, lower in _lids(mesh):
        above, below = shape.coarse[upper.grid], shape.coarse[lower.grid]
        closed = _closed(mesh.canonical0[upper.grid], above)
        hairs.append(_hairs(above + _overlap(above, below), True, woman, paint, closed))
        hairs.append(_hairs(below, False, woman, paint, closed))
        facing += [above.new_tensor([0.0, 0.3, 0.95])] * _UPPER + [
            above.new_tensor([0.0, -0.1, 0.95])
        ] * _LOWER
    points = torch.cat(hairs)
    base = points.new_tensor([0.022, 0.016, 0.013]) * (1 - 0.6 * paint)
    look = Look(1.0, 0.00042 + 0.00022 * paint, 0.55 + 0.15 * woman + 0.2 * paint, 0.003, BROW, 0.3)
    return tuft_of(points, torch.cat(facing), base.expand(len(points), 3), look)


def _hairs(grid: Tensor, upper: bool, woman: float, paint: float, closed: float) -> Tensor:
    """Hairs [S,6,3] over the positions [rows,columns,3] of a strip."""
    rows, columns, _ = grid.shape
    count = _UPPER if upper else _LOWER
    draw = _draws(count, str(grid.device), upper)
    where = (torch.arange(count, device=grid.device) + 0.2 + 0.6 * draw[:, 0]) / count
    column = where * (columns - 1.001)
    reach = (0.45 + 0.55 * (where * 1.25).clamp_max(1)) * (1 - 0.35 * ((where - 0.9) / 0.1).clamp(0, 1))
    long = (0.52 + 0.25 * woman + 0.22 * paint) if upper else (0.26 + 0.10 * woman + 0.10 * paint)
    long = long if upper else long * (1 - closed)
    share = reach * long * (0.72 + 0.5 * draw[:, 1])
    t = torch.linspace(0, 1, 6, device=grid.device)
    at = share.clamp_max(1)[:, None] * t * (rows - 1.001)
    # Neighbouring tips lean together in small groups, and outwards towards the temple.
    lean = (0.10 + 0.55 * where + 0.35 * (draw[:, 2] - 0.5) + 0.25 * torch.sin(where * 60))[
        :, None
    ] * t.square()
    across = (column[:, None] + lean).clamp(0, columns - 1.001)
    points = _bilinear(grid, at, across)
    # Lashes curl up, those of a closed eye down, where the mesh turns them less.
    up = 0.0030 - 0.0150 * closed if upper else -0.0011
    bend = share[:, None] * up * t.square()
    return points + bend[..., None] * points.new_tensor([0.0, 1.0, 0.35 - 0.2 * closed])


def _closed(canonical: Tensor, grid: Tensor) -> float:
    """How far an upper lid with a strip [rows,columns,3] has turned down from the base mesh's, in [0,1]."""
    rest, now = ((g[-1] - g[0])[:, 1].mean() for g in (canonical, grid))
    return rise_of(float(rest - now), 0.002, 0.0085)


def _overlap(upper: Tensor, lower: Tensor) -> Tensor:
    """How far to move the upper lashes [1,columns,3], which a closing lid takes too low."""
    at = torch.linspace(0, lower.shape[1] - 1.001, upper.shape[1], device=upper.device)
    edge = _bilinear(lower, torch.zeros_like(at), at)[:, 1]
    over = (edge - upper[0, :, 1]).clamp_min(0)
    return torch.stack([0 * over, 0.75 * over, 0.3 * over], 1)[None]


def _bilinear(grid: Tensor, row: Tensor, column: Tensor) -> Tensor:
    r, c = row.floor().long(), column.floor().long()
    fr, fc = (row - r)[..., None], (column - c)[..., None]
    top = torch.lerp(grid[r, c], grid[r, c + 1], fc)
    return torch.lerp(top, torch.lerp(grid[r + 1, c], grid[r + 1, c + 1], fc), fr)


@cache
def _draws(count: int, device: str, upper: bool) -> Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(13 + upper)).to(device)


def _lids(mesh: Body) -> list[tuple[Strip, Strip]]:
    """Upper and lower strip of each eye."""
    strips = lash_strips(mesh)
    pairs = [(u, w) for u in strips for w in strips if u.upper and not w.upper]
    x = mesh.canonical0[:, 0]
    return [(u, w) for u, w in pairs if float(x[u.grid].mean() * x[w.grid].mean()) > 0]


@cache
def lash_strips(mesh: Body) -> tuple[Strip, ...]:
    """Return the four strips of lashes, as grids of vertices."""
    quads = [tuple(q) for q in mesh.lash_quads.tolist()]
    canonical = mesh.canonical0.cpu()
    strips = []
    for part in _connected(quads):
        grid = _unrolled(part)
        if len(grid) > len(grid[0]):
            grid = [list(line) for line in zip(*grid, strict=True)]
        vertices = torch.tensor(grid)
        # The root of a strip is deepest in the head; its inner end is nearest to the face's middle.
        if canonical[vertices[0], 2].mean() > canonical[vertices[-1], 2].mean():
            vertices = vertices.flip(0)
        if canonical[vertices[:, 0], 0].abs().mean() > canonical[vertices[:, -1], 0].abs().mean():
            vertices = vertices.flip(1)
        height = canonical[vertices[2], 1].mean()
        strips.append(Strip(vertices.to(mesh.device), bool(height > mesh.eyes["left"][1].cpu())))
    return tuple(strips)


Quad = tuple[int, ...]


def _connected(quads: list[Quad]) -> list[list[Quad]]:
    """Split quads into sets that share no vertex."""
    sets: list[tuple[set[int], list[Quad]]] = []
    for quad in quads:
        touching = [s for s in sets if s[0] & set(quad)]
        sets = [s for s in sets if not s[0] & set(quad)]
        vertices = set(quad).union(*(s[0] for s in touching))
        sets.append((vertices, [quad, *(q for s in touching for q in s[1])]))
    return [quads for _, quads in sets]


def _unrolled(quads: list[Quad]) -> list[list[int]]:
    """Lay a grid of quads out as rows of vertices."""
    place: dict[int, tuple[int, int]] = {}
    first = quads[0]
    place.update(zip(first, ((0, 0), (0, 1), (1, 1), (1, 0)), strict=True))
    left = quads[1:]
    while left:
        waiting = []
        for quad in left:
            k = next((k for k in range(4) if quad[k] in place and quad[k - 1] in place), None)
            if k is None:
                waiting.append(quad)
                continue
            _place_beside(quad, k, place)
        if len(waiting) == len(left):
            raise ValueError("the strips of lashes are no grids")
        left = waiting
    rows, columns = sorted({p[0] for p in place.values()}), sorted({p[1] for p in place.values()})
    vertex = {p: v for v, p in place.items()}
    return [[vertex[r, c] for c in columns] for r in rows]


def _place_beside(quad: Quad, k: int, place: dict[int, tuple[int, int]]) -> None:
    """Place the two other corners of a quad whose corners k - 1 and k have places.

    Quads of one strip go round the same way, so that the other side lies to one fixed side of the edge.
    """
    (r0, c0), (r1, c1) = place[quad[k - 1]], place[quad[k]]
    dr, dc = r1 - r0, c1 - c0
    step = (dc, -dr)
    place[quad[(k + 1) % 4]] = (r1 + step[0], c1 + step[1])
    place[quad[(k + 2) % 4]] = (r0 + step[0], c0 + step[1])
