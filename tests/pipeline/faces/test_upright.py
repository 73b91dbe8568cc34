"""Faces upside down are found the right way up, masked ones too; upright ones stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.faces import upright
from pipeline.faces.detectors import load_landmark_model
from pipeline.faces.landmark_model import FaceDetection
from pipeline.faces.upright import UprightModel
from pipeline.request.settings import DecodeSettings
from pipeline.stages.decode import decode

CLIPS = Path(__file__).resolve().parents[3] / "../shared/data/clips"
NAMES = sorted(path.name for path in CLIPS.glob("*")) if CLIPS.is_dir() else []


@pytest.mark.parametrize("name", ["mask.mp4", "hand.truth/clean.mp4"])
def test_a_face_upside_down_has_the_landmarks_of_the_upright_one(name):
    clip = decode(Path("samples") / name, DecodeSettings(), Path())
    model = load_landmark_model("mediapipe")
    frame = next(iter(clip.frames(20, 21)))
    (level,) = UprightModel(model).detect(frame, turns=True)
    turned = UprightModel(model)
    (found,) = turned.detect(np.ascontiguousarray(frame[::-1, ::-1]), turns=True)
    model.close()
    back = [clip.width, clip.height] - found.landmarks68
    size = np.ptp(level.landmarks68[:, 1])
    assert np.linalg.norm(back - level.landmarks68, axis=-1).mean() < 0.04 * size
    assert level.landmarks68[8, 1] > level.landmarks68[27, 1] and turned.turn == 2


def face_of(score: float, x: float = 0.0) -> FaceDetection:
    points = np.full((68, 2), x, np.float32) + np.random.default_rng(0).uniform(20, 60, (68, 2))
    return FaceDetection(points.astype(np.float32), np.zeros((478, 2)), np.array([20, 20, 60, 60.0]), score)


@pytest.mark.parametrize(
    ("found", "turned", "margins", "turns"),
    [
        (0.9999, 0.99, (0.0, 1.0), False),  # the model's word goes before the look
        (0.99, 0.9999, (1.0, 0.0), True),
        (0.99, 0.985, (0.0, 1.0), True),  # as sure of both: the look
        (0.99, 0.985, (0.0, 0.1), False),
        (1.0, 1.0, (-0.2, 0.3), True),
        (1.0, 1 - 6e-7, (0.31, 0.49), False),  # a masked face, upright: a little surer counts too
    ],
)
def test_a_face_is_turned_where_the_model_is_surer_or_else_by_its_look(
    found: float, turned: float, margins: tuple[float, float], turns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter(margins)
    monkeypatch.setattr(upright, "upright_margin", lambda window: next(looks))
    frame = np.zeros((80, 80, 3), np.uint8)
    assert upright._is_better([face_of(turned)], [face_of(found)], frame) == turns


@pytest.mark.weights
@pytest.mark.skipif(not NAMES, reason="the clips of ../shared/data are not here")
@pytest.mark.parametrize("name", NAMES)
def test_real_faces_keep_their_way_up(name: str) -> None:
    """Two of the eight, which look down or are small, were once turned upside down."""
    clip = decode(CLIPS / name, DecodeSettings(max_frames=31), Path())
    for number in (0, 3, 30):
        if number >= len(clip):
            continue
        frame = next(iter(clip.frames(number, number + 1)))
        for copy, turn in ((frame, 0), (np.ascontiguousarray(frame[::-1, ::-1]), 2)):
            model = UprightModel(load_landmark_model("mediapipe"))
            assert model.detect(copy, turns=True) and model.turn == turn
            model.close()
