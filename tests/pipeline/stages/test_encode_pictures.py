"""encode: results of pictures are pictures of the same kind, depth and alpha."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.request.checks import check_request, with_codec
from pipeline.request.settings import DecodeSettings, EncodeSettings, Settings
from pipeline.stages.decode import decode
from pipeline.video.picture_writer import picture_names, write_pictures
from pipeline.video.pictures import SUFFIXES, read_picture
from tests.pipeline.video.media import make_video, picture


def plates(folder: Path, dtype=np.uint16, numbers=(1001, 1002, 1004)) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in numbers:
        pixels = rng.integers(0, np.iinfo(dtype).max, (24, 32, 4), endpoint=True).astype(dtype)
        cv2.imwrite(str(folder / f"shot.{number}.png"), pixels)
    return folder


def read(path: Path):
    return decode(path, DecodeSettings(frame_rate="24"), path.parent)


def written(clip, folder: Path, form: str, frames, indices=None) -> list[Path]:
    names = picture_names(clip, "edited", SUFFIXES[form], indices)
    write_pictures(
        frames, clip, names, lambda name: folder / name, form, "Edited with Invid", indices=indices
    )
    return [folder / name for name in names]


@pytest.mark.parametrize("form", ["png", "tiff"])
def test_untouched_pixels_keep_16_bits_and_alpha(tmp_path, form):
    clip = read(plates(tmp_path / "in"))
    frames = []
    for planes in clip.deep.planes():
        samples = [plane.copy() for plane in planes.samples]
        for plane in samples:
            plane[5:9, 4:8] = 200 * 257
        frames.append(replace(planes, samples=tuple(samples)))
    files = written(clip, tmp_path, form, frames)
    assert [file.name for file in files] == [f"edited.{n}{SUFFIXES[form]}" for n in (1001, 1002, 1004)]
    for file, source in zip(files, clip.pictures):
        seen, before = read_picture(file), read_picture(source)
        assert seen.pixels.dtype == np.uint16
        np.testing.assert_array_equal(seen.alpha, before.alpha)
        touched = np.zeros((24, 32), bool)
        touched[5:9, 4:8] = True
        np.testing.assert_array_equal(seen.pixels[~touched], before.pixels[~touched])
        assert (seen.pixels[touched] == 200 * 257).all()


def test_frames_of_another_size_and_of_a_film(tmp_path):
    clip = read(plates(tmp_path / "in"))
    (crop,) = written(clip, tmp_path, "png", [np.zeros((16, 16, 3), np.uint8)], [2])
    assert crop.name == "edited.1004.png" and read_picture(crop).pixels.shape == (16, 16, 3)
    film = decode(make_video(tmp_path / "a.mp4", count=3), DecodeSettings(), tmp_path)
    files = written(film, tmp_path, "jpeg", [picture(k) for k in range(3)])
    assert [file.name for file in files] == [f"edited.{k:05d}.jpg" for k in range(3)]
    assert np.abs(read_picture(files[2]).rgb8.astype(int) - picture(2)).mean() < 3


def test_another_number_of_frames_is_an_error(tmp_path):
    clip = read(plates(tmp_path / "in"))
    with pytest.raises(ValueError, match="zip"):
        written(clip, tmp_path, "png", list(clip.frames())[:2])


def test_the_codec_suits_the_input(tmp_path):
    def chosen(path: Path, codec: str = "auto") -> str:
        return with_codec(Settings(encode=EncodeSettings(codec=codec)), path).encode.codec

    folder = plates(tmp_path / "in")
    assert chosen(folder) == chosen(folder / "shot.####.png") == "png" and chosen(folder, "h264") == "h264"
    film = make_video(tmp_path / "a.mp4")
    assert chosen(film) == "h264" and chosen(film, "tiff") == "tiff"
    assert chosen(tmp_path / "there is none") == "h264"


def test_results_do_not_go_among_the_plates(tmp_path):
    folder = plates(tmp_path / "in")
    settings = Settings()
    with pytest.raises(UserError, match="folder of the input's pictures"):
        check_request(folder, folder, settings)
    (folder / "shot.1001.png").rename(folder / "edited.1001.png")
    with pytest.raises(UserError, match="take the place"):
        check_request(folder / "edited.1001.png", folder, settings)
    loud = replace(settings, encode=EncodeSettings(quality=80))
    with pytest.raises(UserError, match="51 or less"):
        check_request(folder, tmp_path / "out", loud)
    assert Fraction(read(folder / "shot.####.png").rate) == 24
