"""Hair of the face: brows, lashes and beard, rooted in the skin of the expression."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from inverters.people.body import Body, Shape, gender_of
from inverters.people.hair.colour import grey_share, pigment, strand_colours
from inverters.people.hair.hair import Tuft
from inverters.people.hair.roots import Roots, scatter
from inverters.people.hair.style import along
from inverters.people.hair.vectors import off, unit
from inverters.people.labels import BEARD, BROW
from inverters.people.noise import noise
from inverters.people.params import Values
from inverters.people.ramps import rise, rise_of

_BROW_HAIRS, _BEARD_HAIRS = 6_000, 20_000


@dataclass(frozen=True)
class Look:
    """How a tuft of the face is drawn."""

    root_shade: float
    radius: float
    opacity: float
    soft: float
    label: int
    gloss: float = 1.0
    shadows: bool = False


def short_hairs(
    root: Tensor, normal: Tensor, ahead: Tensor, length: Tensor, lift: float, bend: Tensor, count: int
) -> Tensor:
    """Return hairs [S,count,3] that leave the skin and lie down towards where they point.

    Args:
        root: [S,3].
        normal: [S,3], of the skin.
        ahead: [S,3], along which they grow.
        length: [S], world units.
        lift: rise over the skin a unit of length, at the root.
        bend: [S,3] or [3]: where they turn to, added by the tip.
        count: points of a hair.
    """
    along_skin = off(ahead, normal)
    t = torch.linspace(0, 1, count, device=root.device)[None, :, None]
    out = lift * (t - 0.42 * t * t) * normal[:, None]
    turn = 0.5 * t * t * bend.reshape(-1, 1, 3)
    return (
        root[:, None]
        + length[:, None, None] * (t * along_skin[:, None] + out + turn)
        + 0.0006 * normal[:, None]
    )


def tuft_of(points: Tensor, normal: Tensor, base: Tensor, look: Look) -> Tuft:
    """A tuft whose light is computed at the middle of each hair."""
    middle = points.shape[1] // 2
    ahead = unit(points[:, -1] - points[:, 0])
    every = torch.arange(len(points), device=points.device)
    return Tuft(
        points=points.contiguous(),
        base=base,
        lit=points[:, middle : middle + 1],
        ahead=ahead[:, None],
        facing=normal[:, None],
        which=every,
        share=torch.ones(len(points), device=points.device),
        root_shade=look.root_shade,
        radius=look.radius,
        opacity=look.opacity,
        soft=look.soft,
        label=look.label,
        gloss=look.gloss,
        shadows=look.shadows,
    )


def brows(values: Values, row: int, mesh: Body, shape: Shape) -> Tuft:
    """Return the brows: dense in the middle, frayed above the nose, thin at the tail, with gaps."""
    thick, dark = (float(values[n][row, 0]) for n in ("brow_thickness", "brow_darkness"))
    man = 1 - rise_of(gender_of(values, row), 0.3, 0.7)
    age = float(values["age"][row, 0])
    roots = _brow_roots(mesh)
    c, u = roots.canonical, roots.draw
    x = c[:, 0].abs()
    t = ((x - 0.020) / 0.098).clamp(0, 1)
    above = c[:, 1] - _brow_line(x)
    broad = (0.0042 + 0.0058 * thick) * (0.82 + 0.36 * man)
    width = broad * (0.62 + 0.38 * rise(t, 0.0, 0.22)) * (1 - 0.78 * rise(t, 0.48, 1.0))
    across = above / width
    solid = rise(across.abs(), 1.25, 0.45) * rise(t, -0.02, 0.16) * rise(t, 1.0, 0.86)
    patchy = 0.80 + 0.17 * noise(c, 90, 21) + 0.15 * noise(c, 210, 22)
    dense = (
        solid * patchy * (0.62 + 0.30 * thick + 0.14 * man) * (1 - 0.25 * rise_of(age, 50, 80) * (1 - man))
    )
    stray = rise(across.abs(), 2.6, 0.9) * 0.035 * (0.4 + man)
    alive = u[:, 0] < torch.maximum(dense, stray)
    roots, t, across = roots.chosen(alive), t[alive], across[alive]
    root, normal = roots.placed(shape.vertices, shape.normals)
    u = roots.draw
    side = torch.sign(roots.canonical[:, 0])
    # Hairs stand up by the nose, lean outwards in the middle, upper ones down to the tail.
    upward = (1.35 - 2.1 * rise(t, 0.0, 0.5)).clamp_min(-0.55) - 0.40 * across.clamp(-1.2, 1.2)
    wild = 0.30 + 0.25 * man * rise_of(age, 45, 80)
    ahead = (
        torch.stack([side * (0.42 + 0.75 * rise(t, 0.0, 0.4)), upward, 0 * t], 1)
        + wild * (u[:, 1:4] - 0.5) * 2
    )
    length = (0.0075 + 0.0075 * rise(t, 0.0, 0.25)) * (1 - 0.35 * rise(t, 0.6, 1.0))
    length = length * (0.65 + 0.6 * u[:, 4]) * (0.85 + 0.25 * thick + 0.15 * man * rise_of(age, 50, 80))
    bend = torch.stack([0.35 * side, -0.30 - 0.3 * across.clamp(0, 1), 0 * t], 1)
    points = short_hairs(root, normal, ahead, length, 0.28, bend, 5)
    own = pigment(values, row)
    own = torch.minimum(own * (0.85 - 0.45 * dark), torch.tensor([0.16, 0.115, 0.080]) * (1.25 - 0.75 * dark))
    base = strand_colours(own, 0.8 * grey_share(values, row, -8.0), u[:, 4:6], 0.25)
    look = Look(0.85, 0.00042, 0.55 + 0.25 * dark, 0.005, BROW, 0.4)
    return tuft_of(points, normal, base, look)


def _brow_line(x: Tensor) -> Tensor:
    """Height of the middle of the brow on the base mesh at a distance from the face's middle."""
    t = ((x - 0.022) / 0.09).clamp(0, 1.1)
    return 0.0785 + 0.0105 * torch.sin(2.45 * t) - 0.006 * rise(x, 0.09, 0.125)


@cache
def _brow_roots(mesh: Body) -> Roots:
    def density(points: Tensor) -> Tensor:
        x = points[:, 0].abs()
        near = (points[:, 1] - _brow_line(x)).abs() < 0.030
        return (near & (x > 0.012) & (x < 0.128) & (points[:, 2] > 0.05)).float()

    return scatter(mesh, _BROW_HAIRS, density, 11)


def beard(values: Values, row: int, mesh: Body, shape: Shape) -> Tuft | None:
    """Return moustache and beard of a man, longer than stubble; None where there is none."""
    man = 1 - rise_of(gender_of(values, row), 0.3, 0.6)
    full, form = (float(values[n][row, 0]) for n in ("beard", "beard_shape"))
    grown = man * rise_of(full, 0.48, 0.62)
    if grown <= 0:
        return None
    roots = _beard_roots(mesh)
    c, u = roots.canonical, roots.draw
    dense = beard_area(c, form) * (0.88 + 0.14 * noise(c, 45, 23) + 0.08 * noise(c, 130, 24))
    lips = roots.on(mesh.level1.mask("lips")[:, None])[:, 0]
    under = -roots.on(_canonical_normals(mesh))[:, 1]
    dense = (
        dense
        * rise(lips, 0.35, 0.12)
        * grown
        * (1 - 0.85 * rise(under, 0.45, 0.85) * rise(c[:, 1], -0.12, -0.16))
    )
    there = ((dense - u[:, 0] * 0.95) * 4).clamp(0, 1)
    alive = there > 0.05
    roots, there = roots.chosen(alive), there[alive]
    root, normal = roots.placed(shape.vertices, shape.normals)
    c, u = roots.canonical, roots.draw
    side, x = torch.sign(c[:, 0]), c[:, 0].abs()
    lip = rise(c[:, 1], -0.118, -0.100) * rise(x, 0.075, 0.055) * rise(c[:, 2], 0.10, 0.14)
    chin = rise(c[:, 1], -0.13, -0.21) * rise(x, 0.12, 0.04)
    size = along(full, (0.48, 0.62, 0.78, 1.0), (0.003, 0.006, 0.013, 0.034))
    length = size * (0.55 + 0.75 * chin) * (0.55 + 0.55 * u[:, 1]) * (0.5 + 0.5 * there)
    length = torch.lerp(length, length.clamp_max(0.017) * 0.9, lip)
    curly = 0.7 * torch.stack([noise(c, 60, k) for k in (25, 26, 27)], 1)
    down = torch.stack([side * (0.10 + 0.9 * lip) * rise(x, 0.0, 0.03), -1 + 0.35 * lip, 0.1 + 0 * x], 1)
    ahead = down + 0.35 * curly + 0.30 * (u[:, 2:5] - 0.5) * 2
    # Long hairs hang and come together below the chin.
    bend = root.new_tensor([0.0, -0.75, 0.0]) - 0.25 * torch.stack(
        [side * rise(x, 0.02, 0.1), 0 * x, 0 * x], 1
    )
    points = short_hairs(root, normal, ahead, length, 0.62, bend + 0.5 * curly, 6)
    own = pigment(values, row) * torch.tensor([0.80, 0.72, 0.66])
    base = strand_colours(own, grey_share(values, row, 4.0), u[:, 4:6], 0.28)
    look = Look(0.55, 0.00055, 0.60, 0.006, BEARD, 0.6, shadows=True)
    return tuft_of(points, normal, base, look)


def beard_area(canonical: Tensor, form: float) -> Tensor:
    """Return how dense a beard grows at points [N,3] of the base mesh, [N] in [0,1].

    Args:
        canonical: points on the face and neck.
        form: 0 moustache and chin alone, to 1 cheeks as well.
    """
    x, y, z = canonical[:, 0].abs(), canonical[:, 1], canonical[:, 2]
    cheek = rise(y - 0.62 * (x - 0.11) + 0.004 * noise(canonical, 40, 28), 0.000, -0.075)
    # Between the corners of the mouth and the nose only the moustache grows.
    cheek = cheek * rise(y + 0.9 * (x - 0.065).clamp_min(0), -0.100, -0.135)
    jaw = cheek * rise(z, -0.045, -0.005)
    edge = 0.055 + 0.15 * form
    jaw = jaw * rise(x, edge + 0.02, edge - 0.012) if form < 0.75 else jaw
    moustache = (
        rise(x, 0.074, 0.050) * rise(y + 0.35 * x, -0.127, -0.108) * rise(y + 0.30 * x, -0.070, -0.079)
    )
    moustache = moustache * (0.55 + 0.45 * rise(x, 0.000, 0.010)) * rise(z, 0.10, 0.13)
    corner = rise((x - 0.066).abs(), 0.018, 0.008) * rise(y, -0.100, -0.112) * rise(y, -0.19, -0.16)
    below_lip = 1 - 0.75 * rise((x - 0.028).abs(), 0.016, 0.006) * rise((y + 0.163).abs(), 0.014, 0.005)
    every = torch.maximum(torch.maximum(jaw * below_lip, moustache), corner * rise(z, 0.08, 0.12))
    return every * rise(y, -0.295, -0.235) * (1 - rise(y, -0.205, -0.245) * rise(z, 0.16, 0.08))


@cache
def _canonical_normals(mesh: Body) -> Tensor:
    """Normals [V1,3] of the base mesh."""
    return mesh.level1.normals(mesh.level1.canonical)


@cache
def _beard_roots(mesh: Body) -> Roots:
    return scatter(mesh, _BEARD_HAIRS, lambda p: (beard_area(p, 1.0) > 0.02).float(), 12)
