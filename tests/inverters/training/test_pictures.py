"""The stored pictures: windows are parts of the whole picture, patches parts of windows, calls go on."""

from __future__ import annotations

from pathlib import Path

import torch

from inverters.heads.render import render
from inverters.training.pictures import load_pictures, make_pictures, patch_batch


def test_a_patch_is_a_part_of_the_true_picture(tmp_path: Path) -> None:
    make_pictures(tmp_path, 2, seed=3, whole=64, side=40)
    pictures = load_pictures(tmp_path)
    rng = torch.Generator().manual_seed(0)
    batch = patch_batch(pictures, 3, 8, rng, whole=64, neural_resolution=16)
    assert len(pictures["zoom"].unique()) == 2
    scores, cameras = batch["patch_scores"], batch["patch_cam2world"]
    whole = render(scores, cameras, batch["patch_intrinsics"], (64, 64)).image
    first = (batch["patch_uv"][:, 0] * 64).sub(2).round().long()  # centre of the first ray's 4 x 4 pixels
    for image, patch, (x, y) in zip(whole, batch["patch_image"], first.tolist(), strict=True):
        off = (image[:, y : y + 32, x : x + 32] - patch).abs()
        assert off.median() < 0.01 and off.mean() < 0.03


def test_a_second_call_goes_on_and_keeps_what_is_there(tmp_path: Path) -> None:
    make_pictures(tmp_path, 2, seed=3, whole=64, side=40)
    before = load_pictures(tmp_path)
    make_pictures(tmp_path, 52, seed=3, whole=64, side=40)
    after = load_pictures(tmp_path)
    assert len(after["scores"]) == 4  # the short first part stays as it was
    assert torch.equal(after["image"][:2], before["image"])
