"""Occluders held or moved in front of a face: a passing hand, a microphone."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from inverters.heads.anatomy import UNITS
from inverters.heads.occluder_base import Occluder, blend, constant, round_box, segment
from inverters.heads.paint import _SKIN as SKIN
from inverters.heads.paint import hue_color, palette
from inverters.heads.params import Parameter
from inverters.heads.shapes import mix, smooth_min, smoothstep, sphere

_FINGERS = (
    (-0.036, 0.050, -0.062, 0.118),
    (-0.013, 0.058, -0.020, 0.148),
    (0.011, 0.056, 0.017, 0.138),
    (0.034, 0.046, 0.055, 0.106),
)
"""Root and tip of each finger as (x, y, x, y)."""


class PassingHand(Occluder):
    """An open hand with its forearm that passes in front of the face from side to side and back."""

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("skin", 0.0, 1.0, "dark to light skin", "look"),
        Parameter("sleeve", 0.0, 1.0, "hue of the sleeve", "look"),
        Parameter("size", 1.15, 1.4, "scale of the hand", "place"),
        Parameter("lean", -0.15, 0.35, "tilt of the forearm in radians", "place"),
        Parameter("height", -0.08, 0.0, "height of the palm over the face's middle, design units", "place"),
        Parameter("period", 3.0, 4.4, "seconds from side to side and back", "motion"),
        Parameter(
            "travel", -1.0, 1.0, "place on the way across, from the image's left to its right", "motion"
        ),
    )

    @classmethod
    def animate(cls, state: dict[str, Tensor], times: Tensor) -> dict[str, Tensor]:
        """See `Occluder.animate`."""
        phase = 2.0 * math.pi * times[:, None] / state["period"].double() + 0.25
        travel = torch.cos(phase).to(state["travel"].dtype)
        lean = state["lean"] - 0.20 * travel
        height = state["height"] - 0.05 * travel.square()
        return {**state, "travel": travel, "lean": lean, "height": height}

    def _local(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Coordinates in the hand's frame: fingers along +y, palm in the xy plane, unit scale."""
        lean, size = self.state["lean"], self.state["size"]
        x = x - 0.40 * self.state["travel"]
        y, z = y - self.state["height"] + 0.04, z - 0.300
        cos, sin = torch.cos(lean), torch.sin(lean)
        return (cos * x + sin * y) / size, (cos * y - sin * x) / size, z / size

    def coordinates(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Occluder.coordinates`."""
        x, y, z = (points * (1.0 / UNITS)).unbind(-1)
        return x, y, z

    def distance(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """See `Occluder.distance`."""
        x, y, z = self._local(x, y, z)
        palm = round_box(x, y, z + 0.25 * (y * y + x * x), (0.049, 0.054, 0.019), 0.0185)
        heel = segment(x, y, z, (0.0, -0.030, 0.0), (0.0, -0.12, -0.004), 0.034, 0.027)
        hand = smooth_min(palm, heel, 0.03)
        for ax, ay, bx, by in _FINGERS:
            mx, my = 0.55 * ax + 0.45 * bx, 0.52 * ay + 0.48 * by
            near = segment(x, y, z, (ax, ay, 0.0), (mx, my, 0.006), 0.0125, 0.0115)
            far = segment(x, y, z, (mx, my, 0.006), (bx, by, -0.003), 0.0115, 0.0092)
            hand = smooth_min(hand, smooth_min(near, far, 0.004), 0.007)
        root = segment(x, y, z, (-0.030, -0.030, 0.004), (-0.074, 0.012, 0.012), 0.0190, 0.0135)
        tip = segment(x, y, z, (-0.074, 0.012, 0.012), (-0.094, 0.048, 0.008), 0.0130, 0.0100)
        hand = smooth_min(hand, smooth_min(root, tip, 0.006), 0.020)
        return torch.minimum(hand, self._sleeve(x, y, z)) * self.state["size"] * 0.9

    @staticmethod
    def _sleeve(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Distance of the sleeve: cuff and forearm."""
        return segment(x, y, z, (0.0, -0.145, -0.004), (0.03, -0.75, -0.03), 0.040, 0.068)

    def material(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Occluder.material`."""
        x, y, z = self._local(x, y, z)
        tone = palette(SKIN, self.state["skin"])
        rosy = tone * tone.new_tensor([1.03, 0.84, 0.80])
        colour = tone.expand(*x.shape, 3)
        tips = smoothstep(0.085, 0.135, y + 0.4 * x.abs())
        ball = torch.exp(-(((x + 0.028) ** 2 + (y + 0.015) ** 2) / 0.030**2))
        colour = blend(colour, rosy, 0.75 * torch.maximum(tips, ball))
        lines = (
            torch.exp(-(((y - 0.018 - 6.0 * (x - 0.02) ** 2) / 0.0022) ** 2)) * smoothstep(-0.046, -0.036, x)
            + torch.exp(-(((y + 0.004 - 0.25 * x) / 0.0022) ** 2)) * smoothstep(0.04, 0.03, x.abs())
            + torch.exp(-(((((x + 0.012) ** 2 + (y + 0.048) ** 2).sqrt() - 0.042) / 0.0024) ** 2))
            * smoothstep(0.005, 0.0, x + 0.005)
        )
        joints = torch.exp(-(((torch.remainder(y - 0.052, 0.034) - 0.017) / 0.0016) ** 2)) * smoothstep(
            0.05, 0.06, y
        )
        colour = colour * (1.0 - 0.20 * lines.clamp_max(1.0) - 0.10 * joints)[..., None]
        sleeve = smoothstep(0.003, 0.0, self._sleeve(x, y, z))
        cloth = hue_color(self.state["sleeve"], torch.full_like(self.state["sleeve"], 0.42), 0.35)
        ribs = 1.0 - 0.10 * (0.5 + 0.5 * torch.sin(420.0 * x)) * smoothstep(-0.20, -0.17, y)
        colour = blend(colour, cloth * ribs[..., None], sleeve)
        return colour, (0.10 - 0.08 * sleeve)[..., None], (0.9 - 0.75 * sleeve)[..., None]


class Microphone(Occluder):
    """A stage microphone held in front of the mouth, which sways."""

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("color", 0.0, 1.0, "grille: dark steel to bright chrome", "look"),
        Parameter("size", 0.95, 1.2, "scale of the head", "place"),
        Parameter("x", -0.025, 0.025, "place of the head sideways, design units", "motion"),
        Parameter("y", -0.012, 0.012, "place of the head up and down, design units", "motion"),
        Parameter("lean", -0.35, 0.35, "tilt of the handle in radians", "place"),
    )

    @classmethod
    def animate(cls, state: dict[str, Tensor], times: Tensor) -> dict[str, Tensor]:
        """See `Occluder.animate`."""
        t = times[:, None]
        x = state["x"] + (0.014 * torch.sin(2.0 * math.pi * 0.6 * t)).to(state["x"].dtype)
        y = state["y"] + (0.008 * torch.sin(2.0 * math.pi * 0.9 * t + 1.0)).to(state["y"].dtype)
        return {**state, "x": x, "y": y}

    def _local(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Coordinates in the microphone's frame: its head at the origin, its handle along -y."""
        size, lean = self.state["size"], self.state["lean"]
        x, y, z = x - self.state["x"], y + 0.156 - self.state["y"], z - 0.262
        y, z = 0.92 * y - 0.39 * z, 0.92 * z + 0.39 * y
        cos, sin = torch.cos(lean), torch.sin(lean)
        return (cos * x + sin * y) / size, (cos * y - sin * x) / size, z / size

    def coordinates(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Occluder.coordinates`."""
        x, y, z = (points * (1.0 / UNITS)).unbind(-1)
        return x, y, z

    def distance(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """See `Occluder.distance`."""
        x, y, z = self._local(x, y, z)
        head = sphere(x, 0.92 * y, z, 0.0445)
        band = round_box(
            torch.sqrt(x * x + z * z + 1e-9), y + 0.010, torch.zeros_like(x), (0.0475, 0.0065, 1.0), 0.003
        )
        neck = segment(x, y, z, (0.0, -0.030, 0.0), (0.0, -0.075, 0.0), 0.038, 0.025)
        handle = segment(x, y, z, (0.0, -0.075, 0.0), (0.0, -0.48, 0.0), 0.0245, 0.0200)
        body = smooth_min(smooth_min(head, neck, 0.006), handle, 0.006)
        return torch.minimum(body, band) * self.state["size"] * 0.9

    def material(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Occluder.material`."""
        x, y, z = self._local(x, y, z)
        around = torch.atan2(x, z)
        rise = torch.asin((y / 0.048).clamp(-0.99, 0.99))
        wires = torch.maximum(torch.sin(30.0 * around).abs(), torch.sin(30.0 * rise).abs())
        steel = mix(0.32, 0.68, self.state["color"])[..., None] * x.new_tensor([0.97, 0.99, 1.0])
        grille = steel * (0.45 + 0.55 * smoothstep(0.62, 0.95, wires))[..., None]
        handle = x.new_tensor([0.055, 0.055, 0.065]).expand(*x.shape, 3)
        colour = blend(grille, handle, smoothstep(-0.026, -0.029, y))
        ring = smoothstep(0.0075, 0.0065, (y + 0.010).abs())
        colour = blend(colour, steel * 1.05, ring)
        switch = (
            smoothstep(0.0075, 0.0060, x.abs())
            * smoothstep(0.016, 0.014, (y + 0.130).abs())
            * smoothstep(0.0, 0.01, z)
        )
        colour = blend(colour, x.new_tensor([0.35, 0.35, 0.37]), switch)
        return colour, (0.35 + 0.25 * ring)[..., None], constant(x, 0.1)
