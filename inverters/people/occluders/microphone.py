"""A stage microphone before the mouth, held by a fist or on a stand; it sways."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from inverters.people.occluders.base import Occluder, Painter, State, blend, p
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
from inverters.people.occluders.surface import lathe, mesh_of, tube
from inverters.people.params import Parameter
from inverters.people.parts import Mesh, normals_of
from inverters.people.person import Person
from inverters.people.picture import Extra
from inverters.people.ramps import rise

_SIDES = 72
_GRIP = Pose(((0.55, 0.75, 0.55), *((1.05 + 0.04 * k, 1.25, 0.75) for k in range(4))))
_HOLD = (0.0, 0.205, 0.052)
"""Where the handle passes through the fist, in the hand's frame."""


class Microphone(Occluder):
    """A microphone whose grille hides the mouth."""

    parameters: ClassVar[tuple[Parameter, ...]] = (
        p("color", 0.0, 1.0, "grille: dark steel to bright chrome"),
        p("stand", 0.0, 1.0, "in a fist (lower half), on a stand"),
        p("size", 0.9, 1.15, "scale of the microphone", "place"),
        p("x", -0.022, 0.022, "place of the head sideways, world units", "motion"),
        p("y", -0.014, 0.010, "place of the head up and down, world units", "motion"),
        p("distance", 0.004, 0.030, "from the lips to the grille, world units", "place"),
        p("lean", -0.6, 0.6, "tilt of the handle to the side, in radians", "place"),
        p("drop", 0.5, 1.1, "handle level to hanging, in radians below the line to the camera", "place"),
        p("sleeve", 0.0, 1.0, "dark to light sleeve"),
    )

    @classmethod
    def animate(cls, state: dict[str, Tensor], times: Tensor) -> dict[str, Tensor]:
        """See `Occluder.animate`."""
        t = times[:, None]
        dtype = state["x"].dtype
        held = torch.where(state["stand"] < 0.5, 1.0, 0.25)
        x = state["x"] + (0.012 * torch.sin(2.0 * math.pi * 0.6 * t)).to(dtype) * held
        y = state["y"] + (0.007 * torch.sin(2.0 * math.pi * 0.9 * t + 1.0)).to(dtype) * held
        return {**state, "x": x, "y": y}

    @classmethod
    def build(cls, person: Person, state: State) -> Extra:
        """See `Occluder.build`."""
        base, shape = mesh_of(person.shape), person.shape
        lips = shape.neutral[base.level1.mask("lips") > 0.5]
        size = state["size"]
        drop, lean = state["drop"], state["lean"]
        down = lips.new_tensor(
            [math.sin(lean) * math.sin(drop), -math.sin(drop) * math.cos(lean), math.cos(drop)]
        )
        head = lips.mean(0) + lips.new_tensor([state["x"], state["y"], 0.0])
        head[2] = lips[:, 2].max() + state["distance"] + 0.046 * size
        profile, steel = _profile(size, lips)
        local, triangles = lathe(profile, _SIDES)
        axes = _axes(down)
        vertices = head + local @ axes
        painter = Painter(person, [vertices])
        albedo, shine = _albedo(local, profile, steel, state)
        normals = normals_of(vertices, triangles)
        lit = painter.mesh(vertices, normals, triangles, albedo, gloss=(0.05 * shine, 0.35 * shine))
        rest = (
            _stand(painter, head, down, size)
            if state["stand"] >= 0.5
            else _fist(painter, person, head, down, state)
        )
        return Extra([lit, *rest])


def _axes(down: Tensor) -> Tensor:
    """Rows: the microphone's axes in the world; its handle goes along -y."""
    up = -F.normalize(down, dim=0)
    x = F.normalize(torch.linalg.cross(up, up.new_tensor([0.0, 0.0, 1.0])), dim=0)
    return torch.stack([x, up, torch.linalg.cross(x, up)])


def _profile(size: float, like: Tensor) -> tuple[Tensor, float]:
    """Radius and height [K,2] from the handle's end to the grille's top; the height where steel begins."""
    handle = [
        (0.0, -0.46),
        (0.017, -0.46),
        (0.019, -0.30),
        (0.0215, -0.20),
        (0.0235, -0.12),
        (0.0250, -0.085),
    ]
    neck = [(0.0300, -0.060), (0.0360, -0.040), (0.0400, -0.028), (0.0405, -0.024)]
    band = [(0.0450, -0.0155), (0.0475, -0.0150), (0.0475, -0.0055), (0.0450, -0.0050)]
    latitude = torch.linspace(-0.08, math.pi / 2, 44)
    ball = torch.stack([0.0455 * torch.cos(latitude), 0.0455 * torch.sin(latitude) * 1.06], 1)
    points = torch.cat([torch.tensor(handle + neck + band), ball])
    return (points * size).to(like), -0.026 * size


def _albedo(local: Tensor, profile: Tensor, steel_from: float, state: State) -> tuple[Tensor, float]:
    """Linear albedo [V,3] with the grille's wires, and how much it shines."""
    around = torch.atan2(local[:, 0], local[:, 2])
    height = local[:, 1] / state["size"]
    latitude = torch.asin((height / 0.0485).clamp(-0.999, 0.999))
    wires = torch.maximum(torch.sin(18.0 * around).abs(), torch.sin(22.0 * latitude).abs())
    steel = (0.16 + 0.34 * state["color"]) * local.new_tensor([0.97, 0.99, 1.0])
    grille = steel * (0.35 + 0.65 * rise(wires, 0.75, 0.98))[:, None]
    black = local.new_tensor([0.012, 0.012, 0.014])
    colour = blend(grille, black, rise(local[:, 1], steel_from, steel_from - 0.002))
    ring = rise(height, -0.0165, -0.0150) * rise(height, -0.0045, -0.006)
    return blend(colour, (steel * 1.1).expand_as(colour), ring), 0.4 + 0.6 * state["color"]


def _fist(painter: Painter, person: Person, head: Tensor, down: Tensor, state: State) -> list[Mesh]:
    model = hand_model(str(head.device))
    right = state["lean"] < 0
    side = -1.0 if right else 1.0
    up = -F.normalize(down, dim=0)
    # Thumb up along the handle, the back of the hand to the camera's side.
    back = F.normalize(up.new_tensor([side * 0.75, 0.0, 0.65]), dim=0)
    back = F.normalize(back - (back * up).sum() * up, dim=0)
    fingers = F.normalize(torch.linalg.cross(up, back), dim=0)
    fingers = fingers * (1.0 if right else -1.0)
    arm = forearm(model)
    points = torch.cat([posed(model, _GRIP), arm])
    at = placed(points, points.new_zeros(3), fingers, -back, right)
    hold = placed(points.new_tensor([_HOLD]), points.new_zeros(3), fingers, -back, right)[0]
    at = at + (head + down * 0.20 * state["size"] - hold)
    vertices, path = at[: -len(arm)], at[-len(arm) :]
    skin = skin_mesh(painter, model, vertices, right, tone(person.values, None))
    cloth = path.new_tensor([0.02, 0.022, 0.03]) + 0.5 * state["sleeve"] ** 2
    return [skin, sleeve(painter, path, cloth, (0.060, 0.105))]


def _stand(painter: Painter, head: Tensor, down: Tensor, size: float) -> list[Mesh]:
    """A clip at the handle and a rod to below the picture."""
    clip = head + down * 0.16 * size
    t = torch.linspace(0, 1, 6, device=head.device)[:, None]
    holder = clip + down * 0.09 * size * t
    foot = holder[-1] + head.new_tensor([0.0, -1.0, 0.10])
    parts = [
        (holder, 0.0305 * size),
        (torch.cat([holder[-2:-1], holder[-2:-1] + (foot - holder[-2]) * t[1:]]), 0.012),
    ]
    meshes = []
    for path, radius in parts:
        vertices, triangles = tube(path, radius, 24)
        albedo = vertices.new_tensor([0.02, 0.02, 0.022]).expand_as(vertices)
        meshes.append(
            painter.mesh(vertices, normals_of(vertices, triangles), triangles, albedo, gloss=(0.04, 0.3))
        )
    return meshes
