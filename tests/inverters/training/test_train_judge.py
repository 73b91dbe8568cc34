"""The judge's training: framing is undone, weights and card are written and read again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from inverters.errors import CheckpointError
from inverters.generators.feature_loss import FeatureLoss
from inverters.generators.judge import JUDGE_SIZE, Judge
from inverters.people.params import PARAMETERS
from inverters.training.train_judge import jitter, make_judge


def test_a_judge_is_written_and_read(tmp_path: Path, ball_set: Path) -> None:
    out = tmp_path / "judge.safetensors"
    correlation = make_judge(ball_set, 0.02, device="cpu", out=out)
    assert list(correlation) == [p.name for p in PARAMETERS]
    judge = Judge(out)
    images = torch.rand(2, 3, 256, 256) * 2 - 1
    assert judge.scores(images).shape == (2, len(PARAMETERS))
    assert torch.equal(judge.parameter(images, "smile"), judge.scores(images)[:, 0])
    again = make_judge(ball_set, 0.0, device="cpu", start=out, out=tmp_path / "other.safetensors")
    assert set(again) == set(correlation)
    with pytest.raises(CheckpointError, match="invid train-judge"):
        Judge(tmp_path / "none.safetensors")

    loss = FeatureLoss(out, torch.device("cpu"))
    patch = torch.rand(1, 3, 40, 40) * 2 - 1
    blurred = torch.nn.functional.avg_pool2d(patch, 3, 1, 1)
    assert loss(patch, patch) == 0 < loss(blurred, patch)


def test_pictures_of_any_zoom_are_brought_to_one(tmp_path: Path) -> None:
    """A square of a quarter of the field of view, seen by two focal lengths."""
    images = torch.zeros(2, 3, 256, 256, dtype=torch.uint8)
    for k, zoom in enumerate((0.8, 1.1)):
        half = round(32 * zoom)
        images[k, :, 128 - half : 128 + half, 128 - half : 128 + half] = 255
    zoom = torch.tensor([0.8, 1.1])
    seen = [jitter(images, zoom, torch.Generator().manual_seed(s)) for s in range(20)]
    area = (torch.stack(seen)[:, :, 1] > 0).float().mean((0, 2, 3)) * JUDGE_SIZE**2
    torch.testing.assert_close(area, torch.full((2,), 32.0**2), rtol=0.12, atol=0)
