"""Panels of the side-by-side video, and what metadata says."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from pipeline.request.edits import Edit, View
from pipeline.stages.edit import Variant
from pipeline.stages.panels import describe, held_rows, panel_frames
from storage import StageCache
from tests.pipeline.faces.faces_data import clip_of, numbered_frames
from tests.pipeline.stored import stored


def test_frames_without_a_crop_hold_the_one_before(tmp_path: Path) -> None:
    images = stored(StageCache(tmp_path), "i", np.arange(2, dtype=np.uint8).reshape(2, 1, 1, 1) + 1)
    shown = [int(frame[0, 0, 0]) for frame in held_rows(images, {1: 0, 3: 1}, 5)]
    assert shown == [0, 1, 1, 2, 2]


def test_the_comment_says_what_was_done() -> None:
    text = describe(Variant((Edit("smile", 1.5, 0.5, 1.0),), True, View(0.3)), "bundled", "w+")
    for part in ("Edited", "smile=1.5@0.5-1s", "occluder removed", "yaw=0.3", "bundled", "w+"):
        assert part in text
    assert "no edit" in describe(Variant(), "bundled", "w+")


def test_the_source_is_shown_with_square_pixels() -> None:
    clip = replace(clip_of(numbered_frames(1, (100, 200))), sample_aspect=Fraction(3, 2))
    assert next(panel_frames(clip, 2)).shape == (100, 300, 3)
