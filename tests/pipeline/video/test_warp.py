"""Warps: exact to the sub-pixel, inverse to each other, without aliases."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.clip import Clip, Crops
from pipeline.video.warp import back_box, crop_frames, invert_affine, warp_back, warp_crop, warp_points


def similarity(scale: float, angle: float, x: float, y: float) -> np.ndarray:
    """Affine [2,3] of scale, rotation in radians, then translation."""
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    return np.array([[c, -s, x], [s, c, y]])


affines = st.builds(
    similarity, st.floats(0.3, 3.0), st.floats(-3.1, 3.1), st.floats(-200, 200), st.floats(-200, 200)
)


@given(affines)
def test_inverse_is_exact(affine):
    points = np.array([[0.0, 0.0], [640.0, 3.5], [-20.0, 360.25]])
    assert warp_points(warp_points(points, affine), invert_affine(affine)) == pytest.approx(points, abs=1e-8)


@pytest.mark.parametrize("affine", [np.zeros((2, 3)), np.full((2, 3), np.nan), np.ones((2, 3))])
def test_no_inverse(affine):
    with pytest.raises(ValueError, match="inverse"):
        invert_affine(affine)


def ramp(height: int, width: int) -> np.ndarray:
    """A picture whose value at continuous (x, y) is x + y: bilinear samples of it are exact."""
    return (np.arange(width) + 0.5)[None, :] + (np.arange(height) + 0.5)[:, None]


@settings(max_examples=60)
@given(st.floats(1.0, 4.0), st.floats(-3.1, 3.1), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
def test_samples_lie_exactly_where_the_affine_says(scale, angle, dx, dy):
    """Sub-pixel exactness: OpenCV's 1/32 grid would be off by up to 0.03 here."""
    image = ramp(80, 80).astype(np.float32)
    centre = similarity(scale, angle, 0, 0)[:, :2] @ (40, 40)
    affine = similarity(scale, angle, 20 - centre[0] + dx, 20 - centre[1] + dy)
    # warp_back samples its first argument at affine(pixel centres), so hand it the inverse to look forward.
    seen = warp_back(image, invert_affine(affine), (0, 0, 40, 40), antialias=False)
    rows, columns = np.mgrid[0:40, 0:40] + 0.5
    wanted = warp_points(np.stack([columns, rows], -1), invert_affine(affine)).sum(-1)
    assert np.abs(seen - wanted).max() < 2e-4 * scale + 1e-3


def test_whole_pixel_moves_are_exact_to_the_bit():
    frame = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    affine = similarity(1.0, 0.0, -7.0, -11.0)
    crop = warp_crop(frame, affine, 32)
    assert np.array_equal(crop, frame[11:43, 7:39])
    back = warp_back(crop, affine, (7, 11, 39, 43))
    assert np.array_equal(back, frame[11:43, 7:39].astype(np.float32))


def test_quarter_turns_are_exact_to_the_bit():
    frame = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    affine = np.array([[0.0, -1.0, 32.0], [1.0, 0.0, 0.0]])  # x right goes to y down: clockwise
    assert np.array_equal(warp_crop(frame, affine, 32), np.rot90(frame, -1))


@settings(max_examples=40)
@given(st.floats(0.5, 2.5), st.floats(-0.6, 0.6), st.floats(-3, 3), st.floats(-3, 3))
def test_there_and_back_is_the_picture(scale, angle, dx, dy):
    y, x = np.mgrid[0:120, 0:120]
    smooth = np.stack([128 + 90 * np.sin(x / 17 + k) * np.cos(y / 19 - k) for k in range(3)], -1).astype(
        np.uint8
    )
    size = 96
    centre = similarity(scale, angle, 0, 0)[:, :2] @ (60, 60)
    affine = similarity(scale, angle, size / 2 - centre[0] + dx, size / 2 - centre[1] + dy)
    crop = warp_crop(smooth, affine, size)
    margin = 6.0 + 3 * scale
    box = back_box(affine, (margin, margin, size - margin, size - margin), 120, 120)
    x0, y0, x1, y1 = box
    back = warp_back(crop, affine, box)
    columns, rows = np.meshgrid(np.arange(x0, x1) + 0.5, np.arange(y0, y1) + 0.5)
    inside = warp_points(np.stack([columns, rows], -1), affine)
    keep = ((inside > margin) & (inside < size - margin)).all(-1)
    keep &= (columns > 8) & (rows > 8) & (columns < 112) & (rows < 112)  # the frame's own edge is repeated
    error = np.abs(back - smooth[y0:y1, x0:x1])[keep]
    assert keep.any()
    assert error.mean() < 1.5 and error.max() < 6


def test_minifying_has_no_aliases_and_keeps_brightness():
    """A one-pixel chequerboard shrunk 5 times must be even grey; sampled without a low pass it is noise."""
    board = np.indices((200, 200)).sum(0)[..., None].repeat(3, -1) % 2 * 255
    crop = warp_crop(board.astype(np.uint8), similarity(0.2, 0.1, 0.0, 0.0), 36)[8:-8, 8:-8]
    assert abs(crop.mean() - 127.5) < 2
    assert crop.std() < 4


def test_sharpness_does_not_jump_at_scale_one():
    frame = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    at_one = warp_crop(frame, similarity(1.0, 0, 0, 0), 60).astype(float)
    below = warp_crop(frame, similarity(0.9999, 0, 0, 0), 60).astype(float)
    assert np.abs(at_one - below).max() < 4


def test_outside_the_frame_its_edge_is_repeated():
    frame = np.random.default_rng(3).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    crop = warp_crop(frame, similarity(1.0, 0.0, 20.0, 20.0), 40)
    np.testing.assert_array_equal(crop[20:, 20:], frame[:20, :20])
    assert (crop[:20, :20] == frame[0, 0]).all()
    np.testing.assert_array_equal(crop[5, 20:], frame[0, :20])
    assert not warp_crop(frame, similarity(1.0, 0.0, 500.0, 0.0), 40).any()
    assert back_box(similarity(1.0, 0.0, 500.0, 0.0), (0, 0, 40, 40), 40, 40) is None


class ListSource:
    def __init__(self, frames):
        self.held = frames

    def __len__(self):
        return len(self.held)

    def frames(self, start=0, stop=None):
        yield from self.held[start:stop]


def test_crop_frames_knows_frames_by_their_index():
    frames = [np.full((20, 20, 3), 10 * i, np.uint8) for i in range(6)]
    affine = np.stack([similarity(1.0, 0.0, 0.0, 0.0)] * 6)
    affine[[0, 3]] = np.nan
    clip = Clip(
        path=Path("x"),
        content_hash="",
        width=20,
        height=20,
        times=np.arange(6) / 25,
        pts=np.arange(6),
        time_base=Fraction(1, 25),
        rate=Fraction(25),
        duration=0.24,
        has_audio=False,
        source=ListSource(frames),
    )
    found = list(crop_frames(clip, Crops(affine, 16)))
    assert [index for index, _ in found] == [1, 2, 4, 5]
    assert all((crop == 10 * index).all() and crop.shape == (16, 16, 3) for index, crop in found)
    assert [index for index, _ in crop_frames(clip, Crops(affine, 16), 2, 5)] == [2, 4]


def test_only_the_axis_that_is_minified_is_low_passed():
    """A crop of fine upright bars, from pixels half as wide as high: the bars go, flat bars stay."""
    bars = np.tile(np.array([[0, 255]], np.uint8), (64, 64))[..., None].repeat(3, 2)
    affine = np.array([[0.5, 0, 0], [0, 1, 0]])
    across = warp_crop(bars, affine, 64)
    down = warp_crop(
        np.ascontiguousarray(bars.transpose(1, 0, 2)[:64, :64]), np.array([[0.5, 0, 0], [0, 1, 0]]), 32
    )
    assert np.ptp(across[8:-8, 8:-8].astype(int)) < 12
    assert np.ptp(down[8:-8, 8:-8].astype(int)) > 200
