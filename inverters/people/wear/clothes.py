"""Clothes: cloth over the torso, and the collars of six cuts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from inverters.people.body import Body, Shape
from inverters.people.labels import CLOTH
from inverters.people.params import Values
from inverters.people.parts import normals_of
from inverters.people.ramps import rise
from inverters.people.wear import fabric
from inverters.people.wear.collars import Draped, band, buttons, cord, fold_collar, hood, lapels, roll
from inverters.people.wear.cuts import ground, hidden
from inverters.people.wear.fabric import Dye
from inverters.people.wear.piece import Coarse, Piece, made, merged
from inverters.people.wear.torso import Cut, torso

CUTS = ("round neck", "V-neck", "collared shirt", "turtle neck", "jacket", "hood")
_SMOOTHINGS = 5


@dataclass(frozen=True)
class Clothes:
    """What is worn on the torso, and which triangles of the body it hides."""

    pieces: list[Piece]
    hidden: Tensor
    """Bool [T2]."""


def cut_of(values: Values, row: int = 0) -> tuple[int, float]:
    """Return the number of a person's cut (`CUTS`) and where it lies within the cut's range, in [0,1]."""
    place = float(values["clothing_cut"][row, 0]) * len(CUTS)
    cut = min(max(int(place), 0), len(CUTS) - 1)
    return cut, min(max(place - cut, 0.0), 1.0)


def clothes(values: Values, row: int, mesh: Body, shape: Shape) -> Clothes:
    """Dress a person's torso. Clothes follow the shape at rest, so that expressions do not move them."""
    cut, share = cut_of(values, row)
    base = _Base(str(mesh.device), shape)
    names, pieces = _MAKERS[cut](base, fabric.dye(values, row), share)
    covered = torch.stack([hidden(base.device, n) for n in names]).any(0)
    return Clothes(pieces, covered)


class _Base:
    """A person's torso, smoothed as cloth is, from which garments are made."""

    def __init__(self, device: str, shape: Shape) -> None:
        self.device = device
        t = torso(device)
        self.torso = t
        skin = self.skin = shape.neutral[t.index1]
        smooth = skin
        for _ in range(_SMOOTHINGS):
            smooth = t.smoothing @ smooth
        self.normals = normals_of(smooth, self.torso.triangles1)
        # Cloth bridges hollows and never lies within the body.
        self.points = smooth + self.normals * ((skin - smooth) * self.normals).sum(1, keepdim=True).clamp_min(
            0
        )

    def garment(self, name: str, thickness: float, fold: float, over: str = "") -> _Garment:
        """Return a garment that stands `thickness` above the torso, with folds `fold` high."""
        g = ground(self.device, name, over)
        rough = 1.6 * fold * fabric.folds(self.device) * rise(g.on_torso, 0.02, 0.09)
        # Near its border cloth lies closer to the skin.
        loose = 0.35 + 0.65 * rise(g.on_torso, 0.0, 0.07)
        close = self.skin + (self.points - self.skin) * loose[:, None]
        points = close + self.normals * (thickness + rough.clamp_min(-0.6 * thickness))[:, None]
        normals = normals_of(points, self.torso.triangles1)
        on = Draped(g.chart, g.chart.matrix @ points, g.chart.matrix @ normals)
        return _Garment(name, over, self.device, g.sheet, on, Coarse(points, normals, g.sheet.matrix))


@dataclass(frozen=True)
class _Garment:
    """A garment's cloth on a person."""

    name: str
    over: str
    """The garment worn over it, or an empty string."""
    device: str
    sheet: Cut
    on: Draped
    """For what is swept around its opening."""
    coarse: Coarse

    def cloth(self, albedo: Tensor, grain: float = 0.06) -> Piece:
        """Return the cloth as a piece; albedo [3] or [V,3]."""
        fine, blotch, _ = fabric.weave(self.device, self.name, self.over)
        shade = (1 + grain * fine.clamp(-2, 2) + 0.02 * blotch)[:, None]
        m = self.sheet.matrix @ torch.cat([self.coarse.points, self.coarse.normals], 1)
        surface = (m[:, :3].contiguous(), F.normalize(m[:, 3:], dim=1), self.sheet.triangles)
        return replace(made(surface, albedo.to(shade) * shade, 0.05, CLOTH), coarse=self.coarse)


def _trim(surface: tuple[Tensor, Tensor, Tensor], shade: Tensor, albedo: Tensor) -> Piece:
    return made(surface, albedo.to(shade) * shade[:, None], 0.05, CLOTH)


Made = tuple[list[str], list[Piece]]


def _round(base: _Base, dye: Dye, share: float) -> Made:
    """T-shirts with a narrow band, striped ones, sweaters with a broad band."""
    name = "scoop" if 0.25 < share < 0.5 else "crew"
    knitted = share > 0.72
    thick = 0.013 if knitted else 0.007
    worn = base.garment(name, thick, 0.008)
    albedo = dye.main.to(base.points)
    if 0.5 < share <= 0.72:
        line = fabric.stripes(worn.sheet.canonical, 0.05, 0.42)[:, None]
        albedo = albedo * (1 - line) + dye.second.to(albedo) * line
    if knitted:
        albedo = albedo * (1 + 0.10 * fabric.weave(base.device, name)[2])[:, None]
    surface, shade = band(worn.on, 0.034 if knitted else 0.021, 0.007 if knitted else 0.0035, thick)
    return [name], [worn.cloth(albedo), _trim(surface, shade, dye.main)]


def _vee(base: _Base, dye: Dye, share: float) -> Made:
    """V-necks, deep ones, and pullovers with a band in the second colour."""
    name = "deep vee" if share < 0.35 else "vee"
    worn = base.garment(name, 0.009, 0.008)
    surface, shade = band(worn.on, 0.022, 0.004, 0.009)
    trim = dye.second if share > 0.75 else dye.main
    return [name], [worn.cloth(dye.main), _trim(surface, shade, trim)]


def _shirt(base: _Base, dye: Dye, share: float) -> Made:
    """Shirts open at the neck, plain or checked, and buttoned ones."""
    buttoned = share > 0.75
    name = "buttoned" if buttoned else "shirt"
    worn = base.garment(name, 0.007, 0.007)
    canonical = worn.sheet.canonical
    albedo = dye.main.to(canonical).expand_as(canonical)
    if 0.4 < share < 0.75:
        check = fabric.checks(canonical, 0.045)[:, None]
        albedo = albedo * (1 - 0.75 * check) + dye.second.to(albedo) * 0.75 * check
    albedo = albedo * fabric.placket(canonical, worn.sheet.field)[:, None]
    pieces = [worn.cloth(albedo, 0.03), *_shirt_front(worn, buttoned, dye.main, dye.pale)]
    return [name], pieces


def _shirt_front(worn: _Garment, buttoned: bool, albedo: Tensor, button: Tensor) -> list[Piece]:
    """The collar and the buttons of a shirt."""
    surface, shade = fold_collar(worn.on, 0.032, 0.046, 0.082, 0.004 if buttoned else 0.15, 0.07)
    along = worn.on.points.new_tensor([0.03, 0.135, 0.24] if buttoned else [0.11, 0.215])
    return [_trim(surface, shade, albedo), made(buttons(worn.on, along), 0.8 * button, 0.3, CLOTH)]


def _turtle(base: _Base, dye: Dye, share: float) -> Made:
    """Turtle necks, finely or coarsely knitted."""
    worn = base.garment("turtle", 0.010, 0.008)
    knit = fabric.weave(base.device, "turtle")[2]
    albedo = dye.main.to(knit) * (1 + (0.04 + 0.10 * share) * knit)[:, None]
    surface, shade = roll(worn.on, 0.050 + 0.014 * share, 0.009 + 0.004 * share, 0.010)
    return ["turtle"], [worn.cloth(albedo), _trim(surface, shade, dye.main)]


def _jacket(base: _Base, dye: Dye, share: float) -> Made:
    """A jacket over a pale shirt, or over a round neck."""
    inner = "buttoned" if share < 0.35 else "shirt" if share < 0.7 else "crew"
    worn = base.garment(inner, 0.006, 0.003, "jacket")
    if inner == "crew":
        surface, shade = band(worn.on, 0.021, 0.0035, 0.006)
        pieces = [worn.cloth(dye.pale, 0.02), _trim(surface, shade, dye.pale)]
    else:
        line = fabric.placket(worn.sheet.canonical, worn.sheet.field)[:, None]
        pieces = [worn.cloth(dye.pale.to(line) * line, 0.02)]
        pieces += _shirt_front(worn, inner == "buttoned", dye.pale, dye.pale)
    worn = base.garment("jacket", 0.022, 0.006)
    pieces.append(worn.cloth(dye.main))
    surface, shade = lapels(worn.on, 0.085)
    pieces.append(_trim(surface, shade, dye.main))
    return [inner, "jacket"], pieces


def _hood(base: _Base, dye: Dye, share: float) -> Made:
    """A hooded sweater with two cords."""
    worn = base.garment("hood", 0.013, 0.010)
    surface, shade = hood(worn.on)
    pieces = [worn.cloth(dye.main), _trim(surface, shade, dye.main)]
    cords = [part for side in (-1.0, 1.0) for part in cord(worn.on, side)]
    pieces.append(made(merged(cords), dye.second if share > 0.5 else dye.pale, 0.1, CLOTH))
    return ["hood"], pieces


_MAKERS: tuple[Callable[[_Base, Dye, float], Made], ...] = (_round, _vee, _shirt, _turtle, _jacket, _hood)
