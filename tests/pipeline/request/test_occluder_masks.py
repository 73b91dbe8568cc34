"""Occluder masks from a folder: matched to frames by number, brought into the crops, 0 = occluder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import UserError
from pipeline.request.occluder_masks import CropMasks, mask_files, match_masks

SIZE = (40, 30)


def write(folder: Path, names: list[str], size: tuple[int, int] = SIZE) -> Path:
    folder.mkdir()
    for value, name in enumerate(names):
        Image.new("L", size, 10 * value).save(folder / name)
    return folder


@pytest.mark.parametrize(
    ("names", "frame", "expected"),
    [
        (["0000.png", "0001.png", "0002.png"], 1, "0001.png"),
        (["mask_1.png", "mask_2.png", "mask_3.png"], 0, "mask_1.png"),
        (["a.png", "b.png", "c.png"], 2, "c.png"),
        (["clip7_2.png", "clip7_0.png", "clip7_1.png"], 2, "clip7_2.png"),
    ],
)
def test_numbers_name_frames(tmp_path: Path, names: list[str], frame: int, expected: str) -> None:
    folder = write(tmp_path / "masks", names)
    (chosen,) = match_masks(folder, np.array([frame]), 3, *SIZE)
    assert chosen.name == expected


def test_frames_without_a_face_need_no_mask(tmp_path: Path) -> None:
    folder = write(tmp_path / "masks", ["0.png", "4.png"])
    assert len(match_masks(folder, np.array([0, 4]), 5, *SIZE)) == 2
    with pytest.raises(UserError, match="no mask for frame 3"):
        match_masks(folder, np.array([0, 3, 4]), 5, *SIZE)


def test_folders_that_do_not_match_are_refused(tmp_path: Path) -> None:
    frames = np.array([0])
    with pytest.raises(UserError, match="no such folder"):
        mask_files(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no images"):
        mask_files(tmp_path)
    with pytest.raises(UserError, match="4 masks do not match the video's 3 frames"):
        match_masks(write(tmp_path / "many", [f"{i}.png" for i in range(4)]), frames, 3, *SIZE)
    with pytest.raises(UserError, match="2 masks do not match the video's 3 frames"):
        match_masks(write(tmp_path / "few", ["a.png", "b.png"]), frames, 3, *SIZE)
    with pytest.raises(UserError, match="20 x 30 pixels, but the video is 40 x 30"):
        match_masks(write(tmp_path / "small", ["0.png"], (20, 30)), frames, 1, *SIZE)
    broken = write(tmp_path / "broken", [])
    (broken / "0.png").write_text("no image")
    with pytest.raises(UserError, match="is not an image"):
        match_masks(broken, frames, 1, *SIZE)


def test_masks_are_cut_like_the_crops_and_stay_two_valued(tmp_path: Path) -> None:
    mask = np.full((30, 40), 255, np.uint8)
    mask[10:20, 8:24] = 0
    mask[0, 0] = 140  # soft masks are cut at one half
    Image.fromarray(mask).save(tmp_path / "0.png")
    double = np.array(
        [[[2.0, 0, -16], [0, 2, -20]]]
    )  # frame (8..24, 10..20) fills (0..32, 0..20) of the crop
    masks = CropMasks([tmp_path / "0.png"], double, 32)
    assert len(masks) == 1
    crop = masks[np.array([0])]
    assert crop.shape == (1, 32, 32) and crop.dtype == np.uint8 and set(np.unique(crop)) <= {0, 255}
    assert (crop[0, :19] == 0).all() and (crop[0, 21:31] == 255).all()
