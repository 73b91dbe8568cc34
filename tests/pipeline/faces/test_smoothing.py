"""Smoothing and interpolation keep what they must keep."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.faces.smoothing import fill_gaps, kernel, runs, smooth

masks = st.lists(st.booleans(), min_size=1, max_size=40).map(np.array)
windows = st.floats(1.0, 9.0)
kinds = st.sampled_from(["box", "gaussian", "none"])


@given(kinds, windows)
@settings(max_examples=50, deadline=None)
def test_weights_sum_to_one_and_are_symmetric(kind, window):
    weights = kernel(kind, window)
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights, weights[::-1])
    assert (weights >= 0).all()


def test_box_of_three_is_the_papers_sliding_window():
    np.testing.assert_allclose(kernel("box", 3), [1 / 3] * 3)
    values = np.array([0.0, 3.0, 6.0, 0.0])
    np.testing.assert_allclose(smooth(values, np.ones(4, bool), "box", 3), [1, 3, 3, 2])


def test_fractional_box_lies_between_its_neighbours():
    assert kernel("box", 2.0)[0] == pytest.approx(0.25)
    assert len(kernel("box", 1.0)) == 1


@given(masks, kinds, windows, st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_nothing_crosses_a_gap(present, kind, window, seed):
    values = np.random.default_rng(seed).normal(size=(len(present), 2))
    values[~present] = np.nan
    out = smooth(values, present, kind, window)
    assert np.isnan(out[~present]).all()
    for start, stop in runs(present):
        alone = smooth(values[start:stop], np.ones(stop - start, bool), kind, window)
        np.testing.assert_allclose(out[start:stop], alone)
        assert out[start:stop].max() <= values[start:stop].max() + 1e-9


@given(masks)
@settings(max_examples=50, deadline=None)
def test_runs_cover_exactly_what_is_present(present):
    covered = np.zeros(len(present), bool)
    for start, stop in runs(present):
        assert not covered[start:stop].any()
        covered[start:stop] = True
    np.testing.assert_array_equal(covered, present)


@given(st.floats(-5, 5), st.floats(-5, 5), masks)
@settings(max_examples=50, deadline=None)
def test_interpolation_gives_back_straight_motion(slope, offset, present):
    times = np.arange(len(present)) / 25
    truth = offset + slope * times
    values = np.where(present, truth, np.nan)
    filled, made = fill_gaps(values, present, times, max_gap=10.0)
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
    filled, made = fill_gaps(values, present, times, max_gap=0.5)
    assert made[5:10].all() and not made[15:35].any()
    assert np.isnan(filled[15:35]).all()


def test_variable_frame_times_are_honoured():
    times = np.array([0.0, 0.1, 0.4])
    filled, _ = fill_gaps(np.array([0.0, np.nan, 4.0]), np.array([True, False, True]), times, 0.5)
    assert filled[1] == pytest.approx(1.0)


def test_unknown_kind_lists_the_known_ones():
    with pytest.raises(UserError, match="box, gaussian, none"):
        smooth(np.zeros(3), np.ones(3, bool), "median", 3)
