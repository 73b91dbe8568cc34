"""Stage `align`: a crop for every frame with a face, none for the others."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from inverters.generators.card import CropRule
from pipeline.clip import FaceTrack, Status
from pipeline.stages.align import align
from pipeline.video.warp import warp_points
from tests.pipeline.faces.faces_data import rough_faces

RULE = CropRule()


def track_of(landmarks, status=None):
    count = len(landmarks)
    dense = np.full((count, 478, 2), np.nan, np.float32)
    state = np.full(count, Status.FOUND, np.uint8) if status is None else np.asarray(status, np.uint8)
    return FaceTrack(landmarks.astype(np.float32), dense, state, "test")


def test_no_rotation_and_equal_scales():
    affine = align(track_of(rough_faces(4)), RULE, 512).affine
    np.testing.assert_array_equal(affine[:, 0, 1], 0)
    np.testing.assert_array_equal(affine[:, 1, 0], 0)
    np.testing.assert_allclose(affine[:, 0, 0], affine[:, 1, 1])


def test_frames_without_a_face_have_no_crop():
    landmarks = rough_faces(4)
    landmarks[2] = np.nan
    crops = align(track_of(landmarks, [2, 1, 0, 2]), RULE, 512)
    assert np.isnan(crops.affine[2]).all() and np.isfinite(crops.affine[[0, 1, 3]]).all()
    assert crops.size == 512
    empty = align(track_of(np.full((2, 68, 2), np.nan), [0, 0]), RULE, 512)
    assert np.isnan(empty.affine).all()


def test_small_motion_moves_the_crop_by_less_than_a_pixel():
    landmarks = np.repeat(rough_faces(1), 2, axis=0)
    landmarks[1] += 0.1
    affine = align(track_of(landmarks), RULE, 512).affine
    shift = np.abs(affine[1, :, 2] - affine[0, :, 2])
    expected = 0.1 * affine[0, 0, 0]
    np.testing.assert_allclose(shift, expected, rtol=1e-3)


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_face_on_its_side_or_upside_down_has_the_crop_of_the_upright_one(turn):
    upright = rough_faces(3)
    wanted = align(track_of(upright), RULE, 512).affine
    angle = turn * np.pi / 2
    turned = upright @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) + 900
    affine = align(track_of(turned), RULE, 512).affine
    np.testing.assert_allclose(warp_points(turned, affine), warp_points(upright, wanted), atol=1e-2)


def test_pixels_that_are_not_square_give_the_crop_of_the_same_face():
    square = rough_faces(4)
    narrow = square * [0.7, 1.0]  # as stored with pixels 10/7 wide
    wanted = align(track_of(square), RULE, 512).affine
    affine = align(track_of(narrow), RULE, 512, Fraction(10, 7)).affine
    np.testing.assert_allclose(warp_points(narrow, affine), warp_points(square, wanted), atol=1e-3)
