"""Surfaces of occluders: grids, tubes and lathes, maps of how far the person reaches, cloth pulled taut."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from inverters.people.body import Body, Shape, body


def mesh_of(shape: Shape) -> Body:
    """Return the morphable mesh on the device of a person's shape."""
    return body(str(shape.fine.device))


def grid_triangles(rows: int, columns: int, closed: bool = False) -> Tensor:
    """Return the triangles [T,3] int32 of a grid of vertices; `closed`: the last column meets the first.

    Counter-clockwise for a viewer to whom columns go right and rows go up.
    """
    across = columns if closed else columns - 1
    i, j = torch.meshgrid(torch.arange(rows - 1), torch.arange(across), indexing="ij")
    right = (j + 1) % columns
    a, b, c, d = i * columns + j, i * columns + right, (i + 1) * columns + right, (i + 1) * columns + j
    return torch.stack([torch.stack([a, b, c], -1), torch.stack([a, c, d], -1)], 2).reshape(-1, 3).int()


def grid_normals(points: Tensor, closed: bool = False) -> Tensor:
    """Return unit normals [R,C,3] of a grid of points [R,C,3], by central differences."""
    if closed:
        padded = torch.cat([points[:, -1:], points, points[:, :1]], 1)
    else:
        padded = torch.cat(
            [2 * points[:, :1] - points[:, 1:2], points, 2 * points[:, -1:] - points[:, -2:-1]], 1
        )
    across = padded[:, 2:] - padded[:, :-2]
    padded = torch.cat([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]], 0)
    up = padded[2:] - padded[:-2]
    return F.normalize(torch.linalg.cross(across, up), dim=-1, eps=1e-12)


def tube(path: Tensor, radius: Tensor | float, sides: int = 10) -> tuple[Tensor, Tensor]:
    """Return vertices [K*sides,3] and triangles of a round tube about a polyline [K,3], closed at its ends.

    radius: of each point [K], or of all.
    """
    along = F.normalize(
        torch.cat([path[1:2] - path[:1], path[2:] - path[:-2], path[-1:] - path[-2:-1]]), dim=-1
    )
    start = path.new_tensor([0.0, 0.0, 1.0]) if along[0, 2].abs() < 0.9 else path.new_tensor([1.0, 0.0, 0.0])
    frames = [F.normalize(torch.linalg.cross(along[0], start), dim=-1)]
    for k in range(1, len(path)):
        side = frames[-1] - (frames[-1] * along[k]).sum() * along[k]
        frames.append(F.normalize(side, dim=-1))
    first = torch.stack(frames)
    second = torch.linalg.cross(along, first)
    turn = torch.arange(sides, device=path.device) * (2 * math.pi / sides)
    ring = torch.cos(turn)[None, :, None] * first[:, None] + torch.sin(turn)[None, :, None] * second[:, None]
    size = torch.as_tensor(radius, device=path.device, dtype=path.dtype).expand(len(path))
    points = path[:, None] + size[:, None, None] * ring
    points = torch.cat([path[:1, None].expand(1, sides, 3), points, path[-1:, None].expand(1, sides, 3)])
    return points.reshape(-1, 3), grid_triangles(len(path) + 2, sides, closed=True).to(path.device)


def lathe(profile: Tensor, sides: int) -> tuple[Tensor, Tensor]:
    """Return vertices [K*sides,3] and triangles of a profile [K,2] (radius, height) turned about the y axis.

    Outside is where the profile goes up.
    """
    turn = torch.arange(sides, device=profile.device) * (2 * math.pi / sides)
    r, y = profile[:, 0:1], profile[:, 1:2].expand(-1, sides)
    points = torch.stack([r * torch.sin(turn), y, r * torch.cos(turn)], -1)
    return points.reshape(-1, 3), grid_triangles(len(profile), sides, closed=True).to(profile.device)


@cache
def _nearest(device: str, point: tuple[float, float, float]) -> int:
    """The vertex of the body, once subdivided, that is nearest to a canonical point."""
    mesh = body(device)
    distance = (mesh.level1.canonical - mesh.level1.canonical.new_tensor(point)).square().sum(-1)
    return int(torch.where(mesh.level1.is_part("body"), distance, torch.inf).argmin())


def landmark(shape: Shape, point: tuple[float, float, float], rest: bool = False) -> Tensor:
    """Return where the skin at a canonical point is on a person [3], at the expression or at rest."""
    k = _nearest(str(shape.fine.device), point)
    return (shape.neutral if rest else shape.vertices)[k]


@dataclass(frozen=True)
class ReachMap:
    """How far a person reaches over two coordinates: values [R,C] at the centres of cells."""

    values: Tensor
    low: tuple[float, float]
    """Least coordinates: of rows, of columns."""
    high: tuple[float, float]

    def at(self, row: Tensor, column: Tensor) -> Tensor:
        """Return the reach [...] at coordinates [...]; beyond the map that of its border."""
        scaled = [
            2 * (x - a) / (b - a) - 1 for x, a, b in zip((row, column), self.low, self.high, strict=True)
        ]
        where = torch.stack([scaled[1], scaled[0]], -1).reshape(1, 1, -1, 2)
        found = F.grid_sample(self.values[None, None], where, padding_mode="border", align_corners=False)
        return found.reshape(row.shape)


def reach_map(
    rows: Tensor,
    columns: Tensor,
    reach: Tensor,
    low: tuple[float, float],
    high: tuple[float, float],
    cells: tuple[int, int],
    floor: float,
) -> ReachMap:
    """Return the greatest `reach` [P] of points in each cell of two coordinates [P]; where none is, `floor`.

    Cells without points between others take the mean of their neighbours.
    """
    height, width = cells
    i = ((rows - low[0]) / (high[0] - low[0]) * height).floor().long()
    j = ((columns - low[1]) / (high[1] - low[1]) * width).floor().long()
    inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
    flat = torch.full((height * width,), -torch.inf, device=reach.device)
    flat = flat.scatter_reduce(0, i[inside] * width + j[inside], reach[inside], "amax")
    values = flat.reshape(1, 1, height, width)
    for _ in range(4):
        known = values.isfinite().float()
        total = F.avg_pool2d(values.where(known > 0, 0), 3, 1, 1, divisor_override=1)
        count = F.avg_pool2d(known, 3, 1, 1, divisor_override=1)
        values = torch.where(known > 0, values, torch.where(count > 0, total / count.clamp_min(1), values))
    values = values.where(values.isfinite(), floor)
    return ReachMap(values[0, 0], low, high)


def skin_points(shape: Shape, ears: bool = False) -> Tensor:
    """Return the vertices [P,3] of the skin outside the mouth, without ears unless asked for."""
    return shape.fine[_skin(str(shape.fine.device), ears)]


@cache
def _skin(device: str, ears: bool) -> Tensor:
    level = body(device).level2
    keep = level.is_part("body") & (level.mask("inside_mouth") < 0.5)
    return keep if ears else keep & (level.mask("ears") < 0.3)


def around(points: Tensor, centre_z: float, low: float, high: float, cell: float = 0.01) -> ReachMap:
    """Return the radius of points [P,3] about the vertical axis x = 0, z = centre_z.

    Rows are the height, `low` to `high`; columns the azimuth, 0 at the front, positive towards +x. The map
    covers the full turn and half a turn more, so that it has no seam from -pi to pi.
    """
    x, y, z = points[:, 0], points[:, 1], points[:, 2] - centre_z
    azimuth, radius = torch.atan2(x, z), torch.sqrt(x * x + z * z)
    turned = torch.cat([azimuth, azimuth - 2 * math.pi, azimuth + 2 * math.pi])
    half = 1.2 * math.pi
    cells = (round((high - low) / cell), 150)
    return reach_map(y.repeat(3), turned, radius.repeat(3), (low, -half), (high, half), cells, 0.05)


def taut(start: Tensor, obstacle: Tensor, steps: int) -> Tensor:
    """Return a cloth [R,C] pulled taut over an obstacle [R,C]; its border stays where `start` has it."""
    cloth = torch.maximum(start, obstacle)
    for _ in range(steps):
        inner = 0.25 * (cloth[:-2, 1:-1] + cloth[2:, 1:-1] + cloth[1:-1, :-2] + cloth[1:-1, 2:])
        cloth = cloth.clone()
        cloth[1:-1, 1:-1] = torch.maximum(inner, obstacle[1:-1, 1:-1])
    return cloth


def taut_line(obstacle: Tensor, steps: int, closed: bool = False) -> Tensor:
    """Return a band [C] pulled taut over an obstacle [C]."""
    band = obstacle
    for _ in range(steps):
        ends = (band[-1:], band[:1]) if closed else (band[:1], band[-1:])
        padded = torch.cat([ends[0], band, ends[1]])
        band = torch.maximum(0.5 * (padded[2:] + padded[:-2]), obstacle)
    return band


def smooth(values: Tensor, steps: int, closed: bool = False) -> Tensor:
    """Return a row of values [C] after that many averages of neighbours."""
    for _ in range(steps):
        ends = (values[-1:], values[:1]) if closed else (values[:1], values[-1:])
        padded = torch.cat([ends[0], values, ends[1]])
        values = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
    return values


def front(points: Tensor) -> ReachMap:
    """Return the depth z of points [P,3] seen from the front; rows are y, columns x."""
    return reach_map(points[:, 1], points[:, 0], points[:, 2], (-0.60, -0.40), (0.36, 0.40), (80, 66), -0.30)
