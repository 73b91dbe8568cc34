"""Parameters of a person: names, ranges and meanings, and their conversion to scores and to z."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from inverters.people.local_changes import LOCAL_CHANGES

Values = Mapping[str, Tensor]
"""Values of one or more people by parameter name."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a person, distributed uniformly from `low` to `high`."""

    name: str
    low: float
    high: float
    meaning: str
    group: str


def _p(name: str, meaning: str, group: str, low: float = 0.0, high: float = 1.0) -> Parameter:
    return Parameter(name, low, high, meaning, group)


PARAMETERS: tuple[Parameter, ...] = (
    _p(
        "smile",
        "corners of the mouth, from slightly down to a broad smile that shows the teeth",
        "expression",
        -0.3,
    ),
    _p("mouth_open", "jaw closed (lower half of the range) to wide open", "expression"),
    _p("blink", "eyes open (lower three quarters of the range) to fully closed", "expression"),
    _p("gaze_x", "eyes look to the image's left (-) or right (+)", "expression", -1.0),
    _p("gaze_y", "eyes look down (-) or up (+)", "expression", -1.0),
    _p("brows", "brows lowered (-) or raised (+)", "expression", -1.0),
    _p("frown", "none (lower three quarters of the range) to a frown of brows and mouth", "expression"),
    _p("surprise", "none (most of the range) to wide eyes, raised brows, dropped jaw", "expression"),
    _p("pucker", "none (most of the range) to lips pushed forward", "expression"),
    _p("squint", "none (lower three quarters of the range) to narrowed eyes", "expression"),
    _p("age", "18 to 80 years: shape, lines, spots, grey hair", "body", 18.0, 80.0),
    _p("gender", "man (lower half) to woman", "body"),
    _p("weight", "thin to heavy", "body"),
    _p("african", "share of African features against the other two", "body", -1.0),
    _p("asian", "share of Asian features against the other two", "body", -1.0),
    _p("caucasian", "share of European features against the other two", "body", -1.0),
    *(Parameter(c.name, -1.0, 1.0, c.meaning, "shape") for c in LOCAL_CHANGES),
    _p("skin", "lighter (-) or darker (+) skin than the ancestry's mean", "skin", -1.0),
    _p("blood", "pale to ruddy skin", "skin"),
    _p("skin_warmth", "cool and rosy (-) to warm and golden (+) skin", "skin", -1.0),
    _p("freckles", "none (lower two thirds of the range) to many freckles; light skin only", "skin"),
    _p("moles", "none to several moles", "skin"),
    _p("lines", "fewer (-) or more (+) lines than the age's mean", "skin", -1.0),
    _p("shine", "matt to oily skin", "skin"),
    _p("lip_colour", "pale to deep red lips; on men far weaker", "skin"),
    _p("make_up", "none (lower half of the range) to dark lids and lashes; women only", "skin"),
    _p("eye_colour", "irises from dark brown over hazel and green to blue-grey", "eyes"),
    _p("eye_shade", "light to dark irises", "eyes"),
    _p("brow_thickness", "thin to thick brows", "eyes"),
    _p("brow_darkness", "pale to dark brows", "eyes"),
    _p("hair_length", "bald or shorn, cropped, short, chin-long, below the shoulders; men's shorter", "hair"),
    _p(
        "hair_curl",
        "straight, wavy, curly, tight curls; curlier on African, straighter on Asian people",
        "hair",
    ),
    _p("hair_volume", "flat to full hair", "hair"),
    _p(
        "hair_tie", "loose (lower two thirds of the range); where it is long, a pony tail, then a bun", "hair"
    ),
    _p("hair_colour", "black, brown, fair, light blond", "hair"),
    _p("hair_red", "no red to red hair", "hair"),
    _p(
        "hair_grey",
        "less (-) or more (+) grey than the age's mean, which rises from 45 years on",
        "hair",
        -1.0,
    ),
    _p("hair_part", "parted at the image's left (-), in the middle, or at the right (+)", "hair", -1.0),
    _p("fringe", "none (lower two thirds of the range), or a fringe over the forehead", "hair"),
    _p("hairline", "low hairline to a receding one; on women never receding", "hair"),
    _p("beard", "shaven (lower third), stubble, short beard, full beard; men only", "hair"),
    _p("beard_shape", "moustache and chin alone, to cheeks as well", "hair"),
    _p(
        "glasses",
        "none (lower two thirds of the range), or glasses from thin to strong frames",
        "accessories",
    ),
    _p("glasses_shape", "round, oval, soft rectangle, rectangle, cat's eye", "accessories"),
    _p("glasses_size", "small to large lenses", "accessories"),
    _p("glasses_colour", "black, brown, metal, clear, coloured frames", "accessories"),
    _p("earrings", "none (lower two thirds of the range), studs, rings; women more often", "accessories"),
    _p("light_x", "main light from the image's left (-) or right (+)", "light", -0.9, 0.9),
    _p("light_y", "main light from level to above", "light", 0.15, 0.8),
    _p("light_soft", "hard sun to overcast", "light"),
    _p("light_warm", "blue (-) to warm (+) light", "light", -1.0),
    _p("light_strength", "dim to bright light", "light"),
    _p("clothing_cut", "round neck, V-neck, collared shirt, turtle neck, jacket, hood", "clothing"),
    _p("clothing_hue", "hue of the clothes, red over green to violet", "clothing"),
    _p("clothing_strength", "grey to colourful clothes", "clothing"),
    _p("clothing_lightness", "dark to light clothes", "clothing"),
    _p("background_hue", "hue of the backdrop, red over green to violet", "background"),
    _p("background_strength", "grey to colourful backdrop", "background"),
    _p("background_lightness", "dark to light backdrop", "background"),
    _p("background_side", "darker left (-) or right (+) half of the backdrop", "background", -1.0),
    _p("background_depth", "plain backdrop to strong, out-of-focus shapes", "background"),
    _p("background_tint", "shapes of the backdrop's own hue to shapes of other hues", "background"),
    *(
        _p(f"background_{k}", f"which shapes the backdrop has, {k} of 4", "background", -1.0)
        for k in (1, 2, 3, 4)
    ),
)
"""Every parameter, in the order of a row of scores."""

NUM_PARAMETERS = len(PARAMETERS)
_INDEX = {parameter.name: i for i, parameter in enumerate(PARAMETERS)}


def index(name: str) -> int:
    """Return the column of a parameter in a row of scores.

    Raises:
        KeyError: an unknown name; the message lists the known ones.
    """
    try:
        return _INDEX[name]
    except KeyError:
        raise KeyError(f"unknown parameter of people {name!r}; known: {', '.join(_INDEX)}") from None


def sample_scores(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw n people: standard normal scores [n,P]."""
    return torch.randn(n, NUM_PARAMETERS, generator=generator)


def to_values(scores: Tensor) -> dict[str, Tensor]:
    """Map scores [N,P] by the normal distribution function to each parameter's range; [N,1] each, by name.

    Raises:
        ValueError: scores of another shape.
    """
    if scores.ndim != 2 or scores.shape[1] != NUM_PARAMETERS:
        raise ValueError(f"scores must be [N,{NUM_PARAMETERS}], not {list(scores.shape)}")
    unit = 0.5 * (1.0 + torch.erf(scores / math.sqrt(2.0)))
    return {p.name: p.low + (p.high - p.low) * unit[:, i : i + 1] for i, p in enumerate(PARAMETERS)}


def to_scores(values: Values) -> Tensor:
    """Return the scores [N,P] of values, the inverse of `to_values`; an end of a range gives about +-5.

    Raises:
        KeyError: a parameter is missing, or a name is unknown; the message lists the known ones.
        ValueError: a value is outside its range, which the message states.
    """
    for name in values:
        index(name)
    if missing := [p.name for p in PARAMETERS if p.name not in values]:
        raise KeyError(f"values of people lack {', '.join(missing)}")
    columns = []
    for p in PARAMETERS:
        value = values[p.name]
        slack = 1e-4 * (p.high - p.low)
        if not bool(((value >= p.low - slack) & (value <= p.high + slack)).all()):
            raise ValueError(f"{p.name} goes from {p.low:g} to {p.high:g}, not {value.flatten().tolist()}")
        unit = (value - p.low) / (p.high - p.low)
        columns.append(math.sqrt(2.0) * torch.erfinv((2.0 * unit - 1.0).clamp(-1 + 5e-7, 1 - 5e-7)))
    return torch.cat(columns, dim=1)


def to_z(scores: Tensor, z_dim: int = 512) -> Tensor:
    """Return the generator's input [N,z_dim] for scores [N,P]: the scores, then ones.

    Raises:
        ValueError: z_dim is less than P.
    """
    if z_dim < scores.shape[1]:
        raise ValueError(f"z_dim {z_dim} cannot hold {scores.shape[1]} parameters")
    return torch.cat([scores, scores.new_ones(scores.shape[0], z_dim - scores.shape[1])], dim=1)
