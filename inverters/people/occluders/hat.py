"""A cap: a crown of six panels over the skull and what hair there is, and a curved brim."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from inverters.people.labels import HAIR
from inverters.people.occluders.base import Occluder, Painter, State, blend, p, palette
from inverters.people.occluders.surface import (
    ReachMap,
    grid_normals,
    grid_triangles,
    landmark,
    lathe,
    reach_map,
    skin_points,
)
from inverters.people.params import Parameter
from inverters.people.parts import Mesh, normals_of
from inverters.people.person import Person
from inverters.people.picture import Extra
from inverters.people.ramps import rise

_CAP = (
    (0.16, 0.23, 0.42),
    (0.66, 0.13, 0.14),
    (0.15, 0.38, 0.29),
    (0.84, 0.79, 0.70),
    (0.14, 0.14, 0.15),
    (0.55, 0.57, 0.60),
)
_CENTRE = (0.0, 0.10, -0.02)
_ROWS, _COLUMNS = 34, 96
_BRIM_ROWS, _BRIM_COLUMNS = 10, 49
_GAP = 0.012
_MOST_HAIR = 0.10
"""Hair further from the skull than this sticks out, world units."""


class Cap(Occluder):
    """A cap whose brim hides the forehead and, pulled down, the brows."""

    parameters: ClassVar[tuple[Parameter, ...]] = (
        p("color", 0.0, 1.0, "navy, red, green, sand, black, grey"),
        p("panel", 0.0, 1.0, "one colour (lower half), or a white panel at the front"),
        p("pull", 0.0, 1.0, "high on the forehead to over the brows", "place"),
        p("reach", 0.13, 0.18, "length of the brim, world units", "place"),
        p("curve", 1.0, 3.0, "flat to curved brim"),
        p("turn", -0.12, 0.12, "turned to the image's left (-) or right (+), in radians", "place"),
    )

    @classmethod
    def build(cls, person: Person, state: State) -> Extra:
        """See `Occluder.build`."""
        crown = _crown(person, state)
        brim = _brim(crown, state)
        painter = Painter(person, [crown.reshape(-1, 3), brim.reshape(-1, 3)])
        button, triangles = lathe(
            crown.new_tensor([[0.0105, -0.004], [0.010, 0.002], [0.006, 0.005], [0.0, 0.006]]), 16
        )
        button = button + crown[-1].mean(0)
        tone = palette(_CAP, state["color"], crown)
        top = painter.mesh(button, normals_of(button, triangles), triangles, tone.expand_as(button))
        return Extra([_crown_mesh(painter, crown, state), _brim_mesh(painter, brim, tone), top])


def _skull(person: Person, centre: Tensor) -> ReachMap:
    """Radius about `centre` over elevation (rows) and azimuth (columns), of skin and hair."""
    skin = skin_points(person.shape) - centre
    bare = _spherical(skin)
    hair = [s.points.reshape(-1, 3) for s in person.strands if s.label == HAIR]
    if not hair:
        return bare
    points = torch.cat(hair) - centre
    radius = points.norm(dim=1)
    elevation, azimuth = (
        torch.asin((points[:, 1] / radius).clamp(-1, 1)),
        torch.atan2(points[:, 0], points[:, 2]),
    )
    under = bare.at(elevation, azimuth)
    points = points * (torch.minimum(radius, under + _MOST_HAIR) / radius)[:, None]
    return _spherical(torch.cat([skin, points]))


def _spherical(points: Tensor) -> ReachMap:
    radius = points.norm(dim=1).clamp_min(1e-4)
    elevation, azimuth = (
        torch.asin((points[:, 1] / radius).clamp(-1, 1)),
        torch.atan2(points[:, 0], points[:, 2]),
    )
    turned = torch.cat([azimuth, azimuth - 2 * math.pi, azimuth + 2 * math.pi])
    half = 1.2 * math.pi
    return reach_map(
        elevation.repeat(3), turned, radius.repeat(3), (-0.6, -half), (math.pi / 2, half), (36, 100), 0.15
    )


def _crown(person: Person, state: State) -> Tensor:
    """Grid [rows,columns,3] from the hem to the top; the columns go round from the front."""
    shape = person.shape
    brow, crown = (
        landmark(shape, (0.0, 0.085, 0.215), rest=True),
        landmark(shape, (0.0, 0.315, 0.0), rest=True),
    )
    ear = landmark(shape, (0.17, 0.045, 0.0), rest=True)
    centre = brow.new_tensor(_CENTRE)
    hem = brow[1] + 0.012 + (1 - state["pull"]) * 0.35 * (crown[1] - brow[1])
    skull = _skull(person, centre)
    azimuth = torch.arange(_COLUMNS, device=brow.device) * (2 * math.pi / _COLUMNS)
    azimuth = torch.where(azimuth > math.pi, azimuth - 2 * math.pi, azimuth) + state["turn"]
    ahead = 0.5 + 0.5 * torch.cos(azimuth)
    # From the front down to just above the ears, and a little lower at the back.
    height = ear[1] + 0.004 - 0.030 * (1 - ahead) ** 2 + (hem - ear[1]) * ahead**1.5
    radius = skull.at(torch.full_like(azimuth, 0.2), azimuth)
    low = torch.atan2(height - centre[1], radius)
    share = torch.linspace(0, 1, _ROWS, device=brow.device)[:, None]
    elevation = low + (math.pi / 2 - 0.02 - low) * share
    reach = skull.at(elevation, azimuth.expand(_ROWS, -1)) + _GAP
    reach = reach + 0.010 * (share * (2 - share))
    skin = reach - 0.004
    for _ in range(40):
        around = torch.cat([reach[:, -1:], reach, reach[:, :1]], 1)
        above = torch.cat([reach[:1], reach, reach[-1:].mean(1, keepdim=True).expand(1, _COLUMNS)], 0)
        mean = 0.25 * (around[:, 2:] + around[:, :-2] + above[2:] + above[:-2])
        reach = torch.maximum(mean, skin)
    reach[-1] = reach[-1].mean()
    flat = reach * torch.cos(elevation)
    spot = torch.stack(
        [flat * torch.sin(azimuth), reach * torch.sin(elevation), flat * torch.cos(azimuth)], -1
    )
    return centre + spot


def _crown_mesh(painter: Painter, crown: Tensor, state: State) -> Mesh:
    tone = palette(_CAP, state["color"], crown)
    azimuth = torch.arange(_COLUMNS, device=crown.device) * (2 * math.pi / _COLUMNS)
    share = torch.linspace(0, 1, _ROWS, device=crown.device)[:, None]
    # Six panels, with seams at the front's middle and every sixty degrees.
    from_seam = (torch.remainder(azimuth / (math.pi / 3) + 0.5, 1.0) - 0.5).abs()
    seam = (from_seam < 0.04).float() * rise(share, 0.02, 0.06)
    colour = tone.expand_as(crown)
    if state["panel"] > 0.5:
        ahead = (torch.cos(azimuth) > 0.5).float()
        colour = blend(
            colour, palette(((0.90, 0.89, 0.86),) * 2, 0, crown).expand_as(crown), ahead.expand(_ROWS, -1)
        )
    weave = 1 + 0.03 * torch.sin(37.0 * azimuth) * torch.sin(140.0 * share)
    colour = colour * (weave * (1 - 0.30 * seam))[..., None]
    hem = rise(share, 0.055, 0.035).expand(_ROWS, _COLUMNS)
    colour = colour * (1 - 0.18 * hem)[..., None]
    normals = grid_normals(crown, closed=True)
    normals[-1] = F.normalize(normals[-2].mean(0), dim=0)
    triangles = grid_triangles(_ROWS, _COLUMNS, closed=True).to(crown.device)
    vertices, albedo = crown.reshape(-1, 3), colour.reshape(-1, 3)
    return painter.mesh(vertices, normals.reshape(-1, 3), triangles, albedo, (0.2, 0.2, 0.2), two_sided=True)


def _brim(crown: Tensor, state: State) -> Tensor:
    """Grid [2 rows,columns,3]: the upper side from the hem outwards, then the lower side back."""
    half = _BRIM_COLUMNS // 2
    span = round(0.19 * _COLUMNS)
    place = torch.linspace(-span, span, _BRIM_COLUMNS, device=crown.device)
    low = place.floor().long()
    share = (place - low)[:, None]
    inner = crown[1, low % _COLUMNS] * (1 - share) + crown[1, (low + 1) % _COLUMNS] * share
    inner = inner + 0.05 * (crown[1].mean(0) - inner) * inner.new_tensor([1.0, 0.0, 1.0])
    across = torch.linspace(-1, 1, _BRIM_COLUMNS, device=crown.device)[:, None]
    length = state["reach"] * (1 - across.abs() ** 2.6).clamp_min(0) ** 0.75
    ahead = inner[half] - crown[1].mean(0)
    ahead = F.normalize(ahead * ahead.new_tensor([1.0, 0.0, 1.0]), dim=0)
    side = torch.linalg.cross(ahead.new_tensor([0.0, 1.0, 0.0]), ahead)
    out = torch.linspace(0, 1, _BRIM_ROWS, device=crown.device)[:, None, None]
    middle = inner + out * length * (ahead - ahead.new_tensor([0.0, 0.42, 0.0]))
    sideways = ((middle - inner[half]) @ side).square()
    level = inner[half, 1] - 0.42 * ((middle - inner[half]) @ ahead) - state["curve"] * sideways
    # At the hem the brim keeps to it; outwards it bends to an even curve.
    middle[..., 1] += rise(out[..., 0], 0.0, 0.5) * (level - middle[..., 1])
    thick = middle.new_tensor([0.0, 0.0035, 0.0])
    return torch.cat([middle + thick, middle.flip(0) - thick])


def _brim_mesh(painter: Painter, brim: Tensor, tone: Tensor) -> Mesh:
    triangles = grid_triangles(len(brim), _BRIM_COLUMNS).to(brim.device)
    vertices = brim.reshape(-1, 3)
    normals = normals_of(vertices, triangles)
    upper = normals.reshape(brim.shape)[2, _BRIM_COLUMNS // 2]
    if upper[1] < 0:
        triangles, normals = triangles[:, [0, 2, 1]], -normals
    share = torch.linspace(0, 1, _BRIM_ROWS, device=brim.device)
    stitch = 0.07 * (torch.remainder(6 * share, 1.0) < 0.3).float() * rise(share, 0.1, 0.2)
    rows = torch.cat([1 - stitch, torch.full_like(stitch, 0.8)])
    albedo = (tone * rows[:, None]).repeat_interleave(_BRIM_COLUMNS, 0)
    return painter.mesh(vertices, normals, triangles, albedo, (0.15, 0.15, 0.15))
