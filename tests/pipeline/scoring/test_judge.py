"""The judge of edits: what it learns, what it cannot see, and that it sees true heads change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from inverters.errors import CheckpointError
from inverters.people.params import NUM_PARAMETERS, index, sample_scores
from inverters.people.picture import portraits
from inverters.rendering.cameras import default_intrinsics, look_at
from pipeline.scoring.judge import Judge, LandmarkJudge, landmark_features
from pipeline.stages.pixels import to_bytes


def faces(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Made-up landmarks that move with the first score, and the scores."""
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((n, NUM_PARAMETERS)).astype(np.float32)
    mean, change = np.random.default_rng(0).standard_normal((2, 478, 2))
    points = 100 * mean + 3 * scores[:, :1, None] * change + 0.03 * rng.standard_normal((n, 478, 2))
    return points.astype(np.float32), scores


def test_place_and_size_do_not_matter() -> None:
    points, _ = faces(3, 1)
    np.testing.assert_allclose(landmark_features(points), landmark_features(points * 2.5 + 40), atol=1e-5)


def test_a_fit_says_what_it_can_read_and_survives_its_file(tmp_path: Path) -> None:
    judge = LandmarkJudge.fit(*faces(1600, 2))
    correlation = list(judge.correlation.values())
    assert correlation[0] > 0.95 and np.abs(correlation[1:]).max() < 0.5
    judge.save(tmp_path / "j.safetensors")
    again = LandmarkJudge.load(tmp_path / "j.safetensors")
    assert again.correlation == judge.correlation
    assert all(np.array_equal(again.arrays[k], judge.arrays[k]) for k in judge.arrays)
    with pytest.raises(CheckpointError, match="missing"):
        LandmarkJudge.load(tmp_path / "none.safetensors")


def test_a_picture_without_a_face_is_not_judged_by_the_mesh() -> None:
    judge = Judge()
    read = judge.scores(np.full((1, 64, 64, 3), 90, np.uint8))
    assert 0 < judge.by_mesh.sum() < len(judge.by_mesh)
    np.testing.assert_array_equal(np.isnan(read[0]), judge.by_mesh)


def test_true_heads_are_seen_to_change() -> None:
    judge, heads = Judge(), 6
    scores = sample_scores(heads, torch.Generator().manual_seed(5))
    cameras = look_at(torch.linspace(-0.2, 0.2, heads), torch.zeros(heads))
    right = {}
    for name in ("smile", "gaze_x", "hair_colour"):
        read = []
        for level in (-1.0, 1.0):
            moved = scores.clone()
            moved[:, index(name)] = level
            moved[:, index("hair_volume")] = 1.0
            read.append(
                judge.scores(to_bytes(portraits(moved, cameras, default_intrinsics(heads), (128, 128))))
            )
        right[name] = int((read[1] - read[0] > 0)[:, index(name)].sum())
    assert min(right.values()) >= heads - 1, right
