"""Colours, patterns and folds of cloth."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from inverters.people.light import linear
from inverters.people.noise import noise
from inverters.people.params import Values
from inverters.people.ramps import rise
from inverters.people.wear.cuts import ground
from inverters.people.wear.torso import torso


@dataclass(frozen=True)
class Dye:
    """Colours of a garment, linear albedo [3] each."""

    main: Tensor
    second: Tensor
    """Of stripes, checks and trims."""
    pale: Tensor
    """Of a shirt below a jacket."""


def hsv(hue: float, strength: float, lightness: float) -> Tensor:
    """Return the linear albedo [3] of a display colour given as hue, saturation and value in [0,1]."""
    return linear(torch.tensor(colorsys.hsv_to_rgb(hue, strength, lightness)))


def dye(values: Values, row: int) -> Dye:
    """Return the colours of a person's clothes."""
    hue, strength, lightness = (
        float(values[f"clothing_{n}"][row, 0]) for n in ("hue", "strength", "lightness")
    )
    strength = 0.78 * strength**1.3
    # Light cloth is paler than dark cloth of the same dye.
    main = hsv(hue, strength * (1 - 0.35 * lightness), 0.10 + 0.78 * lightness)
    other = (lightness + 0.45) % 1.0 if lightness < 0.55 else lightness - 0.45
    second = hsv((hue + 0.06) % 1, 0.6 * strength, 0.10 + 0.78 * other)
    pale = hsv((hue + 0.5) % 1, 0.12 * strength, 0.86 - 0.1 * strength)
    return Dye(main, second, pale)


@cache
def weave(device: str, name: str, over: str = "") -> tuple[Tensor, Tensor, Tensor]:
    """Return fields [V] of a garment's cloth: fine grain (deviation 1), soft blotches, and a fine knit."""
    c = ground(device, name, over).sheet.canonical
    grain = 2 * noise(c * c.new_tensor([1.0, 0.7, 1.0]), 110, 11)
    blotch = 2 * noise(c, 10, 12)
    knit = torch.sin(c[:, 1] * 420 + 1.5 * torch.sin(c[:, 0] * 300))
    return grain, blotch, knit


@cache
def folds(device: str) -> Tensor:
    """Return how cloth rises and falls over the torso, [n1], about 0 and within 1.

    Folds hang from the shoulders: narrow across, long downwards, and weak on the shoulders themselves.
    """
    c = torso(device).canonical1
    turn = torch.stack([c[:, 0] + 0.25 * c[:, 1] * c[:, 0].sign(), 0.28 * c[:, 1], 0.8 * c[:, 2]], 1)
    bent = turn + 0.06 * torch.stack([noise(c, 3, 21), noise(c, 3, 22), noise(c, 3, 23)], 1)
    wave = 2 * noise(bent, 13, 24)
    ridge = 1 - 1.6 * (wave * 0.7).abs().clamp_max(1.0)
    hang = rise(-c[:, 1], 0.30, 0.42)
    return ridge * (0.25 + 0.75 * hang) + noise(c, 5, 25)


def placket(canonical: Tensor, border: Tensor) -> Tensor:
    """Return a factor of a shirt's albedo [V]: seams beside the buttons and along the opening."""
    x, _, z = canonical.unbind(1)
    seam = torch.exp(-(((x.abs() - 0.026) / 0.004) ** 2)) * rise(z, -0.12, -0.08)
    hem = torch.exp(-(((border - 0.012) / 0.003) ** 2)) + rise(-border, -0.003, 0.0)
    return 1 - 0.20 * seam - 0.18 * hem


def panel(canonical: Tensor) -> Tensor:
    """Return the height within the cloth's panels, [V]: level in front, along the shoulders above."""
    x, y, z = canonical.unbind(1)
    far = x.abs()
    ridge = -0.245 - 0.085 * rise(far, 0.03, 0.30) - 0.15 * (far - 0.30).clamp_min(0)
    below = y - ridge - 0.15 * ((z + 0.09) ** 2 + 0.0004).sqrt()
    level = rise(-below, 0.0, 0.22)
    return (below - 0.29) * (1 - level) + y * level


def stripes(canonical: Tensor, period: float, share: float) -> Tensor:
    """Return 1 within level stripes and 0 between, [V], a little soft."""
    at = torch.remainder(panel(canonical) / period, 1.0)
    return rise(0.5 - (at - 0.5).abs(), 0.5 - share / 2 - 0.06, 0.5 - share / 2 + 0.06)


def checks(canonical: Tensor, period: float) -> Tensor:
    """Return a check of level and upright bands, 0, 0.5 or 1, [V]."""
    across = torch.remainder(canonical[:, 0] / period + 0.5, 1.0)
    level = stripes(canonical, period, 0.45)
    return 0.5 * level + 0.5 * rise(0.5 - (across - 0.5).abs(), 0.22, 0.34)
