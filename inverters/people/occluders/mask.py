"""A surgical mask: pleated cloth pulled taut from the bridge of the nose to under the chin."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from inverters.people.labels import BEARD
from inverters.people.occluders.base import Occluder, Painter, State, blend, p, palette
from inverters.people.occluders.surface import (
    ReachMap,
    around,
    grid_normals,
    grid_triangles,
    landmark,
    skin_points,
    smooth,
    taut,
    taut_line,
    tube,
)
from inverters.people.params import Parameter
from inverters.people.parts import Mesh, normals_of
from inverters.people.person import Person
from inverters.people.picture import Extra
from inverters.people.ramps import rise

_CLOTH = (
    (0.45, 0.68, 0.87),
    (0.56, 0.80, 0.82),
    (0.93, 0.94, 0.95),
    (0.70, 0.82, 0.72),
    (0.90, 0.70, 0.76),
    (0.16, 0.17, 0.20),
)
_AXIS_Z = 0.02
_ROWS, _COLUMNS = 73, 61
_GAP = 0.005
"""Distance of the cloth from the skin, world units."""
_PLEATS = 3


class SurgicalMask(Occluder):
    """A pleated mask with a wire over the nose and loops round the ears."""

    parameters: ClassVar[tuple[Parameter, ...]] = (
        p("color", 0.0, 1.0, "blue, teal, white, green, pink, black"),
        p("height", -0.012, 0.012, "how far up the nose it sits", "place"),
        p("width", 0.0, 1.0, "narrow to wide panel", "place"),
        p("pleats", 0.4, 1.0, "flat to deep folds"),
    )

    @classmethod
    def build(cls, person: Person, state: State) -> Extra:
        """See `Occluder.build`."""
        points = skin_points(person.shape)
        beard = [s.points.reshape(-1, 3) for s in person.strands if s.label == BEARD]
        reach = around(torch.cat([points, *beard]), _AXIS_Z, -0.36, 0.10)
        azimuth, height = _panel(person, state)
        radius = _drape(reach, azimuth, height, state["pleats"])
        grid = _world(azimuth, height, radius)
        normals = grid_normals(grid)
        corners = [grid[k, c] for c in (0, -1) for k in (-3, 2)]
        loops = [_loop(person, reach, corner, k % 2 == 0) for k, corner in enumerate(corners)]
        cloth = grid.reshape(-1, 3)
        painter = Painter(person, [cloth])
        albedo = _albedo(state, height).reshape(-1, 3)
        triangles = grid_triangles(_ROWS, _COLUMNS).to(cloth.device)
        meshes = [
            painter.mesh(cloth, normals.reshape(-1, 3), triangles, albedo, (0.22, 0.22, 0.22), two_sided=True)
        ]
        return Extra([*meshes, *(_cord(painter, path) for path in loops)])


def _panel(person: Person, state: State) -> tuple[Tensor, Tensor]:
    """Azimuth and height [R,C] of the cloth; row 0 is the lower edge, column 0 the image's left."""
    shape = person.shape
    bridge = landmark(shape, (0.0, -0.006, 0.226))
    cheek = landmark(shape, (0.085, -0.045, 0.165))
    side_top, side_low = landmark(shape, (0.160, -0.055, 0.060)), landmark(shape, (0.140, -0.150, 0.060))
    chin, jaw = landmark(shape, (0.0, -0.2285, 0.155)), landmark(shape, (0.075, -0.205, 0.130))
    wide = 0.90 + 0.22 * state["width"]
    across = torch.linspace(-1, 1, _COLUMNS, device=bridge.device)
    azimuth = wide * across
    ax = across.abs()
    height = state["height"] + 0.004
    ridge = torch.exp(-((ax / 0.30) ** 2))
    beside = cheek[1] + (side_top[1] - cheek[1]) * rise(ax, 0.5, 1.0)
    top = beside + (bridge[1] + height - beside) * ridge
    low = chin[1] - 0.010 + (jaw[1] - chin[1] + 0.010) * (ax / 0.6).square().clamp_max(1)
    low = low + (side_low[1] - low) * rise(ax, 0.55, 1.0)
    low = smooth(low, 4)
    up = torch.linspace(0, 1, _ROWS, device=bridge.device)[:, None]
    return azimuth.expand(_ROWS, -1), low + (top - low) * up


def _drape(reach: ReachMap, azimuth: Tensor, height: Tensor, pleats: float) -> Tensor:
    """Radius [R,C] of the cloth about the axis."""
    skin = reach.at(height, azimuth) + _GAP
    start = torch.full_like(skin, 0.0)
    top, low = taut_line(skin[-1], 2), taut_line(skin[0], 60)
    up = torch.linspace(0, 1, len(skin), device=skin.device)[:, None]
    start = low + (top - low) * up
    start[:, 0], start[:, -1] = smooth(taut_line(skin[:, 0], 40), 4), smooth(taut_line(skin[:, -1], 40), 4)
    cloth = taut(start, skin, 240)
    return cloth + 0.0075 * pleats * _pleat(up) * _open(azimuth)


def _pleat(up: Tensor) -> Tensor:
    """Height [R,1] in [0,1] of the folds, which open downwards."""
    phase = torch.remainder(_PLEATS * (up - 0.22) / 0.56, 1.0)
    return (1 - phase) * rise(phase, 0.0, 0.10) * rise(up, 0.20, 0.24) * rise(up, 0.80, 0.76)


def _open(azimuth: Tensor) -> Tensor:
    """How far the folds open: they are sewn together at the sides."""
    return 0.35 + 0.65 * rise(azimuth.abs() / azimuth.abs().max(), 1.0, 0.55)


def _albedo(state: State, height: Tensor) -> Tensor:
    tone = palette(_CLOTH, state["color"], height)
    rows, columns = height.shape
    up = torch.linspace(0, 1, rows, device=height.device)[:, None].expand(rows, columns)
    across = torch.linspace(-1, 1, columns, device=height.device).abs().expand(rows, columns)
    phase = torch.remainder(_PLEATS * (up - 0.22) / 0.56, 1.0)
    crease = torch.exp(-(((phase - 0.97) / 0.05) ** 2)) * rise(up, 0.18, 0.22) * rise(up, 0.84, 0.80)
    colour = tone * (1 - 0.35 * state["pleats"] * crease)[..., None]
    hem = torch.maximum(
        rise(up, 0.945, 0.955), torch.maximum(rise(up, 0.045, 0.035), rise(across, 0.955, 0.965))
    )
    colour = blend(colour, tone * 0.75 + 0.14, 0.7 * hem)
    wire = torch.exp(-(((up - 0.955) / 0.012) ** 2)) * rise(across, 0.42, 0.36)
    return colour * (1 - 0.18 * wire)[..., None]


def _world(azimuth: Tensor, height: Tensor, radius: Tensor) -> Tensor:
    return torch.stack([radius * torch.sin(azimuth), height, radius * torch.cos(azimuth) + _AXIS_Z], -1)


def _loop(person: Person, reach: ReachMap, corner: Tensor, upper: bool) -> Tensor:
    """Path [K,3] of a loop from a corner of the cloth to behind the ear, over the skin."""
    side = 1.0 if corner[0] > 0 else -1.0
    front = (0.172, 0.040, 0.002) if upper else (0.158, -0.070, -0.012)
    behind = (0.165, 0.020, -0.060) if upper else (0.155, -0.045, -0.055)
    root, back = (landmark(person.shape, (side * x, y, z)) for x, y, z in (front, behind))
    t = torch.linspace(0, 1, 18, device=corner.device)[:, None]
    path = torch.cat([corner + (root - corner) * t, root + (back - root) * t[1::3]])
    x, y, z = path[:, 0], path[:, 1], path[:, 2] - _AXIS_Z
    azimuth, radius = torch.atan2(x, z), torch.sqrt(x * x + z * z)
    skin = smooth(reach.at(y, azimuth), 2) + 0.0035
    skin[0] = radius[0]
    radius = torch.maximum(radius, skin)
    return _world(azimuth, y, radius)


def _cord(painter: Painter, path: Tensor) -> Mesh:
    vertices, triangles = tube(path, 0.0030, 8)
    albedo = vertices.new_tensor([0.80, 0.81, 0.82]).expand_as(vertices)
    return painter.mesh(vertices, normals_of(vertices, triangles), triangles, albedo)
