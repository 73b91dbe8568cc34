"""Faces upside down are found the right way up, masked ones too; upright ones stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.faces.detectors import load_landmark_model
from pipeline.faces.upright import UprightModel
from pipeline.request.settings import DecodeSettings
from pipeline.stages.decode import decode


@pytest.mark.parametrize("name", ["mask.mp4", "hand.truth/clean.mp4"])
def test_a_face_upside_down_has_the_landmarks_of_the_upright_one(name):
    clip = decode(Path("samples") / name, DecodeSettings(), Path())
    model = load_landmark_model("mediapipe")
    frame = next(iter(clip.frames(20, 21)))
    (upright,) = UprightModel(model).detect(frame, turns=True)
    turned = UprightModel(model)
    (found,) = turned.detect(np.ascontiguousarray(frame[::-1, ::-1]), turns=True)
    model.close()
    back = [clip.width, clip.height] - found.landmarks68
    size = np.ptp(upright.landmarks68[:, 1])
    assert np.linalg.norm(back - upright.landmarks68, axis=-1).mean() < 0.04 * size
    assert upright.landmarks68[8, 1] > upright.landmarks68[27, 1] and turned.turn == 2
