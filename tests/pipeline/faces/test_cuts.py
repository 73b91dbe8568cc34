"""Where shots begin: changes of the picture and jumps of a face that their neighbours do not explain."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.faces.cuts import jump_cuts, lasting, picture_cuts, shots

STILL = np.full(20, 100.0)


def line(speeds):
    """Centres [N,2] of a face that goes to the right by these many pixels a frame."""
    return np.stack([np.cumsum(speeds), np.full(len(speeds), 50.0)], axis=1).astype(float)


def test_a_cut_between_quiet_shots_is_found_and_a_pan_is_none():
    quiet = np.array([0, 1, 2, 1, 2, 40, 2, 1, 1, 2.0])
    np.testing.assert_array_equal(np.flatnonzero(picture_cuts(quiet)), [5])
    assert not picture_cuts(np.full(10, 25.0)).any()


def test_a_jump_is_found_and_a_start_of_motion_is_none():
    speeds = np.r_[np.ones(10), 30, np.ones(9)]
    np.testing.assert_array_equal(np.flatnonzero(jump_cuts(line(speeds), STILL)), [10])
    assert not jump_cuts(line(np.r_[np.zeros(10), np.full(10, 30.0)]), STILL).any()


@given(st.floats(2, 60), st.floats(0.5, 4), st.floats(0, 6))
@settings(max_examples=40)
def test_a_shake_is_never_a_jump(reach, hertz, phase):
    t = np.arange(20) / 25
    centers = np.stack([reach * np.sin(2 * np.pi * hertz * t + phase), np.zeros(20)], axis=1)
    assert not jump_cuts(centers, STILL)[2:-1].any()


def test_a_sudden_change_of_size_is_a_jump_and_gaps_are_none():
    sizes = np.r_[np.full(10, 100.0), np.full(10, 150.0)]
    np.testing.assert_array_equal(np.flatnonzero(jump_cuts(np.zeros((20, 2)), sizes)), [10])
    sizes[8:12] = np.nan
    assert not jump_cuts(np.zeros((20, 2)), sizes).any()


def test_a_moment_that_is_taken_back_begins_no_shot():
    cuts = np.zeros(20, bool)
    cuts[[8, 13]] = True
    times, centers = np.arange(20) / 25, np.zeros((20, 2))
    thumbs = [np.full((24, 24, 3), 90.0 if 8 <= n < 13 else 30.0, np.float32) for n in range(20)]
    assert not lasting(cuts, thumbs, centers, STILL, times).any()
    centers[8:13] = np.nan
    assert not lasting(cuts, thumbs, centers, STILL, times).any()
    centers[13:] = 80.0
    np.testing.assert_array_equal(lasting(cuts, thumbs, centers, STILL, times), cuts)
    centers[13:] = 0.0
    np.testing.assert_array_equal(lasting(cuts, thumbs, centers, STILL, times * 10), cuts)


def test_a_face_that_slides_under_a_hand_and_jumps_back_begins_no_shot():
    cuts, thumbs = np.zeros(20, bool), [np.full((24, 24, 3), 30.0, np.float32)] * 20
    cuts[15] = True
    times, centers = np.arange(20) / 25, np.zeros((20, 2))
    centers[:, 0] = 0.2 * np.arange(20)
    centers[11:15] += [[4, 0], [7, 0], [10, 0], [12, 0]]
    assert not lasting(cuts, thumbs, centers, STILL, times).any()
    np.testing.assert_array_equal(lasting(cuts, thumbs, centers, STILL, times * 10), cuts)
    elsewhere = centers + np.where(np.arange(20) >= 15, 24.0, 0.0)[:, None]
    np.testing.assert_array_equal(lasting(cuts, thumbs, elsewhere, STILL, times), cuts)
    other = [*thumbs[:15], *[np.full((24, 24, 3), 60.0, np.float32)] * 5]
    np.testing.assert_array_equal(lasting(cuts, other, centers, STILL, times), cuts)


def test_shots_are_numbered_from_nought():
    np.testing.assert_array_equal(shots(np.array([False, False, True, False, True])), [0, 0, 1, 1, 2])
