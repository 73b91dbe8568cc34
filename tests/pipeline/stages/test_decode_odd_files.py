"""decode: files of zeros, of unknown codecs, with damage that a decoder waits on, and under any name."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import pytest

from pipeline.errors import InputVideoError, UserError
from pipeline.request.settings import DecodeSettings
from pipeline.stages.decode import decode
from pipeline.video.truncation import missing_bytes
from tests.pipeline.video.media import ffmpeg, index_of, make_video


def read(path: Path, **knobs):
    return decode(path, DecodeSettings(**knobs), path.parent / "work")


@pytest.mark.parametrize("name", ["a.h264", "a.nut", "a.webp", "a.mp4"])
def test_zeros_alone_are_not_probed(tmp_path, name):
    path = tmp_path / name
    path.touch()
    os.truncate(path, 1_500_000_000)  # takes no space
    with pytest.raises(InputVideoError, match="zeros alone"):
        read(path)


def test_a_film_in_an_unknown_codec_is_refused(tmp_path):
    path = make_video(tmp_path / "a.mp4", count=2)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(InputVideoError, match="codec that is not known"):
        read(path)
    with pytest.raises(InputVideoError, match="codec that is not known"):
        read(path, ingest="fps=25")


def test_a_film_beside_one_in_an_unknown_codec_is_read(tmp_path):
    film = make_video(tmp_path / "a.mp4", count=3)
    path = tmp_path / "two.mkv"
    two = ("-map", "0", "-map", "0", "-c:v:0", "ffv1", "-c:v:1", "copy", "-disposition:v:0", "default")
    ffmpeg("-i", film, *two, path)
    path.write_bytes(path.read_bytes().replace(b"V_FFV1", b"V_XXXX"))
    clip = read(path)
    assert [index_of(frame) for frame in clip.frames()] == [0, 1, 2]
    assert any("unknown codec" in note for note in clip.notes)


def test_damage_in_a_moving_png_is_not_waited_on(tmp_path):
    """Its decoder, with several threads, waits for ever for a frame that could not be read."""
    path = tmp_path / "a.apng"
    ffmpeg("-i", make_video(tmp_path / "a.mp4", count=10), "-plays", "0", path)
    data, at, controls = path.read_bytes(), 8, []
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        controls += [at] if data[at + 4 : at + 8] == b"fcTL" else []
        at += 12 + length
    at = controls[7]
    chunk = b"eXIf" + data[at + 8 : at + 34]
    path.write_bytes(data[: at + 4] + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[at + 38 :])
    clip = read(path)
    assert len(list(clip.frames())) == len(clip) == 8


@pytest.mark.parametrize(
    "data", [b"\x1a\x45\xdf\xa3\x01" + b"\xff" * 6 + b"\xfe" + b"\x00" * 9, b"\x1f\x07\x00"]
)
def test_headers_of_impossible_lengths_say_nothing(tmp_path, data):
    path = tmp_path / "a"
    path.write_bytes(data)
    assert missing_bytes(path) in (0, 120_000 - len(data))


def test_names_that_are_no_text(tmp_path):
    path = make_video(tmp_path / "a.mp4", count=12)
    path = path.rename(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.mp4")))
    assert len(read(path)) == 12
    assert len(read(path, ingest="fps=15")) == 6
    with pytest.raises(UserError, match="is not UTF-8"):
        read(path, reader="decord")


@pytest.mark.parametrize("knobs", [{}, {"ingest": "fps=25"}])
def test_frames_that_are_weeks_apart_are_refused(tmp_path, knobs):
    path = make_video(tmp_path / "a.mkv", pts=[0, 1, 2, 3 * 86400 * 30])
    assert read(path, max_frames=3)
    assert read(path).duration == pytest.approx(3 * 86400, rel=0.01)
    path = make_video(tmp_path / "b.mkv", pts=[0, 1, 2, 30 * 86400 * 30])
    with pytest.raises(InputVideoError, match="spread over 30 days"):
        read(path, **knobs)


def test_decord_does_not_get_a_clock_that_starts_centuries_later(tmp_path):
    """It would end the process."""
    path = make_video(tmp_path / "a.mp4", count=4)
    late = tmp_path / "late.mp4"
    late.write_bytes(path.read_bytes())
    ffmpeg("-i", path, "-c", "copy", "-movflags", "frag_keyframe+empty_moov+default_base_moof", late)
    data = late.read_bytes()
    at = data.index(b"tfdt") + 8
    late.write_bytes(data[:at] + (1 << 48).to_bytes(8, "big") + data[at + 8 :])
    assert [index_of(frame) for frame in read(late).frames()] == [0, 1, 2, 3]
    with pytest.raises(UserError, match="its clock does not start at 0"):
        read(late, reader="decord")
