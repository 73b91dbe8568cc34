"""Hair of the head of a person: style, guides, hairs."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from inverters.people.body import Body, Shape
from inverters.people.expressions import rise
from inverters.people.hair import guides as g
from inverters.people.hair.colour import directions_of, grey_share, pigment, strand_colours
from inverters.people.hair.hair import Tuft
from inverters.people.hair.hairline import growth, near_ears
from inverters.people.hair.head_field import MIDDLE, head_field
from inverters.people.hair.roots import Roots, nearest, scatter, spread_out
from inverters.people.hair.strands import about, resampled
from inverters.people.hair.style import Style, along, ramp, style_of
from inverters.people.hair.tied import tied
from inverters.people.labels import HAIR
from inverters.people.params import Values

_HAIRS, _GUIDES = 24_000, 900
_FRINGE_HAIRS, _FRINGE_GUIDES = 2_600, 150
_LIT = 14
"""Points of a guide at which light is computed."""


def head_hair(values: Values, row: int, mesh: Body, shape: Shape) -> list[Tuft]:
    """Return the hair of the head; nothing on a bald one."""
    style = style_of(values, row)
    if style.presence == 0:
        return []
    field = head_field(mesh, shape.neutral, shape.neutral_normals)
    ear = _ears(mesh, shape)
    roots, guide_roots, which = _roots(mesh)
    scalp = g.scalp_of(guide_roots, shape.neutral, shape.neutral_normals, field, ear)
    ways = g.loose(scalp, style) if style.tie < 1 else None
    keep = torch.ones(len(guide_roots), device=mesh.device)
    if ways is not None:
        keep = g.cut(ways, scalp, style)
        ways = g.waved(ways, scalp, style)
    if style.tie > 0:
        back = tied(scalp, style)
        back = g.waved(back, scalp, _calm(style))
        ways = back if ways is None else torch.lerp(ways, back, style.tie)
        keep = torch.lerp(keep, torch.ones_like(keep), style.tie)
    count = int(along(style.level, (0.0, 0.16, 0.35, 0.56, 1.0), (_HAIRS, _HAIRS, 17_000, 11_000, 10_000)))
    roots, which = roots.chosen(slice(0, count)), which[:count]
    hairs = _hairs(mesh, shape, style, roots, which, ways, keep, values, row)
    tufts = [hairs] if len(hairs.points) else []
    if style.fringe > 0:
        tufts.append(_fringe(mesh, shape, style, field, ear, values, row))
    return tufts


def _calm(style: Style) -> Style:
    from dataclasses import replace

    return replace(style, wave=0.4 * style.wave, curl=0.35 * style.curl)


def _hairs(
    mesh: Body,
    shape: Shape,
    style: Style,
    roots: Roots,
    which: Tensor,
    ways: Tensor,
    keep: Tensor,
    values: Values,
    row: int,
) -> Tuft:
    dense = growth(roots.canonical, roots.on(near_ears(mesh)[:, None])[:, 0], style)
    there = ((dense - roots.draw[:, 0]) * 5).clamp(0, 1) * style.presence
    # Hairs at the edge are short and fine; at the tips all lengths differ, or the hair looks cut from felt.
    edge = torch.lerp(rise(dense, -0.1, 0.85), torch.ones_like(dense), 0.35 * (roots.draw[:, 1] > 0.55))
    uneven = 1 - (0.10 + 0.35 * roots.draw[:, 2].square()) * (0.5 + 0.5 * style.long)
    share = there * edge * uneven * keep[which]
    alive = share > 0.03
    roots, which, share = roots.chosen(alive), which[alive], share[alive]
    count = int(along(style.level, (0.0, 0.2, 0.4, 0.56, 1.0), (4, 7, 14, 24, 26))) + int(12 * style.curl)
    points = resampled(ways, which, share, count)
    position, normal = roots.placed(shape.neutral, shape.neutral_normals)
    clump = (0.15 + 0.40 * ramp(style.level, 0.15, 0.4)) * (1 + 0.35 * style.curl - 0.3 * style.tight)
    loose = 0.0015 + 0.0065 * ramp(style.level, 0.15, 0.6) * (0.6 + 0.8 * style.volume) * (
        1 - 0.5 * style.tie
    )
    spread = (roots.draw[:, 3:6] - 0.5) * 2 * loose
    stray = ((roots.draw[:, 5] - 0.97) / 0.03).clamp_min(0)[:, None]
    spread = spread * (1 + 2.5 * stray)
    points = about(points, position, clump, spread, share, (0.6 + 0.4 * roots.draw[:, 4])[:, None, None])
    points = _above_skin(points, mesh, shape)
    lit = resampled(ways, torch.arange(len(ways), device=ways.device), torch.ones_like(keep), _LIT)
    out = F.normalize(lit - lit.new_tensor(MIDDLE), dim=-1) * 0.6
    guide_normal = _roots(mesh)[1].placed(shape.neutral, shape.neutral_normals)[1]
    return Tuft(
        points=points,
        base=strand_colours(pigment(values, row), grey_share(values, row), roots.draw[:, 2:].flip(1), 0.25),
        lit=lit,
        ahead=directions_of(lit),
        facing=out + 0.4 * guide_normal[:, None],
        which=which,
        share=share,
        root_shade=0.50 + 0.25 * ramp(style.level, 0.3, 0.1),
        radius=along(style.level, (0.0, 0.2, 0.56, 1.0), (0.0006, 0.0007, 0.0010, 0.0011)),
        opacity=along(style.level, (0.0, 0.2, 0.5), (0.45, 0.6, 0.8)),
        soft=0.012,
        label=HAIR,
    )


def _fringe(
    mesh: Body, shape: Shape, style: Style, field: object, ear: Tensor, values: Values, row: int
) -> Tuft:
    from inverters.people.hair.head_field import HeadField

    assert isinstance(field, HeadField)
    roots, guide_roots, which = _fringe_roots(mesh)
    scalp = g.scalp_of(guide_roots, shape.neutral, shape.neutral_normals, field, ear)
    ways, grown = g.fringe(scalp, style)
    ways = g.waved(ways, scalp, style)
    uneven = 0.62 + 0.38 * roots.draw[:, 2].sqrt()
    share = (grown[which] * uneven).clamp_max(1)
    alive = (share > 0.05) & (roots.draw[:, 0] < 0.55 + 0.45 * style.volume)
    roots, which, share = roots.chosen(alive), which[alive], share[alive]
    points = resampled(ways, which, share, 14)
    position, _ = roots.placed(shape.neutral, shape.neutral_normals)
    spread = (roots.draw[:, 3:6] - 0.5) * 2 * points.new_tensor([0.010, 0.006, 0.004])
    points = about(points, position, 0.25, spread, share, 1.0)
    points = _above_skin(points, mesh, shape)
    lit = resampled(
        ways, torch.arange(len(ways), device=ways.device), torch.ones(len(ways), device=ways.device), 8
    )
    out = F.normalize(lit - lit.new_tensor(MIDDLE), dim=-1) * 0.6
    return Tuft(
        points=points,
        base=strand_colours(pigment(values, row), grey_share(values, row), roots.draw[:, 2:].flip(1), 0.25),
        lit=lit,
        ahead=directions_of(lit),
        facing=out + 0.4 * scalp.normal[:, None],
        which=which,
        share=share,
        root_shade=0.75,
        radius=0.0009,
        opacity=0.6,
        soft=0.012,
        label=HAIR,
    )


def _above_skin(points: Tensor, mesh: Body, shape: Shape) -> Tensor:
    field = head_field(mesh, shape.neutral, shape.neutral_normals)
    height, normal = field.height(points)
    return points + normal * (0.0015 - height).clamp_min(0)[..., None] * (height > -0.05)[..., None]


def _ears(mesh: Body, shape: Shape) -> Tensor:
    ears = mesh.level1.mask("ears") > 0.6
    left = mesh.level1.canonical[:, 0] > 0
    return torch.stack([shape.neutral[ears & left].mean(0), shape.neutral[ears & ~left].mean(0)])


@cache
def _roots(mesh: Body) -> tuple[Roots, Roots, Tensor]:
    """Roots of hairs and of guides, and each hair's guide [S]."""
    widest = _widest()
    hairs = scatter(mesh, _HAIRS, widest, 7)
    many = scatter(mesh, 4000, widest, 8)
    guides = many.chosen(spread_out(many.canonical, _GUIDES))
    return hairs, guides, nearest(hairs.canonical, guides.canonical)


@cache
def _fringe_roots(mesh: Body) -> tuple[Roots, Roots, Tensor]:
    hairs = scatter(mesh, _FRINGE_HAIRS, _front, 9)
    many = scatter(mesh, 900, _front, 10)
    guides = many.chosen(spread_out(many.canonical, _FRINGE_GUIDES))
    return hairs, guides, nearest(hairs.canonical, guides.canonical)


def _front(points: Tensor) -> Tensor:
    """Density of a fringe's roots: behind the hairline above the forehead."""
    x = points[:, 0].abs()
    return rise(points[:, 2], 0.035, 0.07) * rise(x, 0.13, 0.10) * rise(points[:, 1], 0.205, 0.225)


def _widest() -> object:
    from inverters.people.body import mean_values

    style = style_of(mean_values(hair_length=1.0, hairline=0.0, gender=1.0))

    def density(points: Tensor) -> Tensor:
        return growth(points, points.new_zeros(len(points)), style).gt(0.02).float()

    return density
