"""Occluders worn on a face: surgical mask, sunglasses, face paint, cap."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from inverters.heads.anatomy import EYE_Y, SKULL, SKULL_Y, SKULL_Z, UNITS, eye_frame, openness, parts
from inverters.heads.occluder_base import Occluder, blend, constant, segment
from inverters.heads.paint import palette
from inverters.heads.params import Parameter
from inverters.heads.shapes import capsule_yz, ellipsoid, mix, smooth_max, smooth_min, smoothstep, sphere

_CLOTH = ((0.42, 0.66, 0.86), (0.56, 0.80, 0.84), (0.90, 0.93, 0.95), (0.72, 0.84, 0.74), (0.20, 0.22, 0.26))
_LENS = ((0.035, 0.035, 0.045), (0.10, 0.055, 0.03), (0.03, 0.07, 0.055), (0.05, 0.05, 0.14))
_FRAME = ((0.03, 0.03, 0.035), (0.26, 0.13, 0.07), (0.55, 0.08, 0.10), (0.72, 0.58, 0.28))
_PAINT = ((0.84, 0.10, 0.12), (0.93, 0.62, 0.08), (0.10, 0.52, 0.28), (0.08, 0.30, 0.72), (0.52, 0.14, 0.62))
_CAP = ((0.13, 0.20, 0.36), (0.60, 0.10, 0.12), (0.12, 0.34, 0.26), (0.82, 0.78, 0.70), (0.10, 0.10, 0.11))


class SurgicalMask(Occluder):
    """A pleated mask stretched from the bridge of the nose to under the chin, with loops round the ears."""

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("color", 0.0, 1.0, "blue, teal, white, green, black", "look"),
        Parameter("height", -0.012, 0.012, "how far up the nose it sits", "place"),
        Parameter("width", 0.0, 1.0, "narrow to wide panel", "place"),
        Parameter("pleats", 0.4, 1.0, "flat to deep folds", "look"),
    )

    def _drape(self, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Distance of a taut cloth over jaw, cheeks, nose and chin; it follows the jaw as the mouth opens."""
        v = self.values
        drop = 0.016 * openness(v)[1]
        face = ellipsoid(ax, y + 0.07, z - 0.03, 0.144 + 0.008 * v["cheeks"], 0.165, 0.138)
        jaw = ellipsoid(ax, y + 0.125 + 0.4 * drop, z - 0.035, mix(0.090, 0.124, v["jaw"]), 0.105, 0.115)
        cheek = sphere(ax - 0.080, y + 0.050, z - 0.098, mix(0.046, 0.057, v["cheeks"]))
        tip_y, tip_z = mix(-0.040, -0.060, v["nose_length"]), mix(0.190, 0.206, v["nose_length"])
        chin_y = -(mix(0.192, 0.212, v["chin"]) + drop)
        chin_z = mix(0.104, 0.116, v["chin"])
        ridge = capsule_yz(ax, y - tip_y, z - tip_z, chin_y - tip_y, chin_z - tip_z, 0.023, 0.042)
        bridge_z = mix(0.138, 0.150, v["nose_bridge"])
        bridge = capsule_yz(ax, y - 0.045, z - bridge_z, tip_y - 0.045, tip_z - bridge_z, 0.014, 0.020)
        cloth = smooth_min(smooth_min(face, jaw, 0.06), cheek, 0.05)
        cloth = smooth_min(smooth_min(cloth, ridge, 0.10), bridge, 0.035)
        return cloth - 0.010 - 0.014 * smoothstep(0.6, 1.0, v["beard"])

    def _panel(self, ax: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Distance of the panel's outline, negative inside, and height in the panel in [0,1]."""
        top = self.state["height"] - 0.036 * (1.0 - torch.exp(-(ax * ax) * (1.0 / 0.055**2)))
        drop = 0.012 * openness(self.values)[1]
        low = -0.226 - 0.02 * self.values["chin"] - drop + 2.4 * ax * ax
        side = mix(0.055, 0.030, self.state["width"]) - z
        edge = smooth_max(smooth_max(y - top, low - y, 0.01), side, 0.016)
        return edge, (y - low) / (top - low)

    def distance(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """See `Occluder.distance`."""
        ax = torch.sqrt(x * x + 1e-7)
        edge, height = self._panel(ax, y, z)
        fold = torch.remainder(4.0 * height + 0.5, 1.0)
        pleat = (
            smoothstep(0.0, 0.22, fold)
            * (1.0 - fold)
            * smoothstep(0.06, 0.2, height)
            * smoothstep(0.94, 0.8, height)
        )
        cloth = self._drape(ax, y, z) - 0.0055 * self.state["pleats"] * pleat
        panel = smooth_max(cloth.abs() - 0.0026, edge, 0.004)
        return torch.minimum(panel, self._loops(ax, y, z))

    def _loops(self, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Distance of the elastic loops from the panel's corners to behind the ears."""
        full = 0.008 * self.values["cheeks"]
        ear = (0.192, 0.022, -0.040)
        upper = segment(ax, y, z, (0.142 + full, -0.044, 0.060), ear, 0.0030, 0.0030)
        lower = segment(ax, y, z, (0.132 + full, -0.140, 0.060), (0.184, -0.030, -0.045), 0.0030, 0.0030)
        return torch.minimum(upper, lower)

    def material(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Occluder.material`."""
        ax = torch.sqrt(x * x + 1e-7)
        edge, height = self._panel(ax, y, z)
        tone = palette(_CLOTH, self.state["color"])
        weave = 1.0 + 0.015 * torch.sin(900.0 * x) * torch.sin(900.0 * y)
        fold = torch.remainder(4.0 * height + 0.5, 1.0)
        crease = 0.16 * torch.exp(-((torch.minimum(fold, 1.0 - fold) / 0.07) ** 2))
        crease = crease * smoothstep(0.06, 0.2, height) * smoothstep(0.94, 0.8, height) * self.state["pleats"]
        colour = tone * (weave * (1.0 - crease))[..., None]
        hem = smoothstep(-0.0105, -0.0085, edge)
        colour = blend(colour, tone * 0.55 + 0.42, 0.8 * hem)
        stitch = torch.exp(-(((edge + 0.011) / 0.0012) ** 2))
        colour = blend(colour, tone * 0.7, 0.6 * stitch)
        loops = self._loops(ax, y, z)
        colour = blend(colour, tone.new_tensor([0.93, 0.94, 0.95]), smoothstep(0.002, 0.0, loops))
        return colour, constant(x, 0.02), constant(x, 0.35)


class Sunglasses(Occluder):
    """Dark lenses in a solid frame that sits on the nose and the ears."""

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("tint", 0.0, 1.0, "lenses: grey, brown, green, violet", "look"),
        Parameter("frame", 0.0, 1.0, "frame: black, tortoise, red, gold", "look"),
        Parameter("size", 0.9, 1.15, "scale of the lenses", "place"),
        Parameter("slide", -0.006, 0.008, "how far down the nose they sit", "place"),
        Parameter("gradient", 0.0, 1.0, "even lenses to lenses that lighten downwards", "look"),
    )

    def _lens(self, ax: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Distance of a lens' outline, negative inside; depth from its curved sheet; height in it."""
        size = self.state["size"]
        ex, _ = eye_frame(self.values)
        dx = (ax - ex - 0.004) / size
        dy = (y - EYE_Y + 0.007 + self.state["slide"]) / size
        qx = dx.abs() - 0.026
        qy = (dy + 0.10 * dx).abs() - 0.014 + 0.14 * dx.clamp(-0.05, 0.0).abs()
        corner = torch.sqrt(qx.clamp_min(0.0) ** 2 + qy.clamp_min(0.0) ** 2 + 1e-9)
        outline = (corner + torch.maximum(qx, qy).clamp_max(0.0) - 0.026) * size
        return outline, z - 0.190 + 1.9 * ax * ax, dy

    def distance(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """See `Occluder.distance`."""
        ax = torch.sqrt(x * x + 1e-7)
        outline, dz, _ = self._lens(ax, y, z)
        lens = torch.maximum(outline, dz.abs() - 0.0025)
        rim = torch.sqrt(outline * outline + dz * dz + 1e-9) - 0.0058
        return torch.minimum(smooth_min(lens, rim, 0.003), self._rest(ax, y, z)) * 0.85

    def _rest(self, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Distance of bridge, hinges and temples."""
        level = EYE_Y + 0.008 - self.state["slide"]
        bridge = segment(ax, y, z, (0.0, level + 0.002, 0.191), (0.036, level, 0.187), 0.0055, 0.0055)
        hinge = segment(ax, y, z, (0.118, level, 0.163), (0.166, level + 0.002, 0.135), 0.0065, 0.0065)
        temple = segment(
            ax, y, z, (0.166, level + 0.002, 0.135), (0.186, EYE_Y + 0.012, -0.040), 0.0062, 0.0050
        )
        return torch.minimum(torch.minimum(bridge, hinge), temple)

    def material(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Occluder.material`."""
        ax = torch.sqrt(x * x + 1e-7)
        outline, _, dy = self._lens(ax, y, z)
        tint = palette(_LENS, self.state["tint"])
        lighter = self.state["gradient"] * smoothstep(0.02, -0.05, dy)
        colour = tint * (1.0 + 1.2 * lighter[..., None])
        sky = smoothstep(0.0, 0.035, dy + 0.25 * (x - 0.02)) * 0.05
        streak = torch.exp(-(((torch.remainder(x + 0.30, 0.14) - 0.06 + 0.45 * dy) / 0.0065) ** 2))
        second = torch.exp(-(((torch.remainder(x + 0.30, 0.14) - 0.082 + 0.45 * dy) / 0.0030) ** 2))
        glint = (0.16 * streak + 0.10 * second) * smoothstep(0.002, -0.012, outline)
        colour = colour + (sky + glint)[..., None] * colour.new_tensor([0.85, 0.95, 1.0])
        frame = smoothstep(-0.0062, -0.0046, outline)
        colour = blend(colour, palette(_FRAME, self.state["frame"]), frame)
        gloss = (0.12 + 0.30 * frame)[..., None]
        return colour, gloss, constant(x, 0.1)


class FacePaint(Occluder):
    """Fan paint: three stripes on each cheek and a band over the brow, as a thin layer on the skin."""

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("first", 0.0, 1.0, "colour of the outer stripes", "look"),
        Parameter("second", 0.0, 1.0, "colour of the lower stripe and the brow", "look"),
        Parameter("size", 0.9, 1.2, "scale of the patches", "place"),
        Parameter("tilt", -0.2, 0.35, "stripes level to rising outward, in radians", "place"),
    )
    _THICKNESS = 0.0016

    def _strokes(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Distances of cheek patch and brow band, negative inside, and height in the patch in [-1,1]."""
        ax = torch.sqrt(x * x + 1e-7)
        size, tilt = self.state["size"], self.state["tilt"]
        dx, dy = ax - 0.080, y + 0.060
        u, v = dx + tilt * dy, dy - tilt * dx
        ragged = 0.0012 * torch.sin(190.0 * v + 3.0) + 0.0012 * torch.sin(617.0 * v)
        side = (u + ragged).abs() - 0.036 * size
        cheek = smooth_max(side, v.abs() - 0.030 * size, 0.008)
        arc = y - 0.118 + 0.9 * x * x + 0.0006 * torch.sin(160.0 * x)
        band = smooth_max(arc.abs() - 0.012 * size, ax - 0.085, 0.016)
        front = 0.02 - z
        return smooth_max(cheek, front, 0.01), smooth_max(band, front, 0.01), v / (0.030 * size)

    def relief(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """See `Occluder.relief`."""
        values = self.values
        points = torch.stack([x * values["face_width"], y * values["face_height"], z], -1) * UNITS
        return parts(values, points).skin

    def distance(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """See `Occluder.distance`."""
        cheek, band, _ = self._strokes(x, y, z)
        return torch.maximum(self.relief(x, y, z) - self._THICKNESS, torch.minimum(cheek, band))

    def material(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Occluder.material`."""
        cheek, band, height = self._strokes(x, y, z)
        first, second = (palette(_PAINT, self.state[name]) for name in ("first", "second"))
        white = first.new_tensor([0.93, 0.92, 0.90])
        colour = blend(first.expand(*x.shape, 3), white, smoothstep(0.37, 0.30, height))
        colour = blend(colour, second, smoothstep(-0.30, -0.37, height))
        colour = blend(colour, second, smoothstep(0.002, -0.002, band - cheek))
        streaks = 1.0 - 0.07 * (0.5 + 0.5 * torch.sin(700.0 * y + 60.0 * torch.sin(40.0 * x)))
        return colour * streaks[..., None], constant(x, 0.12), constant(x, 0.6)


class HatBrim(Occluder):
    """A cap whose brim hides the brow and, pulled down, the eyes."""

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("color", 0.0, 1.0, "navy, red, green, sand, black", "look"),
        Parameter("pull", 0.0, 1.0, "high on the forehead to over the brows", "place"),
        Parameter("reach", 0.17, 0.23, "length of the brim, design units", "place"),
        Parameter("curve", 1.0, 3.0, "flat to curved brim", "look"),
    )

    def _shapes(self, ax: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Distances of crown and brim."""
        hem = mix(0.150, 0.095, self.state["pull"])
        grow = mix(-0.022, 0.048, self.values["hair_volume"]).clamp_min(0.0) + 0.013
        outer = ellipsoid(ax, y - SKULL_Y, z - SKULL_Z, SKULL[0] + grow, SKULL[1] + grow, SKULL[2] + grow)
        cut = hem - y + 0.22 * (z - 0.14).clamp_max(0.0)
        crown = smooth_max(outer.abs() - 0.006, cut, 0.006)
        reach = self.state["reach"]
        bend = y - hem - 0.010 + self.state["curve"] * ax * ax + 0.38 * (z - 0.15)
        round_ = torch.sqrt((ax / (0.152 + grow)) ** 2 + ((z - 0.08) / (0.04 + reach + grow)) ** 2 + 1e-9)
        brim = smooth_max((bend * 0.8).abs() - 0.0045, (round_ - 1.0) * 0.13, 0.006)
        return crown, smooth_max(brim, 0.06 - z, 0.005)

    def distance(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """See `Occluder.distance`."""
        crown, brim = self._shapes(torch.sqrt(x * x + 1e-7), y, z)
        return smooth_min(crown, brim, 0.008) * 0.9

    def material(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Occluder.material`."""
        ax = torch.sqrt(x * x + 1e-7)
        crown, brim = self._shapes(ax, y, z)
        tone = palette(_CAP, self.state["color"])
        seam = torch.exp(-(((ax - 0.55 * (y - 0.1).clamp_min(0.0) * 0.4) / 0.0018) ** 2)) * smoothstep(
            0.0, 0.01, brim
        )
        colour = tone * (1.0 - 0.35 * seam)[..., None]
        darker = 1.0 - 0.22 * smoothstep(0.003, -0.003, brim - crown)
        return colour * darker[..., None], constant(x, 0.03), constant(x, 0.15)
