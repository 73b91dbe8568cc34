"""The crop: EG3D's own numbers, exact inverses, and what it does not depend on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inverters.generators.card import CropRule
from pipeline.clip import FaceTrack, Status
from pipeline.stages.align import align, apply_affine, crop_affine, fit_crop, five_points, invert_affine

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "cameras_golden.npz"
RULE = CropRule()


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(GOLDEN))


def faces(count, seed=0, spread=40.0):
    """Rough 68-point faces [count,68,2] with eyes, nose and mouth where they belong."""
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 3, (count, 68, 2)) + 200
    for slots, place in (
        ((36, 37, 38, 39, 40, 41), (-30, -28)),
        ((42, 43, 44, 45, 46, 47), (30, -28)),
        ((30,), (0, 5)),
        ((48,), (-25, 38)),
        ((54,), (25, 38)),
    ):
        points[:, list(slots)] += place
    return points + rng.normal(0, spread, (count, 1, 2))


def track_of(landmarks, status=None):
    count = len(landmarks)
    dense = np.full((count, 478, 2), np.nan, np.float32)
    state = np.full(count, Status.FOUND, np.uint8) if status is None else np.asarray(status, np.uint8)
    return FaceTrack(landmarks.astype(np.float32), dense, state, "test")


def test_five_points_are_the_official_means():
    points = np.arange(136.0).reshape(68, 2) ** 1.5
    five = five_points(points)
    np.testing.assert_allclose(five[0], (points[36] + points[39]) / 2)
    np.testing.assert_allclose(five[1], (points[42] + points[45]) / 2)
    np.testing.assert_allclose(five[2:], points[[30, 48, 54]])


def test_scale_and_centre_equal_the_official_fit(golden):
    # the rule's points are the official ones rounded to five digits
    exact = replace(RULE, points3d=tuple(map(tuple, golden["lm3d_std"])))
    params = fit_crop(golden["align_landmarks"], exact)
    _, height, s, tx, ty = golden["align_params"].T
    # the official y is measured upwards from the last row
    official = np.stack([s, tx, height - 1 - ty], axis=1)
    np.testing.assert_allclose(params, official, rtol=2e-7)
    np.testing.assert_allclose(fit_crop(golden["align_landmarks"], RULE), official, rtol=5e-6)


def test_the_affine_equals_the_official_steps_but_for_their_rounding(golden):
    target = 1024
    rule = CropRule(centre_crop=target)
    for k, (width, height) in enumerate(golden["align_sizes"]):
        # the official landmarks count pixels from their centres, ours from their corners
        affine = crop_affine(fit_crop(golden["align_landmarks"][k] + 0.5, rule), rule, target)
        new_w, new_h, left, upper, right, lower = golden["align_resize_and_crop1024"][k]
        corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], dtype=np.float64)
        official = corners * [new_w / width, new_h / height] - [left, upper]
        error = np.abs(apply_affine(affine, corners) - official)
        # whole-pixel size and corner: one pixel each; and their half a source pixel between the two ways
        # to count
        half = 0.5 * golden["align_params"][k, 2]
        assert error.max() <= 2.0 + half
        assert (right - left, lower - upper) == (target, target)


def test_the_middle_of_the_crop_is_the_official_centre_crop(golden):
    _, _, left, upper, right, lower = golden["align_center_crop700"][0]
    params = fit_crop(golden["align_landmarks"], RULE)
    whole = crop_affine(params, CropRule(centre_crop=1024), 1024)
    points = np.array([[left, upper], [right, lower]], dtype=np.float64)
    source = apply_affine(invert_affine(whole), points)
    np.testing.assert_allclose(
        apply_affine(crop_affine(params, RULE, 512), source), [[[0, 0], [512, 512]]] * len(params), atol=1e-6
    )


@given(st.integers(0, 10_000), st.sampled_from([64, 256, 512]))
@settings(max_examples=40, deadline=None)
def test_the_inverse_is_exact(seed, size):
    crops = align(track_of(faces(3, seed)), RULE, size)
    points = np.random.default_rng(seed).uniform(-500, 1500, (3, 20, 2))
    back = apply_affine(invert_affine(crops.affine), apply_affine(crops.affine, points))
    np.testing.assert_allclose(back, points, atol=1e-8)


@given(st.integers(0, 10_000), st.floats(0.2, 5.0), st.floats(-300, 300), st.floats(-300, 300))
@settings(max_examples=40, deadline=None)
def test_the_crop_shows_the_same_whatever_the_frames_size_and_place(seed, zoom, dx, dy):
    landmarks = faces(1, seed)
    moved = landmarks * zoom + [dx, dy]
    here = apply_affine(crop_affine(fit_crop(five_points(landmarks), RULE), RULE, 256), landmarks)
    there = apply_affine(crop_affine(fit_crop(five_points(moved), RULE), RULE, 256), moved)
    np.testing.assert_allclose(here, there, atol=1e-6)


def test_no_rotation_and_equal_scales():
    affine = align(track_of(faces(4)), RULE, 512).affine
    np.testing.assert_array_equal(affine[:, 0, 1], 0)
    np.testing.assert_array_equal(affine[:, 1, 0], 0)
    np.testing.assert_allclose(affine[:, 0, 0], affine[:, 1, 1])


def test_frames_without_a_face_have_no_crop():
    landmarks = faces(4)
    landmarks[2] = np.nan
    crops = align(track_of(landmarks, [2, 1, 0, 2]), RULE, 512)
    assert np.isnan(crops.affine[2]).all() and np.isfinite(crops.affine[[0, 1, 3]]).all()
    assert crops.size == 512
    empty = align(track_of(np.full((2, 68, 2), np.nan), [0, 0]), RULE, 512)
    assert np.isnan(empty.affine).all()


def test_small_motion_moves_the_crop_by_less_than_a_pixel():
    landmarks = np.repeat(faces(1), 2, axis=0)
    landmarks[1] += 0.1
    affine = align(track_of(landmarks), RULE, 512).affine
    shift = np.abs(affine[1, :, 2] - affine[0, :, 2])
    expected = 0.1 * affine[0, 0, 0]
    np.testing.assert_allclose(shift, expected, rtol=1e-3)
