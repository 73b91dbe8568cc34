"""The tone map: values of BT.2100, its inverse, and the tables that stand for both."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.video.tone_map import (
    HLG,
    PQ,
    PeakMeter,
    ToneMap,
    light_to_pq,
    pq_to_light,
    scene_to_hlg,
    signal_to_light,
)

BOTH = pytest.mark.parametrize("transfer", [PQ, HLG])
PEAKS = pytest.mark.parametrize("peak", [60.0, 203.0, 1000.0])


def test_values_of_bt_2100_and_bt_2408():
    assert light_to_pq(np.array([100.0, 203.0, 1000.0, 10000.0])) == pytest.approx(
        [0.508, 0.5807, 0.7518, 1.0], abs=1e-3
    )
    assert scene_to_hlg(np.array([0.0, 1 / 12, 0.265, 1.0])) == pytest.approx([0.0, 0.5, 0.75, 1.0], abs=1e-3)
    assert float(signal_to_light(np.array(0.75), HLG)) == pytest.approx(203, abs=1)  # BT.2408, table 1


@given(st.floats(0, 1))
def test_pq_has_an_inverse(signal):
    assert float(light_to_pq(pq_to_light(np.array(signal)))) == pytest.approx(signal, abs=1e-6)


@BOTH
@PEAKS
@settings(max_examples=50)
@given(values=st.lists(st.floats(0.02, 1.0), min_size=3, max_size=3))
def test_sdr_goes_there_and_back(transfer, peak, values):
    tone = ToneMap(transfer, wide=True, peak=peak)
    sdr = np.array([values], np.float32)
    # As light: a dark channel beside bright ones is the difference of large numbers in BT.2020.
    assert tone.to_sdr(tone.to_hdr(sdr)) ** 2.4 == pytest.approx(sdr**2.4, abs=2e-3)


@BOTH
@PEAKS
def test_light_rises_with_the_signal_and_ends_at_white(transfer, peak):
    tone = ToneMap(transfer, wide=False, peak=peak)
    grey = tone.to_sdr(np.repeat(np.linspace(0, 1, 2000)[:, None], 3, 1))[:, 0]
    assert (np.diff(grey) >= 0).all() and grey[0] < 1e-6 and grey[-1] == 1
    signal = np.linspace(0, 1, 2000)
    below = signal_to_light(signal, transfer) < 0.4 * tone.white
    plain = (signal_to_light(signal, transfer) / tone.white) ** (1 / 2.4)
    assert np.abs(grey - plain)[below].max() < 1 / 255  # the plain inverse transfer


@BOTH
@PEAKS
def test_frames_are_shown_as_their_pixels_are(transfer, peak):
    tone = ToneMap(transfer, wide=True, peak=peak)
    pixels = np.random.default_rng(0).integers(0, 60001, (40, 30, 3)).astype(np.uint16)
    wanted = np.rint(255 * tone.to_sdr(pixels / 60000))
    assert np.abs(tone.view(pixels, 60000) - wanted).max() <= 1


@BOTH
def test_the_peak_is_that_of_the_brightest_parts_but_not_of_single_pixels(transfer):
    meter = PeakMeter()
    pixels = np.full((200, 200, 3), 30000, np.uint16)
    pixels[:20, :20] = 40000
    pixels[0, :2] = 65535
    meter.add(pixels, 65535)
    found = meter.light(transfer)
    assert found == pytest.approx(float(signal_to_light(np.array(40000 / 65535), transfer)), rel=1e-2)


def test_white_is_that_of_hdr_unless_nothing_is_brighter_than_sdr():
    assert ToneMap(PQ, True, 90.0).white == 100.0
    assert ToneMap(PQ, True, 190.0).white == ToneMap(PQ, True, 1000.0).white == 203.0
    assert not ToneMap(PQ, True, 190.0).is_rolled_off and ToneMap(PQ, True, 1000.0).is_rolled_off
