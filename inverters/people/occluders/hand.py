"""A hand that comes from below, covers a part of the face, presses, and goes to the side."""

from __future__ import annotations

import colorsys
import math
from typing import ClassVar

import torch
from torch import Tensor

from inverters.people.light import linear
from inverters.people.occluders.base import Occluder, Painter, State, p
from inverters.people.occluders.hand_shape import (
    HandModel,
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
        arm = forearm(model)
        skin = front(skin_points(person.shape))
        away = 0.25 * abs(state["way"])
        flat = torch.full((5,), away)
        reach = _Reach(person, skin, state, side, right, posed(model, _pose(state, flat)))
        bent = flat
        if abs(state["way"]) < 0.5:
            still = math.exp(-((state["way"] / 0.12) ** 2))
            bent = flat + still * _touching(model, reach, state, skin, flat)
        vertices, path = reach.placed(posed(model, _pose(state, bent))), reach.placed(arm)
        painter = Painter(person, [vertices, path])
        other = None if state["skin"] < 0.5 else 2 * state["skin"] - 1
        palm = skin_mesh(painter, model, vertices, right, tone(person.values, other))
        cloth = linear(vertices.new_tensor(colorsys.hsv_to_rgb(state["sleeve"], 0.42, 0.55)))
        return Extra([palm, sleeve(painter, path, cloth, (0.062, 0.110))])


def come_and_go(share: Tensor) -> Tensor:
    """Return the way in [-1,1] at shares [...] of a period: comes, stays 0, goes, is away."""

    def ease(low: float, high: float) -> Tensor:
        t = ((share - low) / (high - low)).clamp(0, 1)
        return t * t * t * (t * (6 * t - 15) + 10)

    return ease(0.02, 0.17) - 1 + ease(0.56, 0.72)


def _pose(state: State, bend: Tensor) -> Pose:
    """The hand with its fingers bent by `bend` [5] radians more than flat."""
    spread, more = state["spread"], bend.tolist()
    fingers = [(0.10 + more[k], 0.14 + 0.7 * more[k], 0.10 + 0.4 * more[k]) for k in range(1, 5)]
    return Pose(
        ((0.05, 0.15, 0.15), *fingers), (0.05, -1.2 * spread, -0.3 * spread, 0.5 * spread, 1.6 * spread)
    )


class _Reach:
    """Where the hand is in the world: the palm before its aim, as near as skin and pressing allow."""

    def __init__(
        self, person: Person, skin: ReachMap, state: State, side: float, right: bool, points: Tensor
    ) -> None:
        nose = landmark(person.shape, (0.0, -0.04, 0.247), rest=True)
        aim = nose + nose.new_tensor([state["x"], state["y"], 0.0])
        lean, turned = state["lean"], 0.45
        self.right = right
        self.fingers = points.new_tensor([-side * math.sin(lean), math.cos(lean), 0.06])
        self.palm = points.new_tensor([side * -turned, 0.10, -1.0])
        self.wrist = points.new_zeros(3)
        ahead = points.new_tensor([0.0, 0.0, 1.0])
        self.wrist = aim - self.placed(points.new_tensor([_PALM]))[0]
        self.wrist = self.wrist + ahead * (_contact(skin, self.placed(points)) - state["press"])
        way = abs(state["way"])
        x, y, z = _BELOW if state["way"] < 0 else _BESIDE
        self.wrist = self.wrist + points.new_tensor([side * x * way, y * way, z * min(1.0, 2 * way)])
        clear = _contact(skin, self.placed(points)) + 0.004
        self.wrist = self.wrist + ahead * clear.clamp_min(0) * min(1.0, 8 * way)

    def placed(self, points: Tensor) -> Tensor:
        """Points [V,3] of the hand's frame in the world."""
        return placed(points, self.wrist, self.fingers, self.palm, self.right)


def _touching(model: HandModel, reach: _Reach, state: State, skin: ReachMap, flat: Tensor) -> Tensor:
    """How much further each finger bends [5] until its tip is at the skin, in radians; by bisection."""
    low, high = torch.zeros(5), torch.full((5,), 0.42)
    for _ in range(5):
        middle = 0.5 * (low + high)
        at = reach.placed(posed(model, _pose(state, flat + middle)))
        gap = at[:, 2] - skin.at(at[:, 1], at[:, 0])
        apart = torch.stack([gap[tip].min() for tip in model.tips]).cpu() > -state["press"]
        low, high = torch.where(apart, middle, low), torch.where(apart, high, middle)
    return low


def _contact(skin: ReachMap, points: Tensor) -> Tensor:
    """How far points must go along +z to touch the skin; negative if they can come nearer."""
    return (skin.at(points[:, 1], points[:, 0]) - points[:, 2]).max()
