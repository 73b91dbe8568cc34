"""Face masks: cover the face, fade smoothly, end before the crop does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UnknownNameError
from pipeline.request.settings import CompositeSettings
from pipeline.video.masks import crop_mask, face_masks, with_forehead

SIZE = 96
KNOBS = CompositeSettings()


def face(centre=(48.0, 52.0), radius=20.0, tilt=0.0) -> np.ndarray:
    """68 points of a round face [68,2]: jaw from ear to ear, brows across, the rest inside."""
    jaw = np.linspace(0, np.pi, 17)
    points = np.zeros((68, 2))
    points[:17] = np.stack([-np.cos(jaw), 1.2 * np.sin(jaw)], -1)
    points[17:27] = np.stack([np.linspace(-0.8, 0.8, 10), np.full(10, -0.5)], -1)
    points[27:] = np.stack([0.4 * np.cos(np.arange(41)), 0.3 + 0.3 * np.sin(np.arange(41))], -1)
    points[33] = (0.0, 0.35)  # nose base, half way from brows to chin
    turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    return points @ turn.T * radius + centre


def one(points, affine=None, **knobs):
    affine = np.array([[1.0, 0, 0], [0, 1.0, 0]]) if affine is None else affine
    (mask,) = face_masks(points[None], affine[None], SIZE, KNOBS, **knobs)
    return mask


def at(mask, point):
    return int(mask[int(point[1]), int(point[0])])


@settings(max_examples=30)
@given(st.floats(25, 70), st.floats(30, 70), st.floats(5, 60), st.floats(-0.6, 0.6))
def test_always_zero_on_the_border_and_smooth(x, y, radius, tilt):
    mask = one(face((x, y), radius, tilt)).astype(int)
    assert mask.dtype == int and mask.shape == (SIZE, SIZE)
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    assert not border.any()
    # The steepest fall allowed is the smooth ramp at the crop's border: 3/2 of its mean slope.
    steepest = max(np.abs(np.diff(mask, axis=0)).max(), np.abs(np.diff(mask, axis=1)).max())
    assert steepest < 255 * 1.5 / (0.03 * SIZE) + 2


def test_covers_face_and_forehead_and_no_more():
    points = face()
    mask = one(points)
    assert all(at(mask, p) == 255 for p in points[27:])
    up = points[17:27].mean(0) - points[8]
    assert at(mask, points[17:27].mean(0) + 0.35 * up) == 255  # forehead
    assert at(mask, points[17:27].mean(0) + 0.85 * up) == 0  # hair
    reach = KNOBS.grow * SIZE
    assert at(mask, points[8] + (0, reach + 1.5)) == 0
    assert 0 < at(mask, points[8] + (0, 0.4 * reach)) < 255


def test_moves_with_the_face_in_sub_pixels():
    first, second = one(face()).astype(float), one(face((48.3, 52.0))).astype(float)
    columns = np.arange(SIZE)
    moved = (second * columns).sum() / second.sum() - (first * columns).sum() / first.sum()
    assert moved == pytest.approx(0.3, abs=0.02)


def test_landmarks_are_in_source_pixels():
    affine = np.array([[0.25, 0.0, 3.0], [0.0, 0.25, -5.0]])
    source = (face() - (3.0, -5.0)) / 0.25
    assert np.array_equal(one(source, affine), one(face()))


def test_forehead_follows_a_tilted_head():
    points = with_forehead(face(tilt=0.5))
    assert points.shape == (78, 2)
    across = points[72] - points[8]
    upright = with_forehead(face())[72] - with_forehead(face())[8]
    assert np.linalg.norm(across) == pytest.approx(np.linalg.norm(upright))


def test_an_open_mouth_does_not_reach_for_the_hair():
    closed, opened = face(), face()
    opened[4:13] += (0.0, 8.0)  # the lower jaw drops
    first_row = [int(np.flatnonzero(one(points).any(1))[0]) for points in (closed, opened)]
    assert first_row[0] == first_row[1]


def test_extra_region_is_covered_and_specks_are_not():
    blend = np.zeros((SIZE, SIZE), np.float32)
    blend[60:88, 30:66] = 0.9  # an occluder that hangs over the chin
    blend[5, 5] = 1.0
    blend[20:30, 80:90] = 0.4
    plain, covered = one(face()), one(face(), extra=blend[None])
    assert (covered[62:86, 32:64] == 255).all()
    assert (plain[84:88, 30:34] == 0).all()
    assert not covered[4:7, 4:7].any() and not covered[20:30, 84:90].any()
    assert (covered >= plain).all()
    assert np.array_equal(one(face(), extra=(blend[None] * 255).astype(np.uint8)), covered)
    half = one(face(), extra=blend[None, ::2, ::2])  # maps of another size are fitted
    assert np.abs(half.astype(int) - covered).mean() < 3


def test_crop_region_and_missing_faces():
    points = np.stack([face(), np.full((68, 2), np.nan)])
    affines = np.stack([np.array([[1.0, 0, 0], [0, 1.0, 0]])] * 2)
    whole, empty = face_masks(points, affines, SIZE, KNOBS, region="crop")
    assert np.array_equal(whole, crop_mask(SIZE, KNOBS.feather))
    assert (whole[10:-10, 10:-10] == 255).all() and not whole[0].any()
    assert not empty.any()
    with pytest.raises(UnknownNameError, match="face, crop"):
        next(face_masks(points, affines, SIZE, KNOBS, region="hair"))


def test_points_on_one_line_give_an_empty_mask():
    line = np.stack([np.linspace(10, 80, 68), np.linspace(10, 80, 68)], -1)
    assert not one(line).any()
