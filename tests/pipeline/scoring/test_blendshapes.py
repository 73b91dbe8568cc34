"""Readers of blendshapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inverters.errors import CheckpointError
from pipeline.errors import UserError
from pipeline.scoring.blendshapes import (
    COMPONENTS,
    NAMES,
    LandmarkBlendshapes,
    MediaPipeBlendshapes,
    component,
    features_of,
    load_reader,
)

LANDMARKER = (
    Path(__file__).parents[4] / "shared/data/networks/mediapipe/face_landmarker_v2_with_blendshapes.task"
)


def faces(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks [N,478,2] that move with blendshapes [N,51], at random places, sizes and rolls."""
    rng = np.random.default_rng(seed)
    base = np.random.default_rng(9).normal(size=(478, 2))
    base[33], base[263] = (-2.0, 0.0), (2.0, 0.0)
    moves = 0.05 * np.random.default_rng(10).normal(size=(len(NAMES), 478, 2))
    moves[:, [33, 263]] = 0
    shapes = rng.uniform(0, 1, (count, len(NAMES))) * (np.arange(len(NAMES)) < 12)
    points = base + np.einsum("nk,kpc->npc", shapes, moves)
    angle = rng.uniform(-0.3, 0.3, count)
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], 1).reshape(-1, 2, 2)
    points = np.einsum("ncd,npd->npc", turn, points) * rng.uniform(20, 90, (count, 1, 1))
    return (points + rng.uniform(0, 500, (count, 1, 2))).astype(np.float32), shapes.astype(np.float32)


def test_features_know_no_place_size_or_roll() -> None:
    points, _ = faces(1)
    roll = np.array([[0.8, -0.6], [0.6, 0.8]])
    moved = (3 * points @ roll.T + 40).astype(np.float32)
    assert np.abs(features_of(points) - features_of(moved)).max() < 1e-4


def test_map_reads_what_moves_the_landmarks_and_survives_its_file(tmp_path: Path) -> None:
    reader = LandmarkBlendshapes.fit(*faces(1200))
    points, shapes = faces(100, seed=1)
    read = reader.of(points)
    for k in range(12):
        assert np.corrcoef(read[:, k], shapes[:, k])[0, 1] > 0.9
    path = tmp_path / "map.safetensors"
    reader.save(path)
    again = LandmarkBlendshapes.load(path)
    assert np.abs(again.of(points) - read).max() < 0.02
    assert again.card["names"] == list(NAMES)


def test_components_are_of_known_blendshapes_and_signed() -> None:
    shapes = np.zeros((2, len(NAMES)))
    shapes[1, NAMES.index("eyeLookOutRight")] = shapes[1, NAMES.index("eyeLookInLeft")] = 1
    assert component(shapes, "gaze").tolist() == [0.0, -1.0]
    for weights in COMPONENTS.values():
        assert set(weights) <= set(NAMES)
    assert len(NAMES) == 51 and list(NAMES) == sorted(NAMES)


def test_missing_and_wrong_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.task"):
        load_reader(tmp_path / "nothing.task")
    wrong = tmp_path / "wrong.task"
    wrong.write_bytes(b"no task")
    with pytest.raises(UserError, match="cannot load"):
        load_reader(wrong)
    with pytest.raises(CheckpointError, match="map to blendshapes is missing"):
        LandmarkBlendshapes.load(tmp_path / "map.safetensors")


@pytest.mark.weights
def test_mediapipe_sees_a_smile_of_a_true_person() -> None:
    if not LANDMARKER.is_file():
        pytest.skip("needs ../shared/data/networks/mediapipe")
    from benchmarks.drawn_people import REST, pixels, true_picture, unseen, with_values

    reader = MediaPipeBlendshapes(LANDMARKER)
    scores = with_values(unseen(1, 0), **REST, glasses=0.2)
    before, after = (
        reader.read(pixels(true_picture(s[0], 0.0).image)) for s in (scores, with_values(scores, smile=1.0))
    )
    assert before is not None and after is not None
    assert component(after, "smile") - component(before, "smile") > 0.3
    assert reader.read(np.zeros((64, 64, 3), np.uint8)) is None
