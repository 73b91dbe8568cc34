"""Hair of the head of a person: style, guides, hairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from inverters.people.body import Body, Shape, mean_values
from inverters.people.hair.colour import grey_share, pigment, strand_colours
from inverters.people.hair.hair import Tuft
from inverters.people.hair.hairline import growth, near_ears
from inverters.people.hair.head_field import MIDDLE, HeadField, head_field
from inverters.people.hair.march import Scalp, scalp_of
from inverters.people.hair.roots import Roots, scatter, spread_out
from inverters.people.hair.strands import Groups, about, between, group, resampled
from inverters.people.hair.style import Style, along, style_of
from inverters.people.hair.tied import tied
from inverters.people.hair.vectors import tangents, unit
from inverters.people.hair.ways import cut, fringe, loose, waved
from inverters.people.labels import HAIR
from inverters.people.params import Values
from inverters.people.ramps import rise, rise_of

_HAIRS, _GUIDES = 24_000, 900
_FRINGE_HAIRS, _FRINGE_GUIDES = 2_600, 150
_LIT = 14
"""Points of a guide at which light is computed."""
_LEVELS = (0.0, 0.2, 0.35, 0.56, 1.0)
"""Levels of `Style` at which the numbers of drawing below are given."""
_COUNTS = (_HAIRS, _HAIRS, 17_000, 11_000, 10_000)
_POINTS = (4, 7, 12, 24, 26)
_RADII = (0.0004, 0.0007, 0.0009, 0.0010, 0.0011)
_OPACITIES = (0.22, 0.6, 0.72, 0.8, 0.8)


def head_hair(values: Values, row: int, mesh: Body, shape: Shape) -> list[Tuft]:
    """Return the hair of the head of person `row` of values [N,1]; nothing on a bald one."""
    style = style_of(values, row)
    if style.presence == 0:
        return []
    field = head_field(mesh, shape.neutral, shape.neutral_normals)
    colours = pigment(values, row), grey_share(values, row)
    tufts = [_mass(style, mesh, shape, field, colours)]
    if style.fringe > 0:
        tufts.append(_fringe(style, mesh, shape, field, colours))
    return [t for t in tufts if len(t.points)]


def _mass(style: Style, mesh: Body, shape: Shape, field: HeadField, colours: tuple[Tensor, float]) -> Tuft:
    """All hair but the fringe."""
    roots, guides, groups = _roots(mesh)
    scalp = scalp_of(guides, shape.neutral, shape.neutral_normals, field, _ears(mesh, shape))
    ways, keep = _ways(scalp, style)
    # A curl crosses more of the picture than a straight hair, and is drawn with more points.
    count = int(along(style.level, _LEVELS, _COUNTS) * (1 - 0.3 * style.curl))
    roots, groups = roots.chosen(slice(0, count)), groups.chosen(slice(0, count))
    dense = growth(roots.canonical, roots.on(near_ears(mesh)[:, None])[:, 0], style)
    share = _shares(style, dense, roots.draw) * keep[groups.nearest]
    alive = share > 0.03
    roots, groups, share = roots.chosen(alive), groups.chosen(alive), share[alive]
    # Curls need more points than straight hair to be round.
    steps = int(along(style.level, _LEVELS, _POINTS)) + int(10 * style.curl)
    points = between(ways, groups, share, steps, 1 - 0.7 * style.curl)
    clump = (0.15 + 0.40 * rise_of(style.level, 0.15, 0.4)) * (1 + 0.35 * style.curl - 0.3 * style.tight)
    loosely = (0.0015 + 0.0075 * rise_of(style.level, 0.15, 0.6)) * (0.6 + 0.8 * style.volume)
    spread = (2 * roots.draw[:, 3:6] - 1) * loosely * (1 - 0.5 * style.tie)
    stray = ((roots.draw[:, 5] - 0.97) / 0.03).clamp_min(0)[:, None]
    position = roots.on(shape.neutral)
    # Where hairs are few, as at the edge, each goes its own way.
    few = 1 - rise(dense[alive], 0.2, 1.0)[:, None]
    spread = spread * (1 + 2 * stray + 1.5 * few)
    points = about(points, position, clump * (0.5 + 0.5 * roots.draw[:, 4]), spread, share)
    lit, ahead, facing = _lighting(ways, scalp.normal, _LIT)
    return Tuft(
        points=_above_skin(points, field),
        base=strand_colours(*colours, roots.draw[:, 2:].flip(1), 0.25),
        lit=lit,
        ahead=ahead,
        facing=facing,
        which=groups.nearest,
        share=share,
        root_shade=0.50 + 0.25 * rise_of(style.level, 0.3, 0.1),
        deep=min(1.0, 0.14 / style.arc),
        radius=along(style.level, _LEVELS, _RADII) * (1 - 0.55 * few[:, 0]),
        opacity=along(style.level, _LEVELS, _OPACITIES),
        soft=0.012,
        label=HAIR,
    )


def _ways(scalp: Scalp, style: Style) -> tuple[Tensor, Tensor]:
    """Guides [G,STEPS,3], and the share of each that is kept [G]."""
    if style.tie < 1:
        free = loose(scalp, style)
        keep = cut(free, scalp, style)
        free = waved(free, scalp, style)
        if style.tie == 0:
            return free, keep
    # What is pulled to a knot is straighter.
    back = waved(tied(scalp, style), scalp, replace(style, wave=0.4 * style.wave, curl=0.35 * style.curl))
    whole = torch.ones(len(back), device=back.device)
    if style.tie == 1:
        return back, whole
    return torch.lerp(free, back, style.tie), torch.lerp(keep, whole, style.tie)


def _shares(style: Style, dense: Tensor, draw: Tensor) -> Tensor:
    """How much of its guide's length each hair has, [S] in [0,1]; nothing where no hair grows."""
    there = ((dense - draw[:, 0]) * 5).clamp(0, 1) * style.presence
    # Hairs at the edge are short; at the tips all lengths differ, or the hair looks cut from felt.
    shortest = min(0.5, 0.055 / style.arc)
    edge = shortest + (1 - shortest) * rise(dense - 0.15 * draw[:, 1], 0.15, 0.75)
    uneven = 1 - (0.10 + 0.35 * draw[:, 2].square()) * (0.5 + 0.5 * style.long)
    return there * edge * uneven


def _fringe(style: Style, mesh: Body, shape: Shape, field: HeadField, colours: tuple[Tensor, float]) -> Tuft:
    roots, guides, groups = _fringe_roots(mesh)
    scalp = scalp_of(guides, shape.neutral, shape.neutral_normals, field, _ears(mesh, shape))
    ways, grown = fringe(scalp, style)
    ways = waved(ways, scalp, style)
    uneven = 0.50 + 0.50 * roots.draw[:, 2].sqrt()
    share = (grown[groups.nearest] * uneven).clamp_max(1)
    alive = (share > 0.05) & (roots.draw[:, 0] < 0.60 + 0.40 * style.volume)
    roots, groups, share = roots.chosen(alive), groups.chosen(alive), share[alive]
    points = between(ways, groups, share, 14, 1.0)
    spread = (2 * roots.draw[:, 3:6] - 1) * points.new_tensor([0.012, 0.008, 0.005])
    points = about(points, roots.on(shape.neutral), 0.35 * roots.draw[:, 4], spread, share)
    lit, ahead, facing = _lighting(ways, scalp.normal, 8)
    return Tuft(
        points=_above_skin(points, field),
        base=strand_colours(*colours, roots.draw[:, 2:].flip(1), 0.25),
        lit=lit,
        ahead=ahead,
        facing=facing,
        which=groups.nearest,
        share=share,
        root_shade=0.55,
        radius=0.0008,
        opacity=0.6,
        soft=0.012,
        label=HAIR,
        gloss=0.45,
    )


def _lighting(ways: Tensor, normal: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Points of guides [G,STEPS,3] at which light is computed: `lit`, `ahead` and `facing` of `Tuft`."""
    every = torch.arange(len(ways), device=ways.device)
    lit = resampled(ways, every, torch.ones(len(ways), device=ways.device), count)
    facing = 0.6 * unit(lit - lit.new_tensor(MIDDLE)) + 0.4 * normal[:, None]
    return lit, tangents(lit), facing


def _above_skin(points: Tensor, field: HeadField) -> Tensor:
    height, normal = field.height(points)
    return points + normal * ((0.0015 - height).clamp_min(0) * (height > -0.05))[..., None]


def _ears(mesh: Body, shape: Shape) -> Tensor:
    """Middles [2,3] of the ears, the person's left first."""
    ears, left = mesh.level1.mask("ears") > 0.6, mesh.level1.canonical[:, 0] > 0
    return torch.stack([shape.neutral[ears & left].mean(0), shape.neutral[ears & ~left].mean(0)])


@cache
def _roots(mesh: Body) -> tuple[Roots, Roots, Groups]:
    """Roots of hairs and of guides, and each hair's guides."""
    style = style_of(mean_values(hair_length=1.0, hairline=0.0, gender=1.0))

    def widest(points: Tensor) -> Tensor:
        return growth(points, points.new_zeros(len(points)), style).gt(0.02).float()

    return _planted(mesh, widest, (_HAIRS, _GUIDES), 7)


@cache
def _fringe_roots(mesh: Body) -> tuple[Roots, Roots, Groups]:
    def front(points: Tensor) -> Tensor:
        x, y, z = points[:, 0].abs(), points[:, 1], points[:, 2]
        return rise(z, 0.035, 0.09) * rise(x, 0.13, 0.09) * rise(y, 0.205, 0.230)

    return _planted(mesh, front, (_FRINGE_HAIRS, _FRINGE_GUIDES), 9)


def _planted(
    mesh: Body, density: Callable[[Tensor], Tensor], counts: tuple[int, int], seed: int
) -> tuple[Roots, Roots, Groups]:
    """Scatter hairs and guides, counts of each, by a density on the base mesh, and group them."""
    hairs, many = scatter(mesh, counts[0], density, seed), scatter(mesh, 5 * counts[1], density, seed + 1)
    guides = many.chosen(spread_out(many.canonical, counts[1]))
    return hairs, guides, group(hairs, guides)
