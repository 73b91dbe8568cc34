"""Collars, bands, rolls, hoods and lapels: smooth strips over the chart around an opening."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from inverters.people.ramps import rise
from inverters.people.wear.chart import Chart
from inverters.people.wear.piece import ellipsoid, grid, merged, tube

Surface = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Draped:
    """Cloth on a person's torso and the chart around its opening, both at hand for strips."""

    chart: Chart
    points: Tensor
    """[J*SAMPLES,3]: the cloth's ground along the chart."""
    normals: Tensor

    def strip(self, around: Tensor, distance: Tensor, lift: Tensor, closed: bool) -> Surface:
        """Return the surface at these places, [S,K] each: S outwards from the neck, K along the strip.

        lift: distance from the ground along its normals.
        """
        base = self.chart.place(self.points, around, distance)
        normal = torch.nn.functional.normalize(self.chart.place(self.normals, around, distance), dim=-1)
        return grid(base + lift[..., None] * normal, (False, closed))


def _line(device: torch.device, *values: float) -> Tensor:
    return torch.tensor(values, device=device)[:, None]


def _ring(device: torch.device, columns: int) -> Tensor:
    return (torch.arange(columns, device=device) * (2 / columns))[None]


def band(
    on: Draped, width: float, thickness: float, under: float, columns: int = 480
) -> tuple[Surface, Tensor]:
    """Return a knitted band around an opening, and a factor of its albedo [V] with ribs across it.

    Args:
        on: the cloth.
        width: of the band.
        thickness: how far it stands above the cloth.
        under: how far the cloth stands above the skin.
        columns: vertices along the band.
    """
    device = on.points.device
    across = _line(device, -0.05, -0.06, -0.03, 0.05, 0.2, 0.5, 0.8, 0.93, 1.0, 1.03) * width
    lift = _line(device, -1.0, -0.2, 0.45, 0.85, 1.0, 1.05, 1.0, 0.8, 0.3, -0.6)
    lift = torch.where(lift < 0, lift * (under + 0.016), lift * thickness)
    around = _ring(device, columns).expand(len(across), -1)
    surface = on.strip(around, across.expand_as(around), lift.expand_as(around), True)
    ribs = 1 - 0.10 * torch.cos(torch.pi * 60 * 2 * around).clamp(-0.4, 1)
    edge = 1 - 0.25 * _line(device, 1, 0.7, 0.2, 0, 0, 0, 0, 0, 0.3, 1)
    return surface, (ribs * edge).flatten()


def roll(
    on: Draped, height: float, thickness: float, under: float, columns: int = 480
) -> tuple[Surface, Tensor]:
    """Return the turned-down collar of a turtle neck, and a factor of its albedo [V] with ribs."""
    device = on.points.device
    across = _line(device, 0.18, 0.02, -0.02, 0.0, 0.10, 0.35, 0.65, 0.9, 0.99, 1.0, 0.93) * height
    lift = _line(device, -0.55, -0.3, 0.35, 0.85, 1.0, 1.04, 1.06, 1.0, 0.7, 0.2, -0.2)
    lift = torch.where(lift < 0, lift * under * 3.5, lift * thickness)
    around = _ring(device, columns).expand(len(across), -1)
    # The roll sits a little unevenly.
    wave = 1 + 0.07 * torch.sin(torch.pi * (3 * around + 0.3)) + 0.05 * torch.sin(torch.pi * (5 * around + 1))
    distance = torch.where(across > 0.3 * height, across * wave, across.expand_as(around))
    surface = on.strip(around, distance, lift * (0.9 + 0.1 * wave), True)
    ribs = 1 - 0.12 * torch.cos(torch.pi * 72 * 2 * around).clamp(-0.4, 1)
    edge = 1 - 0.3 * _line(device, 1, 0.8, 0.2, 0, 0, 0, 0, 0, 0.2, 0.7, 1)
    return surface, (ribs * edge).flatten()


def fold_collar(
    on: Draped, stand: float, back: float, point: float, start: float, spread: float, columns: int = 160
) -> tuple[Surface, Tensor]:
    """Return a shirt's collar, which stands up around the neck and turns down, and a factor of its albedo.

    Args:
        on: the cloth.
        stand: height of the stand.
        back: width of the turned-down part behind.
        point: its width at the points in front.
        start: where the collar begins beside the opening's front, in [0,1].
        spread: how far the points lie from the front, in the same unit.
        columns: vertices along the collar.
    """
    device = on.points.device
    s = torch.linspace(-1, 1, columns, device=device)
    along = (1 + s * (1 - start))[None]
    front = rise(s.abs(), 0.62, 1.0)[None]
    leaf = back + (point - back) * front**1.5
    inner = _line(device, 0.012, 0.0, -0.45, -0.9, -1.02, -1.0)
    outer = _line(device, -0.8, -0.4, 0.0)
    fall = _line(device, 0.25, 0.5, 0.75, 0.93, 1.0, 1.0, 0.94)
    low = stand * (1 - 0.35 * front) * (1 - 0.85 * rise(s.abs(), 0.93, 1.0)[None])
    distance = torch.cat([inner * low, outer * low, fall * leaf])
    lift_in = _line(device, -0.030, -0.002, 0.005, 0.008, 0.012, 0.017).expand(-1, columns)
    lift_out = _line(device, 0.021, 0.024, 0.025).expand(-1, columns)
    lift_fall = _line(device, 0.023, 0.020, 0.0165, 0.0145, 0.0125, 0.0085, 0.0065).expand(-1, columns)
    lift = torch.cat([lift_in, lift_out, lift_fall])
    # The points spread away from the opening towards their tips.
    share = (distance / point).clamp(0, 1)
    away = spread * share * front
    surface = on.strip(along - away * s.sign()[None], distance, lift, False)
    seam = torch.ones_like(distance)
    seam[-4] = 0.86
    seam[:2] = 0.6
    seam[-2:] = 0.7
    return surface, seam.flatten()


def hood(on: Draped, columns: int = 200) -> tuple[Surface, Tensor]:
    """Return a hood that lies on the shoulders behind the neck, and a factor of its albedo."""
    device = on.points.device
    around = _ring(device, columns)
    behind = 0.5 - 0.5 * torch.cos(torch.pi * around)
    full = behind**0.7
    width = 0.045 + 0.062 * full + 0.004 * torch.sin(torch.pi * 7 * around)
    height = 0.016 + 0.050 * full
    turn = torch.linspace(-0.15, 1.12, 18, device=device)[:, None] * math.pi
    across = 0.5 - 0.5 * torch.cos(turn.clamp(0, math.pi)) + 0.06 * torch.sin(turn * 2) * (1 - turn / math.pi)
    lift = torch.sin(turn) * height
    lean = -0.022 * full * torch.sin(turn.clamp(0, math.pi))
    distance = across * width + lean + 0.012 * (turn < 0)
    crease = 1 + 0.16 * torch.sin(torch.pi * (9 * around + 0.4 * torch.cos(3 * turn))) * torch.sin(
        turn.clamp(0, math.pi)
    )
    surface = on.strip(around.expand(18, -1), distance, lift * crease, True)
    shade = (1 - 0.35 * rise(-turn, -0.5, 0.3)).expand(-1, columns)
    return surface, shade.flatten()


def buttons(on: Draped, distances: Tensor) -> Surface:
    """Return buttons in the middle of the front at these distances from the opening, one surface."""
    place = torch.zeros_like(distances), distances
    centre = on.chart.place(on.points, *place)
    normal = torch.nn.functional.normalize(on.chart.place(on.normals, *place), dim=-1)
    up = centre.new_tensor([0.0, 1.0, 0.0]) - normal * normal[:, 1:2]
    up = torch.nn.functional.normalize(up, dim=-1)
    side = torch.linalg.cross(up, normal)
    return merged(
        [
            ellipsoid(c + 0.0025 * n, torch.stack([0.0105 * u, 0.0105 * v, 0.0032 * n]), 6, 12)
            for c, n, u, v in zip(centre, normal, up, side, strict=True)
        ]
    )


def cord(on: Draped, side: float) -> list[Surface]:
    """Return a cord that hangs from a hood, and its end; side -1 or 1."""
    k = torch.linspace(0, 1, 14, device=on.points.device)
    around, distance = side * (0.055 + 0.012 * k), 0.028 + 0.09 * k
    normal = torch.nn.functional.normalize(on.chart.place(on.normals, around, distance), dim=-1)
    path = on.chart.place(on.points, around, distance) + 0.007 * normal
    round_ = path.new_tensor([[0.0045, 0.0045]])
    return [tube(path, round_, normal, 6), ellipsoid(path[-1], 0.006 * torch.eye(3, device=path.device))]


def lapels(on: Draped, width: float, columns: int = 260) -> tuple[Surface, Tensor]:
    """Return the collar and lapels of a jacket as one strip with notches, and a factor of its albedo."""
    device = on.points.device
    s = torch.linspace(-1, 1, columns, device=device)
    around = (1 + s * 0.998)[None]
    far = s.abs()[None]
    # From behind: the collar, a notch at the clavicle, the lapel, which ends in a point at the button.
    collar = 0.040 + 0.020 * rise(far, 0.25, 0.45)
    lapel = 0.006 + (width - 0.006) * ((0.985 - far) / (0.985 - 0.53)).clamp(0, 1)
    is_lapel = rise(far, 0.515, 0.53)
    notch = 1 - 0.5 * torch.exp(-(((far - 0.512) / 0.010) ** 2))
    wide = (collar * (1 - is_lapel) + lapel * is_lapel) * notch
    across = _line(device, 0.02, -0.02, -0.04, 0.03, 0.2, 0.45, 0.7, 0.9, 0.98, 1.0, 0.95)
    lift = _line(device, -0.012, -0.003, 0.006, 0.011, 0.012, 0.0115, 0.010, 0.0085, 0.006, 0.002, -0.003)
    stand = 0.012 * (1 - rise(far, 0.35, 0.6))
    distance = across * wide - stand * (1 - across.clamp(0, 1))
    # The lapel's upper edge points up and out, as the collar's end does.
    lean = s.sign()[None] * across.clamp_min(0) * (0.035 * is_lapel * (1 - rise(far, 0.6, 0.9)) + 0.012)
    surface = on.strip(around + lean, distance, lift.expand(-1, columns), False)
    shade = torch.ones_like(distance)
    shade[-2:] = 0.75
    return surface, shade.flatten()
