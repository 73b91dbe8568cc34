"""A hand that comes from below, covers a part of the face, presses, and goes to the side."""

from __future__ import annotations

import colorsys
import math
from typing import ClassVar

import torch
from torch import Tensor

from inverters.people.occluders.base import Occluder, Painter, State, linear, p
from inverters.people.occluders.hand_shape import (
    Pose,
    forearm,
    hand_model,
    placed,
    posed,
    skin_mesh,
    sleeve,
    tone,
)
from inverters.people.occluders.surface import ReachMap, front, landmark, skin_points
from inverters.people.params import Parameter
from inverters.people.person import Person
from inverters.people.picture import Extra

_PALM = (0.0, 0.25, 0.0)
"""The point of the hand that covers the aim."""
_BELOW, _BESIDE = (0.12, -0.75, 0.14), (0.70, -0.55, 0.16)
"""Where the hand comes from and goes to, from its place at the face; x towards its side."""


class Hand(Occluder):
    """A hand with its sleeve before the face; its own, or another's."""

    parameters: ClassVar[tuple[Parameter, ...]] = (
        p("skin", 0.0, 1.0, "the person's own (lower half), another's from light to dark"),
        p("sleeve", 0.0, 1.0, "hue of the sleeve"),
        p("side", 0.0, 1.0, "from the image's left (lower half) or right", "place"),
        p("x", -0.05, 0.05, "place of the palm sideways, world units", "place"),
        p("y", -0.09, 0.07, "place of the palm up and down from the nose, world units", "place"),
        p("lean", 0.25, 1.05, "fingers upright to slanted across the face, in radians", "place"),
        p("spread", -0.04, 0.10, "fingers together to apart, in radians", "place"),
        p("press", 0.0, 0.012, "how far it presses, world units", "motion"),
        p("period", 2.6, 3.6, "seconds from coming to coming again", "motion"),
        p("way", -1.0, 1.0, "coming from below (-), at the face (0), gone to the side (+)", "motion"),
    )

    @classmethod
    def animate(cls, state: dict[str, Tensor], times: Tensor) -> dict[str, Tensor]:
        """See `Occluder.animate`."""
        share = torch.remainder(times[:, None] / state["period"].double() + 0.03, 1.0)
        way = come_and_go(share)
        still = torch.exp(-((way / 0.2) ** 2))
        beat = torch.sin(2 * math.pi * 1.1 * times[:, None])
        dtype = state["x"].dtype
        return {
            **state,
            "way": way.to(dtype),
            "press": (state["press"] * (0.5 + 0.5 * beat * still)).to(dtype),
            "x": (state["x"] + 0.010 * still * torch.sin(2 * math.pi * 0.45 * times[:, None])).to(dtype),
            "y": (state["y"] + 0.006 * still * beat).to(dtype),
        }

    @classmethod
    def build(cls, person: Person, state: State) -> Extra:
        """See `Occluder.build`."""
        device = str(person.shape.fine.device)
        model = hand_model(device)
        right = state["side"] < 0.5
        side = -1.0 if right else 1.0
        pose = _pose(state)
        arm = forearm(model)
        points = torch.cat([posed(model, pose), arm])
        world = _at_face(person, points, state, side, right)
        vertices, path = world[: -len(arm)], world[-len(arm) :]
        painter = Painter(person, [vertices, path])
        other = None if state["skin"] < 0.5 else 2 * state["skin"] - 1
        skin = skin_mesh(painter, model, vertices, right, *tone(person.values, other))
        cloth = linear(vertices.new_tensor(colorsys.hsv_to_rgb(state["sleeve"], 0.42, 0.55)))
        return Extra([skin, sleeve(painter, path, cloth, (0.062, 0.110))])


def come_and_go(share: Tensor) -> Tensor:
    """Return the way in [-1,1] at shares [...] of a period: comes, stays 0, goes, is away."""

    def ease(low: float, high: float) -> Tensor:
        t = ((share - low) / (high - low)).clamp(0, 1)
        return t * t * t * (t * (6 * t - 15) + 10)

    return ease(0.02, 0.17) - 1 + ease(0.56, 0.72)


def _pose(state: State) -> Pose:
    spread = state["spread"]
    away = 0.25 * abs(state["way"])
    curl = 0.16 + away
    return Pose(
        ((0.05, 0.15, 0.15), *((curl * k, 0.22 + away, 0.15) for k in (0.7, 0.8, 0.95, 1.15))),
        (0.05, -1.2 * spread, -0.3 * spread, 0.5 * spread, 1.6 * spread),
    )


def _at_face(person: Person, points: Tensor, state: State, side: float, right: bool) -> Tensor:
    """Hand points [V,3] in the world: the palm before its aim, as near as skin and pressing allow."""
    shape = person.shape
    nose = landmark(shape, (0.0, -0.04, 0.247), rest=True)
    aim = nose + nose.new_tensor([state["x"], state["y"], 0.0])
    lean, turned = state["lean"], 0.30
    fingers = points.new_tensor([-side * math.sin(lean), math.cos(lean), 0.06])
    palm = points.new_tensor([side * -turned, 0.10, -1.0])
    at = placed(points, points.new_zeros(3), fingers, palm, right)
    anchor = placed(points.new_tensor([_PALM]), points.new_zeros(3), fingers, palm, right)[0]
    at = at + (aim - anchor)
    skin = front(skin_points(shape))
    rest = at + at.new_tensor([0, 0, 1.0]) * (_contact(skin, at) - state["press"])
    way = state["way"]
    x, y, z = _BELOW if way < 0 else _BESIDE
    offset = at.new_tensor([side * x * abs(way), y * abs(way), z * min(1.0, 2 * abs(way))])
    moved = rest + offset
    clear = _contact(skin, moved) + 0.004
    return moved + at.new_tensor([0, 0, 1.0]) * clear.clamp_min(0) * min(1.0, 8 * abs(way))


def _contact(skin: ReachMap, points: Tensor) -> Tensor:
    """How far points must go along +z to touch the skin; negative if they can come nearer."""
    return (skin.at(points[:, 1], points[:, 0]) - points[:, 2]).max()
