"""Parameters of a procedural head: names, ranges and meanings, and their conversion to scores and to z."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Parameter:
    """A parameter of a head, distributed uniformly from `low` to `high`."""

    name: str
    low: float
    high: float
    meaning: str
    group: str


def _p(name: str, meaning: str, group: str, low: float = 0.0, high: float = 1.0) -> Parameter:
    return Parameter(name, low, high, meaning, group)


PARAMETERS: tuple[Parameter, ...] = (
    _p("smile", "corners of the mouth, from slightly down to a broad smile", "expression", -0.35, 1.0),
    _p("mouth_open", "lips closed (lower half of the range) to wide open", "expression"),
    _p("blink", "eyes open (most of the range) to fully closed", "expression"),
    _p("gaze_x", "eyes look to the image's left (-) or right (+)", "expression", -0.35, 0.35),
    _p("gaze_y", "eyes look down (-) or up (+)", "expression", -0.22, 0.22),
    _p("brow_height", "brows lowered (-) or raised (+)", "expression", -1.0, 1.0),
    _p("brow_tilt", "brows worried (-) or stern (+)", "expression", -1.0, 1.0),
    _p("face_width", "scale of the head in x", "shape", 0.94, 1.06),
    _p("face_height", "scale of the head in y", "shape", 0.95, 1.05),
    _p("jaw", "narrow to wide jaw", "shape"),
    _p("chin", "small to long, strong chin", "shape"),
    _p("cheeks", "flat to full cheeks", "shape"),
    _p("nose_length", "short to long nose", "shape"),
    _p("nose_width", "slim to broad nose", "shape"),
    _p("nose_bridge", "low to high bridge of the nose", "shape"),
    _p("lips", "thin to full lips", "shape"),
    _p("mouth_width", "narrow to wide mouth", "shape"),
    _p("eye_size", "small to large eyes", "shape"),
    _p("eye_distance", "eyes close together to far apart", "shape"),
    _p("eye_tilt", "outer corners of the eyes down (-) or up (+)", "shape", -1.0, 1.0),
    _p("ear_size", "small to large ears", "shape"),
    _p("brow_thickness", "thin to thick brows", "shape"),
    _p("age", "young to old: lines, folds, grey hair", "shape"),
    _p("skin", "dark to light skin", "colour"),
    _p("skin_warmth", "cool and rosy to warm and golden skin", "colour"),
    _p("eye_color", "irises from dark brown over hazel and green to blue-grey", "colour"),
    _p("hair_color", "black, brown, auburn, blond, platinum", "colour"),
    _p("hair_length", "cropped to below the shoulders", "hair"),
    _p("hair_volume", "bald (lowest part) over flat to full hair", "hair"),
    _p("fringe", "high hairline to a fringe over the forehead", "hair"),
    _p("hair_part", "hair swept to the image's left (-) or right (+)", "hair", -1.0, 1.0),
    _p("hair_wave", "smooth to wavy hair", "hair"),
    _p("beard", "clean shaven (lower half), stubble, full beard", "hair"),
    _p("glasses", "none (lower half), growing into strong glasses", "accessories"),
    _p("light_x", "main light from the image's left (-) or right (+)", "light", -0.8, 0.8),
    _p("light_y", "main light from level to above", "light", 0.1, 0.9),
    _p("clothing_hue", "hue of the clothes, red over green to violet", "clothing"),
    _p("clothing_lightness", "dark to light clothes", "clothing"),
    _p("background_hue", "hue of the backdrop, red over green to violet", "background"),
    _p("background_lightness", "dark to light backdrop", "background"),
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
        raise KeyError(f"unknown head parameter {name!r}; known: {', '.join(_INDEX)}") from None


def sample_scores(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw n heads: standard normal scores [n,P]."""
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


def to_scores(values: Mapping[str, Tensor]) -> Tensor:
    """Return the scores [N,P] of values, the inverse of `to_values`; an end of a range gives about +-5."""
    columns = []
    for p in PARAMETERS:
        unit = (values[p.name] - p.low) / (p.high - p.low)
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
