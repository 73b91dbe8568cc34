"""Images by row that are computed when asked for."""

from __future__ import annotations

import numpy as np

from pipeline.stages.pixels import Covered
from pipeline.video.masks import visible_change


def test_what_an_encoder_does_not_take_for_the_face_is_the_source() -> None:
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 100, (2, 32, 32, 3), np.uint8)
    source = rng.integers(150, 256, (2, 64, 64, 3), np.uint8)
    cover = np.zeros((2, 16, 16), np.float16)
    cover[1, 8:] = 1
    found = Covered(shown, source, cover)
    assert np.array_equal(found[0], shown[0])
    assert np.array_equal(found[1][:14], shown[1][:14])
    assert found[1][18:].min() >= 150
    change = visible_change(shown[1], found[1])
    assert change[22:].min() == 1 and change[:8].max() < 0.01
