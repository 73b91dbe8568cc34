"""The colour of skin: melanin and blood by place, lips, make-up, beard shadow, scalp."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from inverters.people.body import Body, ancestry_of, gender_of
from inverters.people.params import Values
from inverters.people.ramps import ramp_of
from inverters.people.skin.marks import melanin_of_marks
from inverters.people.skin.places import Places, places

_BARE = (0.81, 0.588, 0.452)
_WARMTH = (0.01, 0.0, -0.10)
_MELANIN = (0.72, 0.92, 1.08)
_BLOOD = (0.08, 0.75, 0.62)
"""Reflectance of skin without melanin and blood; what warmth adds to its logarithm; absorption by both."""


@dataclass(frozen=True)
class Complexion:
    """What a person's skin is, in numbers."""

    melanin: float
    """0.1 in the fairest to 2.4 in the darkest."""
    blood: float
    warmth: float
    years: float
    aged: float
    """0 at 28 years or less to 1 at 76."""
    man: float
    """1 for a man, 0 for a woman."""
    lip_colour: float
    make_up: float
    """0 for none, and on all men."""
    shadow: float
    """How dark the roots of the beard make the skin, in [0,1]."""


def complexion(values: Values, row: int) -> Complexion:
    """Return the numbers of a person's skin."""

    def value(name: str) -> float:
        return float(values[name][row, 0])

    african, asian, european = ancestry_of(values, row).tolist()
    mean = 1.9 * african + 0.40 * asian + 0.13 * european
    melanin = min(2.4, (mean + 0.06) * math.exp(0.42 * value("skin")))
    woman = gender_of(values, row)
    man = min(1.0, max(0.0, (0.75 - woman) / 0.5))
    beard = value("beard")
    roots = 0.13 + 0.30 * ramp_of(beard, 0.30, 0.45) + 0.12 * ramp_of(beard, 0.45, 0.7)
    fair = european * (0.55 * ramp_of(value("hair_colour"), 0.45, 1.0) + 0.2 * value("hair_red"))
    grey = ramp_of(value("age") + 14 * value("hair_grey"), 45, 78)
    return Complexion(
        melanin=melanin,
        blood=0.06 + 0.17 * value("blood") - 0.03 * value("skin_warmth"),
        warmth=value("skin_warmth"),
        years=value("age"),
        aged=ramp_of(value("age"), 28, 76),
        man=man,
        lip_colour=value("lip_colour") * (1 - 0.85 * man),
        make_up=ramp_of(value("make_up"), 0.5, 1.0) * (1 - man),
        shadow=man * roots * (1 - fair) * (1 - 0.75 * grey),
    )


def reflectance(skin: Complexion) -> Tensor:
    """Return the mean colour [3] of skin, linear."""
    bare, warmth = torch.tensor(_BARE), skin.warmth * torch.tensor(_WARMTH)
    return bare * torch.exp(
        warmth - skin.melanin * torch.tensor(_MELANIN) - skin.blood * torch.tensor(_BLOOD)
    )


def albedo(
    values: Values, row: int, mesh: Body, cover: Tensor | None = None, hair: Tensor | None = None
) -> Tensor:
    """Return the share of light [V2,3] that skin reflects, lips and what is painted on it included.

    Args:
        values: [N,1] by parameter name.
        row: the person's.
        mesh: its level 2 is painted.
        cover: [V2] in [0,1], share of the skin under hair of the head; None: none.
        hair: [3], the reflectance of that hair; None: dark brown.
    """
    at, skin = places(mesh), complexion(values, row)
    extra = melanin_of_marks(values, row, mesh, skin.melanin)
    melanin = _melanin(at, skin) + extra
    blood = _blood(at, skin)
    bare = blood.new_tensor([b * math.exp(k * skin.warmth) for b, k in zip(_BARE, _WARMTH, strict=True)])
    absorbed = melanin[:, None] * blood.new_tensor(_MELANIN) + blood[:, None] * blood.new_tensor(_BLOOD)
    colour = bare * torch.exp(-absorbed)
    colour = colour * (1 + 0.035 * at.pore + 0.025 * at.fine)[:, None]
    colour = _with_beard(colour, at, skin)
    colour = _with_make_up(colour, at, skin)
    colour = torch.lerp(colour, _lips(colour, at, skin), at.lips[:, None])
    if cover is not None:
        below = hair if hair is not None else colour.new_tensor([0.05, 0.035, 0.025])
        colour = torch.lerp(colour, below.to(colour) * 0.35 + 0.12 * colour, (0.85 * cover)[:, None])
    return colour


def _melanin(at: Places, skin: Complexion) -> Tensor:
    m, a = skin.melanin, skin.aged
    root = math.sqrt(m)
    relative = (
        0.10 * at.broad
        + (0.03 + 0.03 * a) * at.blotch
        + 0.018 * at.mottle
        + (0.05 + 0.08 * a) * at.mottle * at.neck
    )
    relative = (
        relative - 0.10 * at.cheek - 0.05 * at.nose + 0.09 * at.forehead + 0.12 * at.neck + 0.06 * at.chin
    )
    shade = (0.09 + 0.10 * a) * at.under_eye + 0.10 * at.socket + 0.08 * at.wings + 0.05 * at.neck
    shade = shade + 0.16 * at.lids * (1 - 0.5 * at.lash_line) + 0.20 * at.brow
    # Dark skin is no more uneven than light skin.
    even = 1 / (0.75 + 0.45 * m)
    return (m * (1 + even * relative) + root * shade + 0.02 * a * at.blotch).clamp_min(0.02)


def _blood(at: Places, skin: Complexion) -> Tensor:
    h, a = skin.blood, skin.aged
    flush = 0.55 + 2.6 * h
    blood = h * (1 + (0.14 + 0.14 * a) * at.blotch + (0.08 + 0.08 * a) * at.mottle + 0.20 * at.broad)
    blood = blood + flush * (
        0.24 * at.cheek * (1 + (0.12 + 0.2 * a) * at.mottle + 0.15 * at.blotch)
        + 0.30 * at.nose
        + 0.20 * at.wings
        + 0.17 * at.ears
        + 0.10 * at.chin
        + 0.10 * at.lids
        + 0.07 * at.under_eye
        + 0.07 * at.neck
    )
    blood = blood + 0.34 * at.inner_corner + 0.45 * at.lash_line * (1 - 0.6 * skin.make_up)
    # Burst vessels of old cheeks and noses.
    burst = a * at.vein * (at.cheek + 0.8 * at.nose + 0.6 * at.wings)
    return (blood + 0.22 * burst - 0.06 * at.forehead).clamp_min(0.0)


def _with_beard(colour: Tensor, at: Places, skin: Complexion) -> Tensor:
    """Roots of hair in the skin: blue-grey on light skin."""
    if skin.shadow <= 0:
        return colour
    dense = (at.beard * (0.88 + 0.18 * at.fine + 0.14 * at.pore)).clamp(0, 1.2)
    dark = min(1.0, skin.melanin / 1.4)
    tint = [0.95 - 0.11 * dark, 0.84, 0.74 + 0.07 * dark]
    return colour * (1 - skin.shadow * dense[:, None] * colour.new_tensor(tint))


def _with_make_up(colour: Tensor, at: Places, skin: Complexion) -> Tensor:
    """Shadow on the lids, a line along the lashes, a breath of rouge."""
    if skin.make_up <= 0:
        return colour
    lid = (at.lids + 0.5 * at.socket).clamp(0, 1)[:, None] * skin.make_up
    colour = colour * (1 - 0.52 * lid * colour.new_tensor([0.85, 1.0, 0.95]))
    colour = colour * (1 - 0.75 * skin.make_up * at.lash_line[:, None])
    return colour * torch.exp(-0.16 * skin.make_up * at.cheek[:, None] * colour.new_tensor(_BLOOD))


def _lips(colour: Tensor, at: Places, skin: Complexion) -> Tensor:
    """The lips: the skin's colour with more blood; painted ones redder."""
    dark = min(1.0, skin.melanin / 1.6)
    own = [p + (q - p) * dark for p, q in ((0.88, 0.90), (0.56, 0.66), (0.60, 0.68))]
    lips = colour * colour.new_tensor(own) * (1 - 0.10 * skin.aged)
    pale = (0.10 + 0.16 * dark) * at.lower_lip
    lips = lips * (1 + pale[:, None] * colour.new_tensor([1.0, 0.75, 0.75]))
    paint = colour.new_tensor([0.40, 0.055, 0.075]) * (0.5 + 0.6 * math.exp(-skin.melanin))
    red = 0.72 * skin.lip_colour * (0.55 + 0.45 * skin.make_up)
    return torch.lerp(lips, paint.expand_as(lips), red)
