"""The look of people in numbers that cost nothing to draw: colours, cuts, light, backdrop, face actions.

They are what a person's picture follows from, most of them strongly non-linear in the parameters: a mapping
network that has learned them knows when glasses begin and what grey hair in warm light looks like.
"""

from __future__ import annotations

from dataclasses import astuple
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from inverters.people import backdrop
from inverters.people.body import ancestry_of, body, gender_of
from inverters.people.expressions import actions_of
from inverters.people.hair.colour import grey_share, hair_colour
from inverters.people.hair.style import style_of as hair_style
from inverters.people.light import DIRECTIONS, display, environment, sphere
from inverters.people.params import PARAMETERS, Values, to_values
from inverters.people.skin.lines import strengths
from inverters.people.skin.tone import complexion, reflectance
from inverters.people.wear.clothes import CUTS, cut_of
from inverters.people.wear.earrings import size_of
from inverters.people.wear.fabric import dye
from inverters.people.wear.glasses import style_of as glasses_style

_SIDES = ((0.0, 0.0, 1.0), (0.8, 0.0, 0.6), (-0.8, 0.0, 0.6), (0.0, 0.9, 0.4), (0.0, -0.8, 0.6))
"""Normals for which the light is given."""
_GRID = 7
_SHAPES = 8
"""Principal shapes that count; the others move little."""
_HAIR_GAIN = 20.0
"""Weight of a number of the hair's style. A third of a picture's error is hair, and it has 22 numbers of 450,
the backdrop 147.
"""


@torch.no_grad()
def looks(scores: Tensor) -> Tensor:
    """Return the look [N,L] of people with scores [N,P], in units of their own."""
    values = to_values(scores.float().cpu())
    plain = torch.cat([values[p.name] for p in PARAMETERS], 1)
    actions = torch.stack(list(actions_of(values).values()), 1)
    own = torch.stack([torch.cat(list(_one(values, row).values())) for row in range(len(scores))])
    return torch.cat([plain, actions, own], 1).to(scores)


@cache
def look_weights() -> Tensor:
    """Weights [L] of the numbers of a look, of mean one, by which a mapping network learns them."""
    values = to_values(torch.zeros(1, len(PARAMETERS)))
    before = len(PARAMETERS) + len(actions_of(values))
    weights = [torch.ones(before)]
    for name, part in _one(values, 0).items():
        weights.append(torch.full((part.numel(),), _HAIR_GAIN if name == "hair" else 1.0))
    joined = torch.cat(weights)
    return joined / joined.mean()


def _one(values: Values, row: int) -> dict[str, Tensor]:
    """The numbers of person `row` that are computed one by one, by what they tell."""
    radiance = environment(values, row, sphere(DIRECTIONS))[1]
    light = _facing() @ radiance
    skin = complexion(values, row)
    glasses, (cut, share), cloth = glasses_style(values, row), cut_of(values, row), dye(values, row)
    colours = torch.stack([reflectance(skin), hair_colour(values, row), cloth.main, cloth.second])
    worn = torch.zeros(6)
    if glasses is not None:
        worn = torch.tensor([1.0, glasses.strength, *glasses.albedo[0].tolist(), glasses.tint])
    parts = {
        "shape": body().phenotype(values, row)[:_SHAPES],
        "body": torch.tensor([gender_of(values, row), size_of(values, row), grey_share(values, row)]),
        "ancestry": ancestry_of(values, row),
        "colours": display(colours[:, None] * light),
        "skin": torch.tensor(astuple(skin)),
        "hair": torch.tensor(astuple(hair_style(values, row))),
        "lines": strengths(values, row),
        "glasses": worn,
        "clothes": F.one_hot(torch.tensor(cut), len(CUTS)) * (1 + share),
        "backdrop": backdrop.colour(values, row, _wall()),
    }
    return {name: part.flatten().float() for name, part in parts.items()}


@cache
def _facing() -> Tensor:
    """Share of each direction's light on the _SIDES, [S,DIRECTIONS]."""
    return (torch.tensor(_SIDES) @ sphere(DIRECTIONS).T).clamp_min(0)


@cache
def _wall() -> Tensor:
    """Points of the backdrop [G,G,3]."""
    place = torch.linspace(-0.45, 0.45, _GRID)
    y, x = torch.meshgrid(-place, place, indexing="ij")
    return torch.stack([x, y, torch.zeros_like(x)], -1)
