"""decode: pictures and sequences as clips."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import InputVideoError, UserError
from pipeline.request.settings import DecodeSettings
from pipeline.stages.decode import decode
from pipeline.video.sequences import input_hash, picture_files, written_format
from tests.pipeline.video.media import ffmpeg, index_of, make_video, picture


def read(path: Path, **knobs):
    return decode(path, DecodeSettings(**knobs), path.parent / "work")


def shown(clip) -> list[int]:
    return [index_of(frame) for frame in clip.frames()]


def sequence(folder: Path, names: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for index, name in enumerate(names):
        Image.fromarray(picture(index)).save(folder / name)
    return folder


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp", "a.avif"])
def test_one_picture_is_a_clip_of_one_frame(tmp_path, name):
    path = sequence(tmp_path, [name]) / name
    clip = read(path)
    assert len(clip) == 1 and (clip.width, clip.height) == (96, 64) and not clip.has_audio
    assert np.abs(next(clip.frames()).astype(int) - picture(0)).mean() < 6
    assert clip.pictures == (path,) and not clip.notes
    assert written_format(path) == {"a.jpg": "jpeg", "a.tif": "tiff"}.get(name, name[2:])


@pytest.mark.parametrize("pattern", ["shot.####.png", "shot.%04d.png", "shot.#.png", "shot.%d.png", ""])
def test_a_sequence_by_pattern_or_folder(tmp_path, pattern):
    folder = sequence(tmp_path / "plates", [f"shot.{1001 + k:04d}.png" for k in range(6)])
    clip = read(folder / pattern if pattern else folder, frame_rate="24")
    assert shown(clip) == list(range(6)) and clip.rate == 24
    assert clip.times == pytest.approx(np.arange(6) / 24) and clip.duration == pytest.approx(0.25)
    assert [index_of(frame) for frame in clip.frames(3, 5)] == [3, 4]


def test_numbers_count_not_names(tmp_path):
    folder = sequence(tmp_path / "a", [f"f{k}.png" for k in range(12)])
    assert shown(read(folder)) == shown(read(folder / "f#.png")) == list(range(12))
    assert any("25 a second are assumed" in note for note in read(folder).notes)


def test_a_missing_picture_leaves_the_one_before_standing(tmp_path):
    folder = sequence(tmp_path / "a", ["f0.png", "f1.png", "f4.png"])
    clip = read(folder / "f#.png", frame_rate="10")
    assert clip.times == pytest.approx([0, 0.1, 0.4])
    assert any("2 pictures of the sequence are missing" in note for note in clip.notes)


def test_the_hash_is_of_names_and_bytes(tmp_path):
    folder = sequence(tmp_path / "a", ["f0.png", "f1.png"])
    before = input_hash(folder)
    assert before == read(folder).content_hash == input_hash(folder / "f#.png")
    Image.fromarray(picture(7)).save(folder / "f1.png")
    assert input_hash(folder) != before


def test_max_frames(tmp_path):
    clip = read(sequence(tmp_path / "a", [f"f{k}.png" for k in range(5)]), max_frames=2)
    assert shown(clip) == [0, 1] and not clip.whole


def test_what_is_no_sequence_says_so(tmp_path):
    folder = sequence(tmp_path / "a", ["f0.png", "f1.png"])
    for path, says in (
        (tmp_path / "none.####.png", "no file of this name"),
        (tmp_path / "none" / "f.#.png", "no such folder"),
        (folder / "f#.#.png", "several numbers"),
    ):
        with pytest.raises(InputVideoError, match=says):
            read(path)
    Image.fromarray(picture(3)).save(folder / "f2.jpg")
    with pytest.raises(InputVideoError, match="several kinds"):
        read(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputVideoError, match="without pictures"):
        read(tmp_path / "empty")
    Image.fromarray(picture(1, 48, 32)).save(folder / "f1.png")
    with pytest.raises(InputVideoError, match="a sequence has one size"):
        list(read(folder / "f#.png").frames())
    with pytest.raises(UserError, match="do not apply"):
        read(folder / "f0.png", ingest="fps=25")
    with pytest.raises(UserError, match="have times"):
        read(make_video(tmp_path / "a.mp4"), frame_rate="25")


def test_a_fifo_beside_a_sequence_is_not_opened(tmp_path):
    folder = sequence(tmp_path / "a", ["f0.png"])
    os.mkfifo(folder / "f1.png")
    for path in (folder, folder / "f#.png"):
        with pytest.raises(InputVideoError, match="not a regular file"):
            read(path)


def test_a_raw_stream_takes_the_rate_given(tmp_path):
    path = tmp_path / "a.h264"
    ffmpeg("-i", make_video(tmp_path / "a.mp4"), "-c", "copy", path)
    clip = read(path, frame_rate="30000/1001")
    assert clip.rate == pytest.approx(30000 / 1001, rel=1e-4)
    assert np.diff(clip.times) == pytest.approx(np.full(11, 1001 / 30000), abs=1e-5)


@pytest.mark.parametrize("suffix", [".webp", ".png", ".avif", ".gif"])
def test_animations_are_films(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    frames = [Image.fromarray(picture(k)) for k in range(5)]
    lossless = {"lossless": True} if suffix == ".webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[40, 80, 40, 40, 120], **lossless)
    clip = read(path)
    assert shown(clip) == list(range(5)) and written_format(path) is None
    if suffix != ".avif":
        assert clip.times == pytest.approx([0, 0.04, 0.12, 0.16, 0.2], abs=0.002)
    assert clip.rate > 5 and [index_of(frame) for frame in clip.frames(2, 4)] == [2, 3]
    assert picture_files(path) == ([path] if suffix == ".webp" else None)
    assert read(path, max_frames=2).duration == pytest.approx(0.12, abs=0.002) or suffix == ".avif"
    assert clip.content_hash == input_hash(path) and Fraction(clip.time_base) > 0


def test_heic_is_read_where_its_package_is_there_and_named_where_not(tmp_path):
    path = tmp_path / "phone.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64))
    with pytest.raises(InputVideoError, match=r"not an image .*pillow-heif"):
        read(path)
    pillow_heif = pytest.importorskip("pillow_heif", reason="the package pillow-heif is not installed")
    pillow_heif.from_pillow(Image.fromarray(picture(5))).save(path, quality=95)
    assert shown(read(path)) == [5] and written_format(path) == "jpeg"
