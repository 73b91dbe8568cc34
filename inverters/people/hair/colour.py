"""Colours of hair: pigments, grey, and the light on strands (Kajiya and Kay's model)."""

from __future__ import annotations

import torch
from torch import Tensor

from inverters.people.body import ancestry_of
from inverters.people.hair.style import along
from inverters.people.light import Light
from inverters.people.params import Values
from inverters.people.ramps import rise_of
from inverters.rendering.drawing import visibility

GREY = (0.56, 0.545, 0.52)
"""Linear colour of hair without pigment, as a mass."""
_BIAS = 0.020
_VIEW = (0.0, 0.0, 1.0)
_DIM = 0.006
"""Directions with less light are left out."""


def pigment(values: Values, row: int = 0) -> Tensor:
    """Return the linear colour [3] of a person's hair before it turns grey, from its two pigments."""
    shade, red = float(values["hair_colour"][row, 0]), float(values["hair_red"][row, 0])
    european = float(ancestry_of(values, row)[2])
    light = rise_of(european, 0.25, 0.70)
    dark = along(shade, (0.0, 0.5, 0.9, 1.0), (1.55, 1.30, 1.05, 0.80))
    fair = along(shade, (0.0, 0.15, 0.50, 0.75, 0.90, 1.0), (1.35, 1.00, 0.66, 0.38, 0.16, 0.05))
    brown_black = dark + light * (fair - dark)
    ginger = light * along(red, (0.0, 0.5, 0.85, 1.0), (0.04, 0.16, 0.40, 0.95)) + (1 - light) * 0.10
    # Much red shows only where there is little black.
    ginger *= 1 - 0.5 * rise_of(brown_black, 0.5, 1.1)
    eumelanin = 1.15 * brown_black * torch.tensor([2.6, 3.2, 4.0])
    return (
        torch.tensor([0.92, 0.78, 0.56]) * torch.exp(-eumelanin - ginger * torch.tensor([0.15, 0.9, 1.8]))
        + 0.006
    )


def grey_share(values: Values, row: int = 0, earlier: float = 0.0) -> float:
    """Return the share of hairs without pigment, in [0,1]; it follows age, from 45 on in most.

    Args:
        values: [N,1] each.
        row: of the person.
        earlier: years by which this hair is ahead.
    """
    years = float(values["age"][row, 0]) + 13.0 * float(values["hair_grey"][row, 0]) + earlier
    return along(years, (18.0, 40.0, 50.0, 60.0, 70.0, 84.0), (0.0, 0.0, 0.10, 0.36, 0.70, 1.0))


def hair_colour(values: Values, row: int = 0) -> Tensor:
    """Return the linear colour [3] of a person's hair as a whole, grey hairs among it."""
    return torch.lerp(pigment(values, row), torch.tensor(GREY), 0.9 * grey_share(values, row))


def strand_colours(own: Tensor, grey: float, draw: Tensor, vary: float = 0.2) -> Tensor:
    """Return linear colours [S,3]: a pigment [3] that varies, and grey hairs among them.

    Args:
        own: pigment's colour.
        grey: share of grey hairs.
        draw: [S,>=2], uniform in [0,1): which hairs turn grey first, and how dark each is.
        vary: greatest relative change of one hair.
    """
    # Hairs lose their pigment over years: few are black beside white ones.
    white = ((grey * 1.6 - draw[:, :1]) / 0.6).clamp(0, 1)
    tone = 1 + vary * (2 * draw[:, 1:2] - 1)
    warm = 1 + 0.10 * (draw[:, :1] - 0.5) * own.new_tensor([0.3, 0.0, -1.0]).to(draw)
    colours = own.to(draw) * warm
    return torch.lerp(colours, draw.new_tensor(GREY).expand_as(colours), white) * tone


def strand_light(light: Light, points: Tensor, ahead: Tensor, facing: Tensor) -> tuple[Tensor, Tensor]:
    """Light on hairs at Q points, for a viewer in front.

    Args:
        light: of the person.
        points: [Q,3].
        ahead: [Q,3], unit directions of the hairs.
        facing: [Q,3], about unit length: the way out of the mass of hair.

    Returns:
        What multiplies a hair's colour, and a highlight in the light's own colour, [Q,3] each.
    """
    brightness = light.radiance.mean(1)
    lit = brightness > _DIM
    directions, radiance = light.directions[lit], light.radiance[lit]
    seen = 0.06 + 0.94 * visibility(points, None, light.occluders, directions, _BIAS).T
    seen *= torch.where(directions[:, 2] < -0.2, 0.55, 1.0) * (
        (facing @ directions.T + 0.25) / 1.25
    ).clamp_min(0)
    cosine = ahead @ directions.T
    across = (1 - cosine.square()).clamp_min(0).sqrt()
    view = ahead @ ahead.new_tensor(_VIEW)
    gloss = (across * (1 - view.square()).clamp_min(0).sqrt()[:, None] - cosine * view[:, None]).clamp(0, 1)
    sixth = gloss.square() * gloss
    sixth = sixth.square()
    wide = sixth.square()
    narrow = wide.square() * wide
    body = (0.80 * across * seen + 0.40 * wide * seen) @ radiance
    return body, (0.09 * narrow * seen) @ radiance
