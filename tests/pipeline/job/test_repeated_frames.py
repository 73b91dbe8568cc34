"""A clip of 15 frames/s at 60: each picture is fitted once, and its repeats come out equal to the bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inverters.generators.load import BUNDLED
from inverters.methods.table import ENCODERS
from pipeline.job.walker import run_job
from pipeline.request.edits import Edit
from pipeline.request.settings import DecodeSettings, EditSettings, EncodeSettings, Settings
from pipeline.stages.decode import decode
from tests.pipeline.video.media import ffmpeg

SAMPLE = Path(__file__).resolve().parents[3] / "samples" / "hand.truth" / "clean.mp4"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not BUNDLED.is_file(), reason="the bundled generator is not here")
def test_pictures_of_a_slower_clip_are_edited_once_and_stay_equal(tmp_path: Path) -> None:
    clip = tmp_path / "fast.mkv"
    ffmpeg("-i", SAMPLE, "-t", "0.2", "-vf", "fps=60", "-c:v", "ffv1", clip)
    assert "e4e-mask" in ENCODERS
    settings = Settings(edit=EditSettings((Edit("smile", 1.5),)), encode=EncodeSettings(codec="ffv1"))
    settings = replace(settings, invert=replace(settings.invert, method="e4e-mask"))
    manifest = run_job(clip, tmp_path / "out", tmp_path / "cache", settings)
    frames = list(decode(tmp_path / "out" / "edited.mkv", DecodeSettings(), tmp_path).frames())
    source = list(decode(clip, DecodeSettings(), tmp_path).frames())
    first = [int(n) for n in manifest["per_frame"]["repeats"]]
    assert len(frames) == len(source) == 12 and sorted(set(first)) == [0, 4, 8]
    assert manifest["frames"]["fitted"] == 3 and manifest["frames"]["edited"] == 12
    for n, of in enumerate(first):
        np.testing.assert_array_equal(frames[n], frames[of])
        assert np.abs(frames[n].astype(int) - source[n]).max() > 8, "the smile is seen"
