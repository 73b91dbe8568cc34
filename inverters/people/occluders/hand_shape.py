"""The hand: the baked mesh in its own frame, its fingers bent at the joints, its skin and nails."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from inverters.people.body import SCALE
from inverters.people.body_file import load_body
from inverters.people.light import SKIN_WRAP
from inverters.people.occluders.base import Painter, blend
from inverters.people.occluders.surface import tube
from inverters.people.params import Values
from inverters.people.parts import Mesh, normals_of
from inverters.people.ramps import rise
from inverters.people.skin.tone import complexion
from inverters.people.subdivision import subdivide

FINGERS = ("thumb", "index", "middle", "ring", "little")
_BLEND = 0.018
"""Length over which a joint bends the skin, world units."""


@dataclass(frozen=True)
class HandModel:
    """A left hand, n control vertices: x to the thumb, y along the fingers, z from the palm; world units."""

    control: Tensor
    """[n,3], the wrist at the origin."""
    joints: Tensor
    """[5,4,3], thumb to little finger, from the palm to the tip."""
    weights: Tensor
    """[5,3,n]: how far the vertices follow each joint."""
    refine: Tensor
    """Sparse [V,n], one subdivision."""
    triangles: Tensor
    """[T,3], outside in the frame of a left hand."""
    rest: Tensor
    """[V,3]: the vertices at rest, by which the hand is painted."""
    elbow: Tensor
    """[3]: unit direction from the wrist to the elbow."""
    tips: Tensor
    """Bool [5,V]: what lies beyond the second joint of each finger."""


@dataclass(frozen=True)
class Pose:
    """Angles in radians: `curl` [5,3] at the joints of each finger, `spread` [5] apart."""

    curl: tuple[tuple[float, float, float], ...]
    spread: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)


OPEN = Pose(((0.0, 0.1, 0.1), (0.12, 0.15, 0.1), (0.10, 0.15, 0.1), (0.12, 0.15, 0.1), (0.15, 0.2, 0.1)))


@cache
def hand_model(device: str) -> HandModel:
    """Return the hand on a device; made once in a process."""
    file = load_body()
    points, joints = torch.from_numpy(file.hand_template), torch.from_numpy(file.hand_joints)
    wrist, quads = torch.from_numpy(file.hand_wrist), torch.from_numpy(file.hand_quads)
    knuckles = joints[1:, 0]
    up = F.normalize(knuckles.mean(0) - wrist, dim=0)
    side = knuckles[0] - knuckles[-1]
    side = F.normalize(side - (side * up).sum() * up, dim=0)
    palm = torch.linalg.cross(up, side)
    palm = palm * ((joints[0, -1] - wrist) * palm).sum().sign()
    frame = torch.stack([side, up, palm], 1)
    control = (points - wrist) @ frame * SCALE
    own = (joints - wrist) @ frame * SCALE
    fine = subdivide(quads, len(control))
    weights = _weights(control, own, quads)
    elbow = F.normalize(control[control[:, 1] < control[:, 1].min() + 0.06].mean(0), dim=0)
    triangles = torch.cat([fine.quads[:, [0, 1, 2]], fine.quads[:, [0, 2, 3]]])
    matrix = fine.matrix.to_sparse_csr()
    return HandModel(
        control=control.to(device),
        joints=own.to(device),
        weights=weights.to(device),
        refine=matrix.to(device),
        triangles=triangles.int().to(device),
        rest=(matrix @ control).to(device),
        elbow=elbow.to(device),
        tips=(matrix @ weights[:, 1].T).T.gt(0.5).to(device),
    )


def _weights(points: Tensor, joints: Tensor, quads: Tensor) -> Tensor:
    """Weights [5,3,n] of the joints."""
    distances = []
    for f in range(5):
        chain = torch.cat([joints[f], (2 * joints[f, 3] - joints[f, 2])[None]])
        if f:
            chain = torch.cat([0.75 * joints[f, :1], chain])
        distances.append(
            torch.stack([_to_segment(points, a, b) for a, b in itertools.pairwise(chain)]).amin(0)
        )
    own = F.one_hot(torch.stack(distances).argmin(0), 5).float()
    rows = []
    for f in range(5):
        for k in range(3):
            along = F.normalize(joints[f, k + 1] - joints[f, max(k - 1, 0)], dim=0)
            place = (points - joints[f, k]) @ along
            rows.append(own[:, f] * rise(place, -0.5 * _BLEND, 0.5 * _BLEND))
    weights = torch.stack(rows, 1)
    ends = torch.stack([quads, quads.roll(-1, 1)], -1).reshape(-1, 2)
    ends = torch.unique(torch.cat([ends, ends.flip(1)]), dim=0)
    count = torch.bincount(ends[:, 0], minlength=len(points)).clamp_min(1)[:, None]
    for _ in range(2):
        mean = torch.zeros_like(weights).index_add_(0, ends[:, 0], weights[ends[:, 1]]) / count
        weights = 0.5 * weights + 0.5 * mean
    return weights.T.reshape(5, 3, -1)


def _to_segment(points: Tensor, a: Tensor, b: Tensor) -> Tensor:
    t = ((points - a) @ (b - a) / (b - a).square().sum()).clamp(0, 1)
    apart: Tensor = (points - a - t[:, None] * (b - a)).norm(dim=1)
    return apart


def posed(model: HandModel, pose: Pose) -> Tensor:
    """Return the vertices [V,3] of the hand with its fingers bent, in its own frame."""
    points = model.control
    palm = points.new_tensor([0.0, 0.0, 1.0])
    for f in range(5):
        along = F.normalize(model.joints[f, 2] - model.joints[f, 0], dim=0)
        hinge = F.normalize(torch.linalg.cross(along, palm), dim=0)
        if f == 0:  # the thumb bends across the palm
            hinge = F.normalize(torch.linalg.cross(along, points.new_tensor([-0.75, 0.0, 0.66])), dim=0)
        for k in (2, 1, 0):
            angle = model.weights[f, k] * pose.curl[f][k]
            points = _turned(points, model.joints[f, k], hinge, angle)
        points = _turned(points, model.joints[f, 0], palm, model.weights[f, 0] * pose.spread[f])
    fine: Tensor = model.refine @ points
    return fine


def _turned(points: Tensor, centre: Tensor, axis: Tensor, angle: Tensor) -> Tensor:
    """Turn points [n,3] about an axis through `centre` by angles [n] (Rodrigues)."""
    v = points - centre
    c, s = torch.cos(angle)[:, None], torch.sin(angle)[:, None]
    along = (v @ axis)[:, None] * axis
    turned: Tensor = centre + v * c + torch.linalg.cross(axis.expand_as(v), v) * s + along * (1 - c)
    return turned


def placed(points: Tensor, wrist: Tensor, fingers: Tensor, palm: Tensor, right: bool) -> Tensor:
    """Return hand points [V,3] in the world.

    Args:
        points: in the hand's frame.
        wrist: [3], where the wrist is.
        fingers: [3], where the fingers point.
        palm: [3], where the palm faces; made perpendicular to `fingers`.
        right: whether it is a right hand.
    """
    y = F.normalize(fingers, dim=0)
    z = F.normalize(palm - (palm * y).sum() * y, dim=0)
    x = torch.linalg.cross(y, z) * (1.0 if right else -1.0)
    return wrist + points @ torch.stack([x, y, z])


def outward(model: HandModel, right: bool) -> Tensor:
    """Return the triangles, counter-clockwise from outside once `placed`."""
    return model.triangles[:, [0, 2, 1]] if right else model.triangles


def tone(values: Values, other: float | None) -> tuple[float, float, float]:
    """Return melanin, blood and warmth of the person's skin, or of another's by a number in [0,1]."""
    if other is not None:
        return 0.08 + 1.9 * other**1.5, 0.16, 0.0
    own = complexion(values, 0)
    return own.melanin, own.blood + 0.04, own.warmth


def skin_mesh(
    painter: Painter, model: HandModel, vertices: Tensor, right: bool, skin: tuple[float, float, float]
) -> Mesh:
    """Return the hand painted: darker knuckles, lighter palm, nails. `skin`: see `tone`."""
    melanin, blood, warmth = skin
    triangles = outward(model, right)
    normals = normals_of(vertices, triangles)
    rest = model.rest
    back = normals_of(rest, model.triangles)[:, 2]
    amount = torch.full_like(back, blood)
    pigment = melanin * (1 - 0.45 * rise(back, 0.1, 0.7))
    for f in range(1, 5):
        for k in (0, 1, 2):
            close = torch.exp(
                -((rest - model.joints[f, k]).square().sum(1) / (0.016 if k == 0 else 0.013) ** 2)
            )
            amount = amount + 0.30 * close * rise(back, 0.2, -0.5)
            pigment = pigment * (1 + 0.30 * close * rise(back, 0.2, -0.5))
    tips = torch.stack([(rest - model.joints[f, 3]).norm(dim=1) for f in range(5)]).amin(0)
    amount = amount + 0.20 * rise(tips, 0.05, 0.015)
    lines = 0.5 + 0.5 * torch.sin(900 * rest[:, 1] + 40 * torch.sin(120 * rest[:, 0]))
    base = rest.new_tensor([0.80 * math.exp(0.01 * warmth), 0.60, 0.485 * math.exp(-0.10 * warmth)])
    albedo = base * torch.exp(
        -pigment[:, None] * rest.new_tensor([0.72, 0.92, 1.08])
        - amount[:, None] * rest.new_tensor([0.08, 0.75, 0.62])
    )
    albedo = albedo * (1 - 0.05 * lines * rise(back, 0.2, -0.5))[:, None]
    albedo = albedo * (1 - 0.22 * _creases(model) * rise(back, 0.1, -0.4))[:, None]
    nail, edge, free = _nails(model)
    plate = blend(
        albedo * rest.new_tensor([1.04, 0.92, 0.92]), rest.new_tensor([0.72, 0.60, 0.54]), 0.85 * free
    )
    albedo = blend(albedo * (1 - 0.38 * edge)[:, None], plate, nail)
    return painter.mesh(vertices, normals, triangles, albedo, SKIN_WRAP, (0.02, 0.012))


def _creases(model: HandModel) -> Tensor:
    """How deep each vertex lies in a crease over a joint of a finger [V]."""
    found = torch.zeros_like(model.rest[:, 0])
    for f in range(1, 5):
        for k in (1, 2):
            along = F.normalize(model.joints[f, k + 1] - model.joints[f, k - 1], dim=0)
            v = model.rest - model.joints[f, k]
            place = v @ along
            lines = torch.exp(-(((place.abs() - 0.0045) / 0.0028) ** 2))
            found = torch.maximum(found, lines * rise(v.norm(dim=1), 0.024, 0.016))
    return found


def _nails(model: HandModel) -> tuple[Tensor, Tensor, Tensor]:
    """How far each vertex is of a nail, of its edge, and of its free end [V]."""
    found, edges, free = (torch.zeros_like(model.rest[:, 0]) for _ in range(3))
    palm = model.rest.new_tensor([0.0, 0.0, 1.0])
    for f in range(5):
        tip, last = model.joints[f, 3], model.joints[f, 2]
        along = F.normalize(tip - last, dim=0)
        out = palm if f else F.normalize(palm * 0.45 - model.rest.new_tensor([0.9, 0.0, 0.0]), dim=0)
        out = F.normalize(out - (out * along).sum() * along, dim=0)
        across = torch.linalg.cross(along, out)
        v = model.rest - tip
        a, b, depth = v @ along, v @ across, v @ out
        size = 0.0125 if f == 0 else 0.0095
        reach = (((a + 0.012) / (1.25 * size)) ** 4 + (b / size) ** 4) ** 0.25
        back = rise(depth, 0.0, -0.004)
        found = torch.maximum(found, back * rise(reach, 1.02, 0.88))
        edges = torch.maximum(edges, back * torch.exp(-(((reach - 1.08) / 0.14) ** 2)))
        free = torch.maximum(free, back * rise(a, -0.006, -0.003))
    return found, edges, free


def sleeve(painter: Painter, path: Tensor, cloth: Tensor, radius: tuple[float, float]) -> Mesh:
    """Return a sleeve about a path [K,3] from the cuff on, with linear albedo `cloth` [3]."""
    share = torch.linspace(0, 1, len(path), device=path.device)
    size = radius[0] + (radius[1] - radius[0]) * share
    size = size + 0.0015 * torch.sin(90 * share) * rise(share, 0.02, 0.2) - 0.004 * rise(share, 0.03, 0.0)
    vertices, triangles = tube(path, size, 28)
    normals = normals_of(vertices, triangles)
    along = torch.cat([share[:1], share, share[-1:]]).repeat_interleave(28)
    seam = torch.exp(-(((along - 0.06) / 0.006) ** 2))
    ribs = 0.5 + 0.5 * torch.cos(torch.arange(28, device=path.device).repeat(len(path) + 2) * 3.1416)
    albedo = cloth * (1 - 0.25 * seam - 0.06 * ribs * rise(along, 0.065, 0.05))[:, None]
    return painter.mesh(vertices, normals, triangles, albedo, (0.15, 0.15, 0.15))


def forearm(model: HandModel, points: int = 40) -> Tensor:
    """Return the path [K,3] of the sleeve in the hand's frame: straight from the wrist beyond the elbow."""
    t = torch.linspace(0.10, 1.1, points, device=model.control.device)[:, None]
    return t * model.elbow
