"""Eyes: finely tessellated caps that turn with the gaze: pupil, iris, white, shade of the lids, highlight."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from inverters.people.body import Body, Shape, ancestry_of
from inverters.people.labels import EYE
from inverters.people.light import Light, Lit, display
from inverters.people.noise import noise
from inverters.people.params import Values
from inverters.people.parts import Mesh
from inverters.people.ramps import rise

SIDES = ("left", "right")
"""The person's."""
IRIS = 0.435
"""Angle from the gaze axis to the edge of the iris, in radians."""
_PUPIL = 0.150
_SECTORS = 72
_PROFILE = ((0.0, 0.0340), (0.30, 0.0341), (0.42, 0.0336), (0.52, 0.0330), (0.65, 0.0325), (0.80, 0.0320))
_BACK = ((1.0, 0.0315), (1.3, 0.0309), (1.6, 0.0307))
"""Distance from the eye's centre by the angle from the gaze axis: the eyeball of the base mesh."""
_CORNEA = 1.5
"""The cornea is rounder than the eyeball: its normals turn this much faster."""
_TURN = 1.5
"""How much further eyes turn than the face actions turn them."""
_SHIFT = 0.5
"""Share of the eye's shift by face actions that is kept: they move vertices on straight lines."""
_COARSE = 8
"""Light is computed at every eighth sector and ring."""
_IRISES = (
    (0.050, 0.024, 0.013),
    (0.110, 0.054, 0.022),
    (0.160, 0.105, 0.042),
    (0.120, 0.150, 0.095),
    (0.115, 0.175, 0.215),
    (0.170, 0.215, 0.245),
)
"""Reflectances from dark brown over hazel and green to blue-grey."""


@dataclass(frozen=True)
class Cap:
    """The front of an eyeball about the axis +z, its centre at the origin, in the base mesh's size."""

    vertices: Tensor
    """[E,3]."""
    normals: Tensor
    """[E,3], with the cornea's own curvature."""
    angle: Tensor
    """[E] from the axis."""
    triangles: Tensor
    """[T,3] int32."""
    coarse: Tensor
    """Vertices [Q] at which light is computed."""
    spread: Tensor
    """[E,Q] weights of their light."""
    fibres: Tensor
    """[E] noise of the iris."""
    veins: Tensor
    """[E] in [0,1]."""


@cache
def cap(device: torch.device) -> Cap:
    """Return the cap of both eyes; made once a device."""
    rings = _rings()
    count = len(rings)
    angle = torch.cat([torch.zeros(1), rings.repeat_interleave(_SECTORS)])
    turn = torch.cat([torch.zeros(1), (torch.arange(_SECTORS) * (2 * math.pi / _SECTORS)).repeat(count)])
    radius = _interpolated(angle, (*_PROFILE, *_BACK))
    around = torch.stack([torch.cos(turn), torch.sin(turn)], 1)
    vertices = torch.cat([around * angle.sin()[:, None], angle.cos()[:, None]], 1) * radius[:, None]
    bent = angle * (1 + (_CORNEA - 1) * rise(angle, IRIS + 0.12, IRIS - 0.10))
    normals = torch.cat([around * bent.sin()[:, None], bent.cos()[:, None]], 1)
    k, s = torch.meshgrid(torch.arange(count - 1), torch.arange(_SECTORS), indexing="ij")
    a, b = 1 + k * _SECTORS + s, 1 + k * _SECTORS + (s + 1) % _SECTORS
    c, d = a + _SECTORS, b + _SECTORS
    first = torch.arange(_SECTORS)
    fan = torch.stack([torch.zeros_like(first), 1 + first, 1 + (first + 1) % _SECTORS], 1)
    bands = torch.cat([torch.stack([a, c, d], -1).reshape(-1, 3), torch.stack([a, d, b], -1).reshape(-1, 3)])
    coarse = torch.cat([torch.zeros(1, dtype=torch.long), _coarse_rings(count)])
    near = torch.exp(-((torch.cdist(vertices, vertices[coarse]) / 0.006) ** 2)) + 1e-9
    fan_noise = torch.cat([around * 1.6, angle[:, None] * 0.9], 1)
    fibres = noise(fan_noise, 7, 2) + 0.7 * noise(torch.cat([around * 4.5, angle[:, None] * 0.8], 1), 7, 5)
    veins = (1 - noise(vertices * torch.tensor([0.7, 1.6, 1.0]), 130, 4).abs() * 3.0).clamp_min(0) ** 2
    return Cap(
        vertices=vertices.to(device),
        normals=normals.to(device),
        angle=angle.to(device),
        triangles=torch.cat([fan, bands]).int().to(device),
        coarse=coarse.to(device),
        spread=(near / near.sum(1, keepdim=True)).to(device),
        fibres=fibres.to(device),
        veins=veins.to(device),
    )


def _rings() -> Tensor:
    """Angles of the rings: close together where pupil, iris and white meet."""
    return torch.cat(
        [
            torch.tensor([0.06, 0.11]),
            torch.linspace(_PUPIL - 0.02, _PUPIL + 0.02, 4),
            torch.linspace(0.20, 0.36, 8),
            torch.linspace(IRIS - 0.055, IRIS + 0.055, 10),
            torch.linspace(0.54, 0.80, 7),
            torch.linspace(0.86, 1.55, 11),
        ]
    )


def _coarse_rings(count: int) -> Tensor:
    ring, sector = torch.meshgrid(
        torch.arange(3, count, 6), torch.arange(0, _SECTORS, _COARSE), indexing="ij"
    )
    return (1 + ring * _SECTORS + sector).flatten()


def _interpolated(x: Tensor, table: tuple[tuple[float, float], ...]) -> Tensor:
    """Piecewise linear values [n] of a table of (x, value)."""
    at, value = (torch.tensor(column) for column in zip(*table, strict=True))
    k = torch.searchsorted(at, x.contiguous(), right=True).clamp(1, len(at) - 1)
    t = ((x - at[k - 1]) / (at[k] - at[k - 1])).clamp(0, 1)
    return torch.lerp(value[k - 1], value[k], t)


def pose(mesh: Body, shape: Shape, side: str) -> tuple[Tensor, Tensor, float]:
    """Return the rotation [3,3], the centre [3] and the size of an eye against the base mesh's.

    At rest eyes look straight ahead, whatever the shape does to them. The face actions turn the mesh's eye;
    the turn is the best fit of its vertices (Kabsch, "A solution for the best rotation to relate two sets of
    vectors", 1976), enlarged, as the actions are timid.
    """
    own = mesh.level1.is_part(f"{side}_eye")
    base, rest, posed = (v[own] for v in (mesh.level1.canonical, shape.neutral, shape.vertices))
    centre = rest.mean(0)
    size = float((rest - centre).norm() / (base - base.mean(0)).norm())
    u, _, v = torch.linalg.svd((posed - posed.mean(0)).T @ (rest - centre))
    flip = torch.ones_like(u[0])
    flip[2] = torch.sign(torch.linalg.det(u @ v))
    return _enlarged((u * flip) @ v, _TURN), torch.lerp(centre, posed.mean(0), _SHIFT), size


def _enlarged(rotation: Tensor, factor: float) -> Tensor:
    """The rotation [3,3] about the same axis by a multiple of the angle."""
    twist = torch.stack(
        [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    )
    sine = twist.norm() / 2
    angle = torch.atan2(sine, (rotation.trace() - 1) / 2) * factor
    x, y, z = (twist / (2 * sine).clamp_min(1e-6)).tolist()
    cross = rotation.new_tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    turned: Tensor = torch.linalg.matrix_exp(cross * angle)
    return turned


def make_eyes(values: Values, row: int, mesh: Body, shape: Shape, light: Light) -> list[Mesh]:
    """Return both eyes as meshes with display colours.

    They replace the triangles of the eyes of `mesh`.

    Args:
        values: [N,1] by parameter name.
        row: the person's.
        mesh: the morphable mesh.
        shape: the person's.
        light: the person's.
    """
    ball = cap(shape.fine.device)
    found = []
    for side in SIDES:
        rotation, centre, size = pose(mesh, shape, side)
        vertices = centre + size * (ball.vertices @ rotation.T)
        normals = ball.normals @ rotation.T
        gaps = _lids(mesh, shape, side, vertices)
        # What the lids cover lies deeper, so that it never shows through them.
        hidden = rise(torch.minimum(*gaps), -0.0003, -0.0036)[:, None]
        vertices = torch.lerp(vertices, centre, 0.16 * hidden)
        coarse = light.at(
            vertices[ball.coarse], F.normalize(vertices[ball.coarse] - centre, dim=1), (0.2, 0.2, 0.2)
        )
        colours = _paint(values, row, ball, _spread(ball, coarse), light, normals, gaps)
        labels = torch.full((len(ball.triangles),), EYE, dtype=torch.uint8, device=vertices.device)
        found.append(Mesh(vertices, colours, ball.triangles, labels))
    return found


def _spread(ball: Cap, lit: Lit) -> Lit:
    return Lit(*(ball.spread @ t for t in (lit.irradiance, lit.dominant, lit.openness, lit.gloss)))


def _lids(mesh: Body, shape: Shape, side: str, vertices: Tensor) -> tuple[Tensor, Tensor]:
    """How far vertices [E,3] of an eye lie below the upper and above the lower lid's edge, [E] each."""
    gaps = []
    for index, sign in zip(_edges(mesh, side), (1.0, -1.0), strict=True):
        edge = shape.vertices[index]
        edge = edge[edge[:, 0].argsort()]
        x, y = edge[:, 0].contiguous(), edge[:, 1]
        at = vertices[:, 0].contiguous()
        k = torch.searchsorted(x, at).clamp(1, len(x) - 1)
        t = ((at - x[k - 1]) / (x[k] - x[k - 1]).clamp_min(1e-6)).clamp(0, 1)
        gaps.append(sign * (torch.lerp(y[k - 1], y[k], t) - vertices[:, 1]))
    return gaps[0], gaps[1]


@cache
def _edges(mesh: Body, side: str) -> tuple[Tensor, Tensor]:
    """Vertices of level 1 along the edge of the upper and of the lower lid."""
    level = mesh.level1
    offset = level.canonical - mesh.eyes[side]
    distance, height = offset.norm(dim=1), offset[:, 1].abs()
    lid = level.is_part("body") & (offset[:, 2] > 0.004) & (distance > 0.0325) & (distance < 0.0385)
    column = (offset[:, 0] / 0.0035).round().long()
    found = []
    for above in (True, False):
        own = lid & ((offset[:, 1] > 0) == above)
        columns = [height.masked_fill(~(own & (column == k)), 9.0) for k in range(-9, 10)]
        found.append(torch.stack([c.argmin() for c in columns if float(c.min()) < 1]))
    return found[0], found[1]


def _paint(
    values: Values,
    row: int,
    ball: Cap,
    lit: Lit,
    light: Light,
    normals: Tensor,
    gaps: tuple[Tensor, Tensor],
) -> Tensor:
    """Display colours [E,3] of one eye."""
    albedo = _albedo(values, row, ball)
    below, above = gaps
    # The upper lid and its lashes shade the eye; both lids shut light out along their edges.
    shade = 1 - 0.62 * rise(below, 0.0085, 0.0005)
    shade = shade * (1 - 0.35 * rise(above, 0.0035, 0.0))
    open_ = lit.openness[:, None].clamp(0, 1)
    lit_iris = _lens(ball, light, normals)
    colour = albedo * lit.irradiance * (0.45 + 0.55 * open_) * shade[:, None] * lit_iris
    return display(colour + _reflections(values, row, light, normals, gaps, open_))


def _albedo(values: Values, row: int, ball: Cap) -> Tensor:
    """Reflectance [E,3] of pupil, iris and white."""
    age, shade = float(values["age"][row, 0]), float(values["eye_shade"][row, 0])
    dark_ancestry = 1 - float(ancestry_of(values, row)[2])
    old = max(0.0, (age - 40) / 40)
    like = ball.vertices
    tone = _iris_colour(values, row, like) * (1.25 - 0.65 * shade)
    a = ball.angle
    ring = torch.exp(-(((a - 0.215) / 0.055) ** 2))[:, None] * like.new_tensor([0.75, 0.50, 0.22])
    fibre = (0.85 + 0.34 * ball.fibres).clamp(0.25, 1.8)[:, None]
    iris = tone * fibre * (1 + ring) * (1 - 0.72 * rise(a, IRIS - 0.115, IRIS - 0.015))[:, None]
    iris = iris + (0.05 * old * rise(a, IRIS - 0.09, IRIS - 0.02))[:, None]
    white = like.new_tensor([0.64, 0.60, 0.56]) * (1 - old * like.new_tensor([0.03, 0.08, 0.20]))
    white = white * (1 - 0.14 * dark_ancestry * like.new_tensor([0.5, 0.8, 1.2]))
    red = 0.12 + 0.9 * rise(a, 0.62, 1.15) + (0.25 + 0.3 * old) * ball.veins * rise(a, 0.50, 0.85)
    white = white * torch.exp(-red[:, None] * like.new_tensor([0.16, 0.62, 0.55]))
    colour = torch.lerp(iris, white, rise(a, IRIS - 0.035, IRIS + 0.045)[:, None])
    pupil = rise(a, _PUPIL + 0.022, _PUPIL - 0.016)[:, None]
    return torch.lerp(colour, torch.full_like(colour, 0.004), pupil)


def _iris_colour(values: Values, row: int, like: Tensor) -> Tensor:
    """Colour [3] by `eye_colour`; almost always brown but for Europeans."""
    european = float(ancestry_of(values, row)[2])
    light = float(values["eye_colour"][row, 0]) * min(1.0, 0.22 + 1.0 * european)
    at = light * (len(_IRISES) - 1)
    k = min(int(at), len(_IRISES) - 2)
    table = like.new_tensor(_IRISES)
    return torch.lerp(table[k], table[k + 1], at - k) * 0.62


def _lens(ball: Cap, light: Light, normals: Tensor) -> Tensor:
    """The cornea gathers light on the side of the iris that lies away from the light, [E,1]."""
    inside = rise(ball.angle, IRIS + 0.02, IRIS - 0.06)
    away = -(normals[:, :2] @ light.key[:2])
    return (1 + inside * (0.10 + 1.5 * away.clamp(-0.25, 0.45)))[:, None]


def _reflections(
    values: Values, row: int, light: Light, normals: Tensor, gaps: tuple[Tensor, Tensor], open_: Tensor
) -> Tensor:
    """What the wet eye mirrors for a viewer in front: a window, a weaker one, the tear line; [E,3]."""
    soft = float(values["light_soft"][row, 0])
    viewer = torch.tensor([0.0, 0.0, 1.0], device=normals.device)
    # A light from far aside would be mirrored in the white: it is moved nearer to the camera.
    towards = light.key * light.key.new_tensor([0.8, 0.9, 1.0])
    window = _window(normals, F.normalize(F.normalize(towards, dim=0) + viewer, dim=0), 0.080 + 0.04 * soft)
    across = light.key * light.key.new_tensor([-0.8, -0.35, 1.0])
    weak = _window(normals, F.normalize(F.normalize(across, dim=0) + viewer, dim=0), 0.075)
    below, above = gaps
    tears = torch.exp(-(((above - 0.0011) / 0.0009) ** 2)) * rise(normals[:, 2], 0.2, 0.7)
    sky = 0.020 * rise(normals[:, 1], 0.0, 0.5)
    covered = rise(below, 0.0, 0.0022)
    mirrored = (1.25 - 0.35 * soft) * window * covered + 0.05 * weak + 0.10 * tears + sky * covered
    return mirrored[:, None] * (0.25 + 0.75 * open_) * normals.new_tensor([0.97, 1.0, 1.03])


def _window(normals: Tensor, half: Tensor, size: float) -> Tensor:
    """A soft-edged upright rectangle [E] that normals near `half` [3] mirror."""
    side = F.normalize(torch.linalg.cross(half.new_tensor([0.0, 1.0, 0.0]), half), dim=0)
    up = torch.linalg.cross(half, side)
    u, v = (normals @ side).abs(), (normals @ up).abs()
    front = (normals @ half) > 0
    edge = 0.6 * size
    return rise(u, size + edge, size - edge) * rise(v, 1.25 * size + edge, 1.25 * size - edge) * front
