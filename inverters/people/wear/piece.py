"""Pieces of what people wear, their light, and surfaces swept along curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from inverters.people.light import CLOTH_WRAP, Light, display
from inverters.people.parts import Mesh


@dataclass(frozen=True)
class Coarse:
    """Points at which a fine piece is lit, and how their light spreads to its vertices."""

    points: Tensor
    """[Q,3]."""
    normals: Tensor
    """[Q,3]."""
    spread: Tensor
    """Sparse [V,Q]."""


@dataclass(frozen=True)
class Piece:
    """A mesh of V vertices and T triangles before it is lit."""

    vertices: Tensor
    """[V,3] in world units."""
    normals: Tensor
    """[V,3], unit length; the light falls on them, so they may carry a bump."""
    albedo: Tensor
    """[V,3], linear."""
    gloss: Tensor
    """[V] in [0,1]: strength of the highlights."""
    triangles: Tensor
    """[T,3] int32, counter-clockwise from outside."""
    label: int
    two_sided: bool = False
    alpha: Tensor | None = None
    """[V] in [0,1] of a translucent piece."""
    coarse: Coarse | None = None
    """Where it is lit, if not at its vertices."""


def lit(pieces: Sequence[Piece], light: Light) -> list[Mesh]:
    """Return the pieces in the colours that are displayed; all are lit at once."""
    if not pieces:
        return []
    at = [
        (p.vertices, p.normals) if p.coarse is None else (p.coarse.points, p.coarse.normals) for p in pieces
    ]
    seen = light.at(torch.cat([p for p, _ in at]), torch.cat([n for _, n in at]), CLOTH_WRAP)
    shine = 0.02 * seen.gloss[:, 0] + 0.20 * seen.gloss[:, 1]
    table = torch.cat([seen.irradiance, shine[:, None], seen.dominant], 1)
    own_light = torch.split(table, [len(p) for p, _ in at])
    meshes = []
    for piece, found in zip(pieces, own_light, strict=True):
        irradiance, shine, dominant = found[:, :3], found[:, 3], found[:, 4:]
        if piece.coarse is not None:
            spread = piece.coarse.spread @ torch.cat([found, piece.coarse.normals], 1)
            irradiance, shine, dominant = spread[:, :3], spread[:, 3], spread[:, 4:7]
            bump = ((piece.normals - spread[:, 7:]) * dominant).sum(1, keepdim=True)
            irradiance = irradiance * (1 + 1.1 * bump).clamp_min(0.2)
        own = display(piece.albedo * irradiance + (piece.gloss * shine)[:, None])
        if piece.alpha is not None:
            own = torch.cat([own, piece.alpha[:, None]], 1)
        labels = torch.full((len(piece.triangles),), piece.label, dtype=torch.uint8, device=own.device)
        meshes.append(Mesh(piece.vertices, own, piece.triangles, labels, piece.two_sided))
    return meshes


def made(
    surface: tuple[Tensor, Tensor, Tensor],
    albedo: Tensor,
    gloss: float,
    label: int,
    alpha: Tensor | None = None,
) -> Piece:
    """Return a piece of a surface (vertices, normals, triangles) with an albedo [3] or [V,3]."""
    vertices, normals, triangles = surface
    return Piece(
        vertices,
        normals,
        albedo.to(vertices).expand(len(vertices), 3),
        vertices.new_full((len(vertices),), gloss),
        triangles,
        label,
        alpha=alpha,
    )


@cache
def _grid_triangles(rows: int, columns: int, closed: tuple[bool, bool], device: str) -> Tensor:
    """Triangles [T,3] int32 of a grid of vertices, row by row."""
    r, c = torch.arange(rows if closed[0] else rows - 1), torch.arange(columns if closed[1] else columns - 1)
    r, c = (g.flatten() for g in torch.meshgrid(r, c, indexing="ij"))
    down, right = (r + 1) % rows, (c + 1) % columns
    a, b, d, e = r * columns + c, down * columns + c, r * columns + right, down * columns + right
    return torch.cat([torch.stack([a, b, e], 1), torch.stack([a, e, d], 1)]).int().to(device)


def grid(points: Tensor, closed: tuple[bool, bool] = (False, False)) -> tuple[Tensor, Tensor, Tensor]:
    """Return the surface through points [R,C,3]: vertices [RC,3], smooth normals [RC,3], triangles.

    Outside is where rows cross columns points: cross(d/drow, d/dcolumn).

    Args:
        points: the grid.
        closed: whether the last row joins the first, and the last column the first.
    """
    normals = F.normalize(
        torch.linalg.cross(_along(points, 0, closed[0]), _along(points, 1, closed[1])), dim=-1
    )
    rows, columns = points.shape[:2]
    return (
        points.reshape(-1, 3),
        normals.reshape(-1, 3),
        _grid_triangles(rows, columns, closed, str(points.device)),
    )


def _along(points: Tensor, dim: int, closed: bool) -> Tensor:
    """Central differences along a dimension."""
    if closed:
        return points.roll(-1, dim) - points.roll(1, dim)
    count = points.shape[dim]
    ahead = points.index_select(dim, torch.arange(1, count + 1, device=points.device).clamp_max(count - 1))
    behind = points.index_select(dim, torch.arange(-1, count - 1, device=points.device).clamp_min(0))
    return ahead - behind


def tube(
    path: Tensor, across: Tensor, up: Tensor, sides: int = 8, closed: bool = False, squareness: float = 2.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Return a tube along a path.

    Args:
        path: [K,3].
        across: [K,2], [1,2]: half axes of the section, along `up` and across it.
        up: [K,3] or [3]: direction of the first half axis, made perpendicular to the path.
        sides: vertices around the section.
        closed: whether the path is a ring.
        squareness: exponent of the section, a superellipse; 2 is round.

    Returns:
        Vertices [K*sides,3], normals, triangles; open ends are pinched shut.
    """
    ahead = F.normalize(_along(path, 0, closed), dim=-1)
    up = up.expand_as(path)
    up = F.normalize(up - (up * ahead).sum(-1, keepdim=True) * ahead, dim=-1)
    side = torch.linalg.cross(up, ahead)
    turn = torch.arange(sides, device=path.device) * (2 * torch.pi / sides)
    c, s = torch.cos(turn), torch.sin(turn)
    size = (c.abs() ** squareness + s.abs() ** squareness) ** (-1 / squareness)
    section = across[:, None] * torch.stack([c * size, s * size], 1)
    if not closed:
        section = section.expand(len(path), -1, -1).clone()
        section[0] *= 0.05
        section[-1] *= 0.05
    points = path[:, None] + section[..., :1] * up[:, None] + section[..., 1:] * side[:, None]
    return grid(points, (closed, True))


def merged(surfaces: Sequence[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """Return several surfaces as one."""
    start, triangles = 0, []
    for vertices, _, own in surfaces:
        triangles.append(own + start)
        start += len(vertices)
    return (
        torch.cat([s[0] for s in surfaces]),
        torch.cat([s[1] for s in surfaces]),
        torch.cat(triangles).int(),
    )


def ellipsoid(
    centre: Tensor, axes: Tensor, rows: int = 8, columns: int = 10
) -> tuple[Tensor, Tensor, Tensor]:
    """Return an ellipsoid about a centre [3] with half axes [3,3], one a row."""
    polar = torch.linspace(1e-3, torch.pi - 1e-3, rows, device=centre.device)
    turn = torch.arange(columns, device=centre.device) * (2 * torch.pi / columns)
    ring = torch.stack([torch.cos(turn), torch.sin(turn)], 1)
    unit = torch.cat(
        [
            torch.sin(polar)[:, None, None] * ring,
            torch.cos(polar)[:, None, None].expand(rows, columns, 1),
        ],
        -1,
    )
    return grid(centre + unit @ axes, (False, True))
