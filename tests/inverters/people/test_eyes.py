"""Eyes: they turn with the gaze and take the colours of their parameters."""

from __future__ import annotations

import pytest
import torch

from inverters.people.body import body, mean_values
from inverters.people.expressions import actions_of
from inverters.people.eyes import IRIS, SIDES, cap, make_eyes, pose
from inverters.people.light import Light
from inverters.people.params import sample_scores, to_values
from inverters.people.parts import Mesh

_EUROPEAN = {"caucasian": 1.0, "african": -1.0, "asian": -1.0}


def _eyes(**changes: float) -> list[Mesh]:
    mesh, values = body(), mean_values(**changes)
    shape = mesh.shape(values, actions_of(values))
    light = Light(values, 0, shape.vertices[mesh.level1.canonical[:, 1] > -0.6])
    return make_eyes(values, 0, mesh, shape, light)


def _iris() -> torch.Tensor:
    angle = cap(torch.device("cpu")).angle
    return (angle > 0.2) & (angle < IRIS - 0.06)


def _axis(eye: Mesh) -> torch.Tensor:
    return eye.vertices[0] - eye.vertices[-72:].mean(0)


def test_eyes_of_random_people_are_finite_display_values() -> None:
    mesh = body()
    for values in (to_values(sample_scores(1, torch.Generator().manual_seed(s))) for s in range(3)):
        shape = mesh.shape(values, actions_of(values))
        light = Light(values, 0, shape.vertices)
        for eye in make_eyes(values, 0, mesh, shape, light):
            assert torch.isfinite(eye.vertices).all() and torch.isfinite(eye.colours).all()
            assert eye.colours.min() >= 0 and eye.colours.max() <= 1


@pytest.mark.parametrize(("name", "axis"), [("gaze_x", 0), ("gaze_y", 1)])
def test_gaze_turns_both_irises_to_the_images_right_and_up(name: str, axis: int) -> None:
    low, high = _eyes(**{name: -0.9}), _eyes(**{name: 0.9})
    for a, b in zip(low, high, strict=True):
        assert _axis(b)[axis] - _axis(a)[axis] > 0.008


def test_eyes_are_rigid_and_where_the_mesh_has_them() -> None:
    mesh, values = body(), mean_values(gaze_x=0.8)
    shape = mesh.shape(values, actions_of(values))
    for side in SIDES:
        rotation, centre, size = pose(mesh, shape, side)
        assert torch.allclose(rotation @ rotation.T, torch.eye(3), atol=1e-4)
        assert torch.linalg.det(rotation) == pytest.approx(1.0, abs=1e-4)
        own = mesh.level1.is_part(f"{side}_eye")
        assert torch.allclose(shape.neutral[own].mean(0), centre, atol=0.003)
        assert 0.6 < size < 1.5


def test_triangles_face_outwards() -> None:
    ball = cap(torch.device("cpu"))
    a, b, c = (ball.vertices[ball.triangles[:, k].long()] for k in range(3))
    outward = (torch.linalg.cross(b - a, c - a) * (a + b + c)).sum(1)
    assert (outward > 0).all()


def test_eye_colour_goes_from_brown_to_blue_and_stays_brown_far_from_europe() -> None:
    brown, blue = (_eyes(**_EUROPEAN, eye_colour=e)[0].colours[_iris()].mean(0) for e in (0.0, 1.0))
    assert brown[0] > brown[2] and blue[2] > blue[0]
    other = _eyes(african=1.0, asian=-1.0, caucasian=-1.0, eye_colour=1.0)[0].colours[_iris()].mean(0)
    assert other[0] > other[2]


def test_eye_shade_darkens_the_iris() -> None:
    light, dark = (_eyes(eye_shade=s)[0].colours[_iris()].mean() for s in (0.0, 1.0))
    assert dark < light - 0.05


def test_pupil_is_darker_than_iris_and_iris_than_white() -> None:
    angle = cap(torch.device("cpu")).angle
    eye = _eyes(**_EUROPEAN, eye_colour=0.8)[0].colours.mean(1)
    front = cap(torch.device("cpu")).vertices[:, 1].abs() < 0.004
    pupil, iris, white = (
        eye[front & (angle > lo) & (angle < hi)].median() for lo, hi in ((-1, 0.1), (0.2, 0.35), (0.52, 0.7))
    )
    assert pupil < iris < white < 0.95


def test_the_highlight_stays_on_the_lights_side() -> None:
    for x in (-0.8, 0.8):
        for eye in _eyes(light_x=x, light_y=0.4, african=1.0, eye_shade=1.0):
            inside = cap(torch.device("cpu")).angle < IRIS
            brightest = eye.vertices[inside][eye.colours[inside].mean(1).argmax()]
            assert (brightest[0] - eye.vertices[0, 0]) * x > 0
