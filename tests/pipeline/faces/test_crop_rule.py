"""EG3D's crop rule: its own numbers, exact inverses, and what it does not depend on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inverters.generators.card import CropRule
from pipeline.faces.crop_rule import crop_affine, fit_crop, five_points
from pipeline.video.warp import invert_affine, warp_points
from tests.pipeline.faces.faces_data import rough_faces

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "cameras_golden.npz"
RULE = CropRule()


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(GOLDEN))


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
        error = np.abs(warp_points(corners, affine) - official)
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
    source = warp_points(points, invert_affine(whole))
    np.testing.assert_allclose(
        warp_points(source, crop_affine(params, RULE, 512)), [[[0, 0], [512, 512]]] * len(params), atol=1e-6
    )


@given(st.integers(0, 10_000), st.sampled_from([64, 256, 512]))
@settings(max_examples=40)
def test_the_inverse_is_exact(seed, size):
    affine = crop_affine(fit_crop(five_points(rough_faces(3, seed)), RULE), RULE, size)
    points = np.random.default_rng(seed).uniform(-500, 1500, (3, 20, 2))
    back = warp_points(warp_points(points, affine), invert_affine(affine))
    np.testing.assert_allclose(back, points, atol=1e-8)


@given(st.integers(0, 10_000), st.floats(0.2, 5.0), st.floats(-300, 300), st.floats(-300, 300))
@settings(max_examples=40)
def test_the_crop_shows_the_same_whatever_the_frames_size_and_place(seed, zoom, dx, dy):
    landmarks = rough_faces(1, seed)
    moved = landmarks * zoom + [dx, dy]
    here = warp_points(landmarks, crop_affine(fit_crop(five_points(landmarks), RULE), RULE, 256))
    there = warp_points(moved, crop_affine(fit_crop(five_points(moved), RULE), RULE, 256))
    np.testing.assert_allclose(here, there, atol=1e-6)
