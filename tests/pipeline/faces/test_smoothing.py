"""Smoothing and interpolation keep what they must keep."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.faces.smoothing import fill_gaps, smooth, weights_at

masks = st.lists(st.booleans(), min_size=1, max_size=40).map(np.array)
windows = st.floats(0.0, 0.6)
kinds = st.sampled_from(["box", "gaussian", "none"])
stamps = st.lists(st.floats(0.005, 0.5), min_size=1, max_size=30).map(np.cumsum)
labels = st.lists(st.integers(0, 2), min_size=30, max_size=30).map(lambda n: np.cumsum(np.array(n) == 0))


@given(kinds, windows, st.floats(0, 2))
@settings(max_examples=50)
def test_weights_are_even_in_time_and_greatest_at_the_frame_itself(kind, window, apart):
    weight, mirrored, own = weights_at(np.array([apart, -apart, 0.0]), kind, window)
    assert weight == mirrored and 0 <= weight <= own == 1


def test_a_box_holds_the_frames_within_its_width():
    values = np.array([0.0, 3.0, 6.0, 0.0, 1.0])
    times = np.arange(5) / 25
    found = smooth(values, times, np.zeros(5, int), "box", 0.09)
    np.testing.assert_allclose(found[1:4], [3, 3, 7 / 3])


@given(stamps, labels, kinds, windows, st.integers(0, 1000))
@settings(max_examples=60)
def test_nothing_crosses_from_one_run_to_the_next(times, run, kind, window, seed):
    run = run[: len(times)]
    values = np.random.default_rng(seed).normal(size=(len(times), 2))
    out = smooth(values, times, run, kind, window)
    for number in set(run.tolist()):
        own = run == number
        alone = smooth(values[own], times[own], run[own], kind, window)
        np.testing.assert_allclose(out[own], alone, atol=1e-9)


@given(stamps, kinds, windows, st.floats(-50, 50), st.floats(-50, 50))
@settings(max_examples=60)
def test_steady_motion_is_kept_at_any_frame_times(times, kind, window, slope, offset):
    values = (offset + slope * times)[:, None]
    out = smooth(values, times, np.zeros(len(times), int), kind, window)
    np.testing.assert_allclose(out, values, atol=1e-6)


@given(stamps, kinds, windows, st.integers(0, 1000))
@settings(max_examples=40)
def test_time_that_runs_backwards_gives_the_same(times, kind, window, seed):
    """A filter without lag."""
    values, run = np.random.default_rng(seed).normal(size=len(times)), np.zeros(len(times), int)
    forward = smooth(values, times, run, kind, window)
    backward = smooth(values[::-1], (times[-1] - times)[::-1], run, kind, window)[::-1]
    np.testing.assert_allclose(forward, backward, atol=1e-9)


@given(stamps, windows, st.floats(0.1, 10), st.integers(0, 1000))
@settings(max_examples=40)
def test_no_correction_is_longer_than_its_reach(times, window, reach, seed):
    values = np.random.default_rng(seed).normal(0, 20, (len(times), 3, 2))
    out = smooth(values, times, np.zeros(len(times), int), "gaussian", window, reach)
    assert np.linalg.norm(out - values, axis=-1).max() <= 0.43 * reach


@given(stamps, labels, kinds, windows, st.integers(0, 1000))
@settings(max_examples=40)
def test_a_mean_stays_within_its_values_and_a_constant_is_kept_to_the_bit(times, run, kind, window, seed):
    run = run[: len(times)]
    values = np.random.default_rng(seed).normal(size=len(times))
    out = smooth(values, times, run, kind, window, degree=0)
    assert values.min() - 1e-9 <= out.min() and out.max() <= values.max() + 1e-9
    still = np.full(len(times), 1 / 3)
    np.testing.assert_array_equal(smooth(still, times, run, kind, window), still)


@given(st.floats(-5, 5), st.floats(-5, 5), masks)
@settings(max_examples=50)
def test_interpolation_gives_back_straight_motion(slope, offset, present):
    times = np.arange(len(present)) / 25
    truth = offset + slope * times
    values = np.where(present, truth, np.nan)
    filled, made = fill_gaps(values, present, times, 10.0, np.zeros(len(times), int))
    known = present | made
    np.testing.assert_allclose(filled[known], truth[known], atol=1e-9)
    have = np.flatnonzero(present)
    inside = np.zeros(len(present), bool)
    if len(have):
        inside[have[0] : have[-1] + 1] = True
    np.testing.assert_array_equal(known, inside)


def test_gaps_longer_than_allowed_stay():
    times = np.arange(40) / 25
    present = np.ones(40, bool)
    present[5:10] = False  # the face is away for 0.2 s
    present[15:35] = False  # and for 0.8 s
    values = np.where(present, 1.0, np.nan)
    filled, made = fill_gaps(values, present, times, 0.5, np.zeros(40, int))
    assert made[5:10].all() and not made[15:35].any()
    assert np.isnan(filled[15:35]).all()


def test_variable_frame_times_are_honoured():
    times = np.array([0.0, 0.1, 0.4])
    filled, _ = fill_gaps(
        np.array([0.0, np.nan, 4.0]), np.array([True, False, True]), times, 0.5, np.zeros(3, int)
    )
    assert filled[1] == pytest.approx(1.0)


def test_a_gap_between_two_shots_stays():
    times, present = np.arange(5) / 25, np.array([True, True, False, True, True])
    _, made = fill_gaps(np.zeros(5), present, times, 0.5, np.array([0, 0, 1, 1, 1]))
    assert not made.any()


def test_unknown_kind_lists_the_known_ones():
    with pytest.raises(UserError, match="box, gaussian, none"):
        smooth(np.zeros(3), np.arange(3) / 25, np.zeros(3, int), "median", 3)
