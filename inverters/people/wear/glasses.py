"""Glasses: frames of five shapes fitted to the nose, the eyes and the ears, and lenses with a reflection."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from inverters.people.labels import GLASSES
from inverters.people.light import Light
from inverters.people.noise import noise
from inverters.people.params import Values
from inverters.people.parts import Mesh
from inverters.people.ramps import rise
from inverters.people.wear.fabric import hsv
from inverters.people.wear.head import Head
from inverters.people.wear.piece import Piece, ellipsoid, grid, merged, tube

THRESHOLD = 2 / 3
"""People below it wear none."""
_RIM, _RINGS = 64, 26
_SHAPES = (
    # half width, half height, exponent, wider above, outer corner raised, bottom rounder
    (0.0510, 0.0490, 2.0, 0.00, 0.000, 0.0),
    (0.0570, 0.0420, 2.15, 0.00, 0.000, 0.0),
    (0.0575, 0.0450, 3.0, 0.07, 0.003, 0.4),
    (0.0600, 0.0385, 4.6, 0.03, 0.001, 0.2),
    (0.0585, 0.0420, 2.5, 0.09, 0.016, 0.7),
)
_WRAP, _TILT = 0.75, 0.14
_PADS = 0.55
"""Stronger frames sit on the nose without pads."""


@dataclass(frozen=True)
class Style:
    """How a pair of glasses looks."""

    strength: float
    """0 for the thinnest wire to 1 for the strongest frame."""
    outline: tuple[float, ...]
    """As in `_SHAPES`, in world units."""
    albedo: tuple[Tensor, Tensor]
    """Of the frame and of its pattern, linear [3]."""
    gloss: float
    tint: float
    """Share of the light that the lenses take."""


@dataclass(frozen=True)
class Glasses:
    """A pair of glasses on a person."""

    frame: Piece
    lenses: tuple[Tensor, Tensor, Tensor]
    """Vertices, normals, triangles."""
    places: Tensor
    """[V,2]: where the lenses' vertices lie within the lens, x and y, the rim at about 1."""
    style: Style

    def glass(self, light: Light) -> Mesh:
        """Return the lenses with what they reflect, which is the same for all cameras."""
        vertices, _, triangles = self.lenses
        labels = torch.full((len(triangles),), GLASSES, dtype=torch.uint8, device=vertices.device)
        return Mesh(vertices, reflection(self.places, self.style, light.key), triangles, labels, True)

    def shadows(self) -> Tensor:
        """Return points that cast shadows; those of thin frames lie behind them, where they shade less."""
        back = 0.022 * (1 - min(1.0, 0.25 + self.style.strength))
        return self.frame.vertices - self.frame.vertices.new_tensor([0.0, 0.0, back])


def style_of(values: Values, row: int = 0) -> Style | None:
    """Return the glasses of a person, or None."""
    amount, shape, size, colour = (
        float(values[n][row, 0]) for n in ("glasses", "glasses_shape", "glasses_size", "glasses_colour")
    )
    strength = (amount - THRESHOLD) / (1 - THRESHOLD)
    if strength <= 0:
        return None
    place = min(shape * 4, 3.999)
    k, t = int(place), place - int(place)
    t = t * t * (3 - 2 * t)
    outline = [a * (1 - t) + b * t for a, b in zip(_SHAPES[k], _SHAPES[k + 1], strict=True)]
    scale = 0.88 + 0.24 * size
    outline[0], outline[1], outline[4] = outline[0] * scale, outline[1] * scale, outline[4] * scale
    albedo, gloss = _frame_colour(colour, float(values["clothing_hue"][row, 0]))
    tint = 0.03 + 0.32 * float(rise(torch.tensor(colour), 0.86, 0.97))
    return Style(strength, tuple(outline), albedo, gloss, tint)


def _frame_colour(colour: float, hue: float) -> tuple[tuple[Tensor, Tensor], float]:
    """Albedo of frame and pattern, and gloss: black, brown, metal, clear, coloured."""
    own = hsv((hue + 0.45) % 1, 0.75, 0.38)
    anchors = (
        (torch.full((3,), 0.008), torch.full((3,), 0.008), 0.28),
        (torch.tensor([0.050, 0.020, 0.009]), torch.tensor([0.26, 0.11, 0.032]), 0.55),
        (torch.tensor([0.34, 0.29, 0.20]), torch.tensor([0.34, 0.29, 0.20]), 1.0),
        (torch.tensor([0.62, 0.58, 0.54]), torch.tensor([0.70, 0.68, 0.66]), 0.7),
        (own, own, 0.55),
    )
    place = min(colour * 5 - 0.5, 3.999)
    if place <= 0:
        return anchors[0][:2], anchors[0][2]
    k = int(place)
    t = float(rise(torch.tensor(place - k), 0.35, 0.65))
    (a, b, c), (d, e, f) = anchors[k], anchors[k + 1]
    return (a + (d - a) * t, b + (e - b) * t), c + (f - c) * t


def glasses(values: Values, row: int, head: Head) -> Glasses | None:
    """Return the glasses that a person wears, or None."""
    style = style_of(values, row)
    if style is None:
        return None
    return _Fit(style, head).made()


class _Fit:
    """A pair of glasses as it sits on a head."""

    def __init__(self, style: Style, head: Head) -> None:
        self.style, self.head = style, head
        device = head.points.device
        left, right = head.eyes
        spacing = float(right[0] - left[0]) / 2
        self.level = float(left[1] + right[1]) / 2 - 0.006
        wide = float(head.side(torch.tensor([[self.level + 0.02, 0.06]], device=device)))
        s = min(max(wide / 0.165, 0.88), 1.15) ** 0.8
        self.a, self.b = style.outline[0] * s, style.outline[1] * s
        self.lift = style.outline[4] * s
        self.w = 0.0008 + 0.0048 * style.strength
        self.d = 0.0012 + 0.0034 * style.strength
        self.middle = max(spacing * 1.03, self.a + self.w + 0.0125)
        turn = torch.arange(_RIM, device=device) * (2 * torch.pi / _RIM)
        self.turn = turn
        self.rim = self._outline(turn)
        self.forward = self._forward()

    def _outline(self, turn: Tensor) -> Tensor:
        """Outline [K,2] of a lens about its centre, x away from the nose."""
        _, _, power, taper, _, blunt = self.style.outline
        c, s = torch.cos(turn), torch.sin(turn)
        # The lower half of many shapes is rounder than the upper.
        p = power + (2.0 - power) * blunt * rise(-s, 0.0, 0.6)
        # A raised outer corner is a pointed one.
        p = p + 160 * self.lift * torch.exp(-(((turn - 0.55) / 0.40) ** 2))
        size = (c.abs() ** p + s.abs() ** p) ** (-1 / p)
        x, y = size * c, size * s
        raised = self.lift * (0.45 * x + 0.55 * x**3) * (0.3 + 0.7 * rise(y, -0.8, 0.6))
        return torch.stack([self.a * x * (1 + taper * y), self.b * y + raised], 1)

    def sheet(self, x: Tensor, y: Tensor) -> Tensor:
        """Depth of the glasses at x, y, less `forward`."""
        return -_WRAP * x * x + _TILT * (y - self.level)

    def _forward(self) -> float:
        """How far forward the glasses must sit to clear the face."""
        rim = self.rim[::3]
        shares = ((1.06, 0.006 + self.d), (0.7, 0.016), (0.35, 0.016), (0.02, 0.020))
        at = torch.cat([rim * share for share, _ in shares]) + rim.new_tensor([self.middle, self.level])
        clear = torch.cat([rim.new_full((len(rim),), c) for _, c in shares])
        # People's faces are as good as symmetric: one side is enough.
        return float((self.head.front(at) + clear - self.sheet(at[:, 0], at[:, 1])).amax())

    def place(self, x: Tensor, y: Tensor, ahead: Tensor | float = 0.0) -> Tensor:
        """Return points [...,3] of the glasses' front at x, y."""
        return torch.stack([x, y, self.forward + self.sheet(x, y) + ahead], -1)

    def made(self) -> Glasses:
        surfaces = [self._bridge()]
        for side in (-1.0, 1.0):
            surfaces += [self._rim(side), self._temple(side)]
            if self.style.strength < _PADS:
                surfaces += self._pad(side)
        vertices, normals, triangles = merged(surfaces)
        pattern = rise(2 * noise(vertices, 53, 31), -0.2, 0.9)[:, None]
        first, second = (x.to(vertices) for x in self.style.albedo)
        gloss = vertices.new_full((len(vertices),), self.style.gloss)
        frame = Piece(vertices, normals, first + (second - first) * pattern, gloss, triangles, GLASSES)
        lenses = [self._lens(side) for side in (-1.0, 1.0)]
        places = torch.cat([p for _, p in lenses])
        return Glasses(frame, merged([s for s, _ in lenses]), places, self.style)

    def _rim(self, side: float) -> tuple[Tensor, Tensor, Tensor]:
        x, y = self.middle + self.rim[:, 0], self.level + self.rim[:, 1]
        path = self.place(side * x, y)
        centre = self.place(path.new_tensor(side * self.middle), path.new_tensor(self.level))
        top = rise(torch.sin(self.turn), -0.2, 0.8) * self.style.strength
        across = torch.stack([self.w * (0.85 + 0.45 * top), torch.full_like(top, self.d)], 1)
        path, across = (path, across) if side > 0 else (path.flip(0), across.flip(0))
        return tube(path, across, path - centre, 12, True, 2.0 + 4.0 * self.style.strength)

    def _bridge(self) -> tuple[Tensor, Tensor, Tensor]:
        """From rim to rim over the nose."""
        like = self.rim
        at = self.turn[(self.turn > 2.2) & (self.turn < 2.9)]
        inner = self._outline(at.mean()[None])[0]
        reach = self.middle + float(inner[0])
        y0 = self.level + float(inner[1])
        x = torch.linspace(-1, 1, 25, device=like.device) * reach
        arch = (1 - (x / reach) ** 2) * (0.009 - 0.006 * self.style.strength)
        y = y0 + arch
        flat = self.forward + self.sheet(x, y)
        nose = self.head.front(torch.stack([x, y], 1)[6:19:2]) + self.d + 0.003
        gap = (nose - flat[6:19:2]).clamp_min(0).amax()
        ahead = (1 - (x / reach) ** 4) * torch.maximum(gap, gap.new_tensor(0.002))
        path = self.place(x, y, ahead)
        across = like.new_tensor([[self.w * (0.9 + 0.5 * self.style.strength), self.d * 0.9]])
        return tube(
            path, across, like.new_tensor([0.0, 1.0, 0.0]), 12, False, 2.0 + 3.0 * self.style.strength
        )

    def _temple(self, side: float) -> tuple[Tensor, Tensor, Tensor]:
        """From the rim's outer end to the ear and down behind it."""
        like = self.rim
        corner = self._outline(like.new_tensor([0.42]))[0]
        x0, y0 = self.middle + float(corner[0]), self.level + float(corner[1])
        front = self.place(like.new_tensor([x0 - 0.003, x0 + 0.008]), like.new_tensor([y0, y0]))
        front[1, 2] -= 0.004
        behind, normals = self.head.at(
            *((0.1695, 0.0555, 0.006), (0.1700, 0.0555, -0.014), (0.170, 0.0480, -0.045)),
            *((0.160, 0.020, -0.066), (0.148, -0.015, -0.062)),
        )
        ear = behind + 0.004 * F.normalize(normals, dim=1)
        ear[:3, 1] += self.w + 0.001
        turn_back = front[1] + like.new_tensor([0.004, 0.0, -0.016])
        t = torch.linspace(0, 1, 22, device=like.device)[1:-1, None]
        straight = turn_back + (ear[0] - turn_back) * t
        clear = self.head.side(straight[:, 1:]) + 0.005 + self.d - straight[:, 0]
        # One even bow takes the temple past the widest place.
        shape = (4 * t[:, 0] * (1 - t[:, 0])).clamp_min(0.05)
        bow = (clear / shape.sqrt()).clamp(0, 0.05).amax()
        straight[:, 0] += bow * shape.sqrt() * rise(t[:, 0], 0.0, 0.1)
        path = torch.cat([front, turn_back[None], straight, ear])
        path = _smoothed(path)
        k = torch.linspace(0, 1, len(path), device=like.device)
        tall = self.w * (1.25 - 0.45 * k)
        across = torch.stack([tall, torch.full_like(k, 0.8 * self.d)], 1)
        path = path * path.new_tensor([side, 1.0, 1.0])
        return tube(
            path, across, like.new_tensor([0.0, 1.0, 0.0]), 12, False, 2.0 + 4.0 * self.style.strength
        )

    def _pad(self, side: float) -> list[tuple[Tensor, Tensor, Tensor]]:
        """The pad on the nose and the arm that holds it."""
        like = self.rim
        inner = self._outline(like.new_tensor([torch.pi + 0.25]))[0]
        x1, y1 = self.middle + float(inner[0]), self.level + float(inner[1])
        rim = self.place(like.new_tensor(side * x1), like.new_tensor(y1))
        x = torch.linspace(0.006, 0.045, 16, device=like.device)
        nose = self.head.front(torch.stack([side * x, torch.full_like(x, y1 - 0.004)], 1))
        # The pad touches the side of the nose a little behind the rim.
        k = int((nose - (rim[2] - 0.014)).abs().argmin())
        spot = torch.stack([side * (x[k] + 0.003), rim[1] - 0.004, nose[k]])
        axes = like.new_tensor([[0.0, 0.0080, -0.002], [side * 0.0016, 0.0, 0.0006], [0.0, 0.002, 0.0042]])
        t = torch.linspace(0, 1, 8, device=like.device)[:, None]
        path = rim + (spot - rim) * t + like.new_tensor([0.0, -0.004, 0.0]) * torch.sin(torch.pi * t)
        arm = tube(path, like.new_tensor([[0.0009, 0.0009]]), like.new_tensor([0.0, 1.0, 0.2]), 5)
        return [ellipsoid(spot, axes, 7, 8), arm]

    def _lens(self, side: float) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        share = torch.linspace(0.02, 1.0, _RINGS, device=self.rim.device)[:, None]
        x = share * self.rim[:, 0]
        y = share * self.rim[:, 1]
        points = self.place(side * (self.middle + x), self.level + y, 0.004 * (1 - share**2))
        places = torch.stack([side * x / self.a, y / self.b], -1).reshape(-1, 2)
        return grid(points, (False, True)), places


def _smoothed(path: Tensor) -> Tensor:
    """A path [K,3] with softer bends; its ends stay."""
    for _ in range(2):
        middle = 0.25 * path[:-2] + 0.5 * path[1:-1] + 0.25 * path[2:]
        path = torch.cat([path[:1], middle, path[-1:]])
    return path


def reflection(places: Tensor, style: Style, key: Tensor) -> Tensor:
    """Return colour and alpha [V,4] of lenses: a tint, a sheen above, and a window on the light's side."""
    x, y = places.unbind(1)
    across, up = 0.42 * key[0], 0.20 + 0.45 * key[1]
    u, v = x - across - 0.10 * (y - up), y - up + 0.06 * (x - across)
    pane = _pane(u, 0.30) * _pane(v, 0.24)
    bars = 1 - 0.75 * torch.exp(-((u / 0.035) ** 2)) - 0.6 * torch.exp(-((v / 0.035) ** 2))
    window = 0.27 * pane * bars.clamp(0, 1)
    sheen = 0.08 * rise(y + 0.25 * x * key[0].sign(), -0.2, 1.1)
    light = 1 - (1 - window) * (1 - sheen)
    fade = min(1.0, 4 * style.strength)
    alpha = (1 - (1 - light) * (1 - style.tint)) * fade
    dark = torch.tensor([0.10, 0.085, 0.07], device=places.device)
    bright = torch.tensor([0.90, 0.95, 1.0], device=places.device)
    share = (light / (1 - (1 - light) * (1 - style.tint)).clamp_min(1e-6))[:, None]
    return torch.cat([dark + (bright - dark) * share, alpha[:, None]], 1)


def _pane(x: Tensor, half: float) -> Tensor:
    return rise(-x.abs(), -half - 0.07, -half + 0.07)
