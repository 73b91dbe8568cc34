"""Clothes, glasses and earrings of made-up people."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from inverters.people.body import Body, Shape, body, mean_values
from inverters.people.expressions import actions_of
from inverters.people.labels import CLOTH, GLASSES, JEWELLERY
from inverters.people.light import Light
from inverters.people.wear import Worn, dress
from inverters.people.wear.chart import distance_field
from inverters.people.wear.clothes import CUTS
from inverters.people.wear.cuts import OPENINGS, ground
from inverters.people.wear.glasses import THRESHOLD, style_of
from inverters.people.wear.head import Head
from inverters.people.wear.piece import grid, tube
from inverters.people.wear.torso import torso
from inverters.rendering.cameras import intrinsics, look_at
from inverters.rendering.drawing import Camera, hits


def dressed(**changes: float) -> tuple[Body, Shape, Worn]:
    values = mean_values(**changes)
    mesh = body("cpu")
    shape = mesh.shape(values, actions_of(values))
    return mesh, shape, dress(values, 0, mesh, shape)


def points_of(worn: Worn, label: int) -> Tensor:
    return torch.cat([p.vertices for p in worn.pieces if p.label == label])


def cut_value(cut: int, share: float = 0.5) -> float:
    return (cut + share) / len(CUTS)


def test_glasses_and_earrings_set_in_above_their_thresholds() -> None:
    for amount in (0.0, 0.5, THRESHOLD - 1e-3):
        _, _, worn = dressed(glasses=amount, earrings=amount)
        assert worn.glassy is None
        assert {p.label for p in worn.pieces} == {CLOTH}
    _, _, thin = dressed(glasses=THRESHOLD + 1e-3)
    _, _, strong = dressed(glasses=1.0)
    assert thin.glassy is not None and strong.glassy is not None
    assert thin.glassy.style.strength < 0.01 < 0.99 < strong.glassy.style.strength
    light = Light(mean_values(), 0, thin.occluders())
    faint, clear = (w.coloured(light)[1][0].colours[:, 3] for w in (thin, strong))
    assert faint.max() < 0.02 < clear.max() < 0.5


def test_earrings_hang_at_the_ears() -> None:
    for amount in (0.75, 1.0):
        mesh, shape, worn = dressed(earrings=amount, gender=1.0)
        rings = points_of(worn, JEWELLERY)
        ears = shape.neutral[mesh.level1.mask("ears") > 0.5]
        assert torch.cdist(rings, ears).amin(1).max() < 0.075
        assert (rings[:, 0] > 0).any() and (rings[:, 0] < 0).any()


@pytest.mark.parametrize("shape_value", [0.0, 0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("width", [-1.0, 1.0])
def test_frames_stay_outside_the_head(shape_value: float, width: float) -> None:
    mesh, shape, worn = dressed(glasses=0.95, glasses_shape=shape_value, head_width=width, nose_bridge=width)
    frame = points_of(worn, GLASSES)
    head = Head("cpu", shape)
    # The front lies before the face; beside it the temples lie outside of the head until they reach the ears.
    front = frame[frame[:, 2] > frame[:, 2].max() - 0.03]
    assert (front[:, 2] > head.front(front[:, :2]) - 2e-3).all()
    beside = frame[(frame[:, 2] > 0.03) & (frame[:, 2] < frame[:, 2].max() - 0.05)]
    assert len(beside) > 50
    assert (beside[:, 0].abs() > head.side(beside[:, 1:]) - 2e-3).all()
    assert frame[:, 2].min() < shape.neutral[mesh.level1.mask("ears") > 0.5][:, 2].max()


def test_glasses_follow_the_head_and_not_the_expression() -> None:
    narrow, wide, smiling = (
        points_of(dressed(glasses=0.9, **k)[2], GLASSES)
        for k in (
            {"head_width": -1.0},
            {"head_width": 1.0},
            {"head_width": 1.0, "smile": 1.0, "mouth_open": 1.0},
        )
    )
    assert wide[:, 0].max() > narrow[:, 0].max() + 0.002
    assert torch.equal(wide, smiling)


def test_style_changes_smoothly() -> None:
    outlines = []
    for value in torch.linspace(0, 1, 81).tolist():
        style = style_of(mean_values(glasses=0.9, glasses_shape=value))
        assert style is not None
        outlines.append(torch.tensor(style.outline))
    steps = (torch.stack(outlines[1:]) - torch.stack(outlines[:-1])).abs().amax(0)
    assert steps[0] < 1e-3 and steps[2] < 0.2


@pytest.mark.parametrize("cut", range(len(CUTS)))
@pytest.mark.parametrize("share", [0.1, 0.45, 0.6, 0.9])
def test_cuts_cover_the_shoulders(cut: int, share: float) -> None:
    mesh, shape, worn = dressed(clothing_cut=cut_value(cut, share), weight=share, gender=float(share > 0.5))
    for piece in worn.pieces:
        for tensor in (piece.vertices, piece.normals, piece.albedo, piece.gloss):
            assert tensor.isfinite().all()
        assert (piece.normals.norm(dim=1) - 1).abs().max() < 1e-3
        assert (piece.albedo >= 0).all() and (piece.albedo <= 1.5).all()
        assert piece.triangles.min() >= 0 and piece.triangles.max() < len(piece.vertices)
    c = mesh.level2.canonical[mesh.level2.triangles.long()].mean(1)
    shoulders = (c[:, 0].abs() > 0.22) & (c[:, 1] < -0.31) & (c[:, 1] > -0.55)
    assert worn.hidden[shoulders].all()
    assert not worn.hidden[c[:, 1] > -0.15].any()
    light = Light(mean_values(), 0, torch.cat([shape.vertices, worn.occluders()]))
    opaque, glassy = worn.coloured(light)
    assert not glassy
    for drawn in opaque:
        assert drawn.colours.isfinite().all() and drawn.colours.min() >= 0 and drawn.colours.max() <= 1


@pytest.mark.parametrize(
    ("cut", "share", "name"),
    [(0, 0.1, "crew"), (1, 0.6, "vee"), (2, 0.2, "shirt"), (3, 0.5, "turtle"), (5, 0.5, "hood")],
)
def test_no_skin_before_the_cloth(cut: int, share: float, name: str) -> None:
    mesh, shape, worn = dressed(clothing_cut=cut_value(cut, share), weight=0.9, mouth_open=1.0)
    level = mesh.level2
    own = level.triangles[~worn.hidden]
    vertices, triangles, start = [shape.fine], [own], len(shape.fine)
    for piece in worn.pieces:
        vertices.append(piece.vertices)
        triangles.append(piece.triangles + start)
        start += len(piece.vertices)
    camera = intrinsics(2.5)[0]
    camera[1, 2] = 0.2
    seen, _ = hits(
        (192, 192), Camera(look_at(0.0, 0.0)[0], camera), torch.cat(vertices), torch.cat(triangles).int()
    )
    skin = own[seen[(seen >= 0) & (seen < len(own))].long()].long()
    assert len(skin) > 1000
    t = torso("cpu")
    distance = torch.full((len(level.canonical),), -1.0)
    distance[t.index2] = distance_field("cpu", OPENINGS[name](t.canonical2))
    assert not (distance[skin].amin(1) > 0.02).any()


def test_borders_are_smooth() -> None:
    for name in OPENINGS:
        g = ground("cpu", name)
        chart = (g.chart.matrix @ torso("cpu").canonical1).reshape(len(g.chart.levels), -1, 3)
        step = (chart - chart.roll(-1, 1)).norm(dim=-1)
        assert step.min() > 1e-4
        assert (step.amax(1) / step.mean(1)).max() < 2.0
        assert g.sheet.field.min() > -1e-5


def test_clothes_stay_where_they_are_in_every_expression() -> None:
    rest, moved = (points_of(dressed(mouth_open=x, smile=x)[2], CLOTH) for x in (0.0, 1.0))
    assert torch.equal(rest, moved)


def test_grids_point_outwards() -> None:
    path = torch.stack([torch.linspace(0, 1, 9), torch.zeros(9), torch.zeros(9)], 1)
    vertices, normals, triangles = tube(path, torch.tensor([[0.1, 0.2]]), torch.tensor([0.0, 1.0, 0.0]))
    middle = (vertices[:, 0] > 0.2) & (vertices[:, 0] < 0.8)
    assert ((vertices * normals)[:, 1:].sum(1) > 0)[middle].all()
    a, b, c = vertices[triangles.long()].unbind(1)
    face = torch.linalg.cross(b - a, c - a)
    assert ((face * normals[triangles[:, 0].long()]).sum(1) >= -1e-6).all()
    assert grid(torch.rand(4, 5, 3), (True, True))[2].shape == (40, 3)


def test_worn_is_frozen() -> None:
    _, _, worn = dressed()
    with pytest.raises(dataclasses.FrozenInstanceError):
        worn.hidden = worn.hidden  # type: ignore[misc]
