"""decode: exact frames at exact times from any file, and one clear line for a bad one."""

from __future__ import annotations

import hashlib
import resource
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputVideoError, UnknownNameError, UserError
from pipeline.request.settings import DecodeSettings
from pipeline.stages.decode import decode
from tests.pipeline.video.media import ffmpeg, index_of, make_video, picture

VFR = [0, 1, 2, 5, 6, 7, 8, 15, 16, 17, 30, 31]


def read(path: Path, **knobs):
    return decode(path, DecodeSettings(**knobs), path.parent / "work")


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi"])
def test_every_frame_at_its_own_time(tmp_path, suffix):
    stamps = list(range(12)) if suffix == ".avi" else VFR
    clip = read(
        make_video(tmp_path / f"a{suffix}", pts=stamps, codec="mpeg4" if suffix == ".avi" else "libx264")
    )
    tolerance = 0.0006 if suffix == ".mkv" else 1e-9
    assert np.abs(clip.times - clip.times[0] - np.array(stamps) / 30).max() < tolerance
    assert [index_of(frame) for frame in clip.frames()] == list(range(12))
    assert clip.times == pytest.approx(clip.pts * float(clip.time_base))
    assert len(clip) == len(clip.source) == 12
    assert not clip.has_audio and clip.whole


def test_gif(tmp_path):
    path = tmp_path / "a.gif"
    ffmpeg("-i", make_video(tmp_path / "a.mp4"), "-vf", "fps=10", path)
    clip = read(path)
    assert (clip.width, clip.height) == (96, 64)
    assert np.diff(clip.times) == pytest.approx(np.full(len(clip) - 1, 0.1))
    indices = [index_of(frame) for frame in clip.frames()]
    assert indices == sorted(indices) and len(set(indices)) == len(clip)
    assert [index_of(frame) for frame in clip.frames(2)] == indices[2:]


@pytest.fixture(scope="module")
def reordered(tmp_path_factory):
    """H.264 with B-frames, open groups of pictures and variable rate: the hardest to enter in the middle."""
    path = tmp_path_factory.mktemp("clips") / "bframes.mp4"
    stamps = np.cumsum(np.tile([1, 2, 1, 3], 15))[:60].tolist()
    options = {"bf": "3", "g": "9", "preset": "medium", "x264-params": "open-gop=1:scenecut=0:b-pyramid=2"}
    clip = read(make_video(path, count=60, pts=stamps, options=options))
    return clip, list(clip.frames())


@settings(max_examples=25)
@given(start=st.integers(0, 59), length=st.integers(0, 7))
def test_any_range_equals_the_same_part_of_the_whole(reordered, start, length):
    clip, whole = reordered
    part = list(clip.frames(start, start + length))
    assert len(part) == min(length, 60 - start)
    for seen, expected in zip(part, whole[start:]):
        assert np.array_equal(seen, expected)


def test_seeking_is_used(reordered, monkeypatch):
    """Reading the last frames must not decode the file from its start."""
    from pipeline.video import reader

    counted = []
    original = reader.decoded

    def counting(*arguments):
        for frame in original(*arguments):
            counted.append(frame.pts)
            yield frame

    monkeypatch.setattr(reader, "decoded", counting)
    clip, whole = reordered
    (last,) = clip.frames(59)
    assert np.array_equal(last, whole[59])
    assert len(counted) < 25


@pytest.mark.parametrize("mirror", [(False, False), (True, False)])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_display_matrix_is_applied_as_ffmpeg_applies_it(tmp_path, degrees, mirror):
    path = make_video(tmp_path / "turned.mp4", count=2, rotation=(degrees, *mirror))
    clip = read(path)
    assert clip.rotation == degrees or mirror != (False, False)
    expected = ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    turned = degrees in (90, 270)
    assert (clip.width, clip.height) == ((64, 96) if turned else (96, 64))
    frames = np.frombuffer(expected, np.uint8).reshape(2, clip.height, clip.width, 3)
    for seen, wanted in zip(clip.frames(), frames):
        assert seen.flags.c_contiguous
        assert np.abs(seen.astype(int) - wanted).mean() < 2.0


@pytest.mark.parametrize("matrix", [1, 6])
@pytest.mark.parametrize("range_", [1, 2])
def test_colour_matrix_and_range_are_honoured(tmp_path, matrix, range_):
    patches = [
        np.full((64, 96, 3), c, np.uint8) for c in [(220, 20, 20), (20, 200, 30), (30, 40, 210), (5, 5, 5)]
    ]
    path = make_video(tmp_path / "c.mp4", count=4, pictures=patches, matrix=matrix, range_=range_)
    clip = read(path)
    assert (clip.color["matrix"], clip.color["range"]) == (matrix, range_)
    for seen, wanted in zip(clip.frames(), patches):
        assert np.abs(seen.astype(int) - wanted).max() <= 3


def test_odd_size_sound_and_anamorphic_pixels(tmp_path):
    path = make_video(
        tmp_path / "o.mkv", count=4, size=(97, 65), pix_fmt="yuv444p", audio="aac", aspect=Fraction(4, 3)
    )
    clip = read(path)
    frames = list(clip.frames())
    assert [f.shape for f in frames] == [(65, 97, 3)] * 4
    assert clip.has_audio and clip.sample_aspect == Fraction(4, 3)
    assert any("not square" in note for note in clip.notes)


def test_ten_bit_is_read(tmp_path):
    clip = read(make_video(tmp_path / "t.mkv", count=3, pix_fmt="yuv420p10le"))
    assert [index_of(frame) for frame in clip.frames()] == [0, 1, 2]


def test_transport_streams_start_near_zero(tmp_path):
    path = tmp_path / "a.ts"
    ffmpeg("-i", make_video(tmp_path / "a.mp4", audio="aac"), "-c", "copy", path)
    clip = read(path)
    assert 0 <= clip.times[0] < 0.2
    assert np.diff(clip.times) == pytest.approx(np.full(11, 1 / 30), abs=2e-5)
    assert [index_of(frame) for frame in clip.frames(5, 8)] == [5, 6, 7]


def test_edit_list_hides_frames(tmp_path):
    whole = make_video(tmp_path / "a.mp4", count=40, options={"g": "30"})
    cut = tmp_path / "cut.mp4"
    ffmpeg("-ss", "0.5", "-i", whole, "-c", "copy", cut)
    shown = [index_of(frame) for frame in read(cut).frames()]
    assert shown == list(range(15, 40))


def test_max_frames_and_the_last_duration(tmp_path):
    path = make_video(tmp_path / "a.mp4", pts=VFR)
    clip = read(path, max_frames=4)
    assert len(clip) == 4 and not clip.whole
    assert clip.duration == pytest.approx(6 / 30)  # the fourth frame shows from 5/30 to 6/30
    assert [index_of(frame) for frame in clip.frames()] == [0, 1, 2, 3]
    assert len(read(path, max_frames=12)) == 12 and read(path, max_frames=12).whole
    assert len(read(path, max_frames=99)) == 12
    with pytest.raises(UserError, match="1 or more"):
        read(path, max_frames=0)


def test_hash_is_of_the_bytes(tmp_path):
    path = make_video(tmp_path / "a.mp4")
    clip = read(path)
    assert clip.content_hash == hashlib.sha256(path.read_bytes()).hexdigest()
    renamed = path.rename(tmp_path / "b: 100% #1.mp4")
    assert read(renamed).content_hash == clip.content_hash


def _bad(kind: str, folder: Path) -> Path:
    path = folder / "clip.mp4"
    if kind == "empty":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("This is not a video.\n" * 200)
    elif kind == "playlist":
        path.write_text("#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n")
    elif kind == "audio only":
        ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", "-c:a", "aac", path)
    elif kind == "cover art":
        inputs = ("-f", "lavfi", "-i", "sine=d=0.2", "-f", "lavfi", "-i", "color=s=64x64:d=0.04")
        cover = ("-c:v", "mjpeg", "-frames:v", "1", "-disposition:v:0", "attached_pic")
        ffmpeg(*inputs, "-map", "0", "-map", "1", "-c:a", "aac", *cover, path)
    elif kind == "no index":
        data = make_video(folder / "whole.mp4").read_bytes()
        path.write_bytes(data[: data.index(b"moov") - 4])
    elif kind == "cut in the pictures":
        make_video(folder / "whole.mp4", count=40)
        ffmpeg("-i", folder / "whole.mp4", "-c", "copy", "-movflags", "faststart", folder / "front.mp4")
        data = (folder / "front.mp4").read_bytes()
        path.write_bytes(data[: data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2])
    elif kind == "zero frames":
        fragmented = ("-c", "copy", "-movflags", "empty_moov+frag_keyframe", folder / "fragments.mp4")
        ffmpeg("-i", make_video(folder / "whole.mp4"), *fragmented)
        data = (folder / "fragments.mp4").read_bytes()
        path.write_bytes(data[: data.index(b"moof") - 4])
    elif kind == "no frame decodes":
        make_video(folder / "whole.mp4", count=1)
        data = bytearray((folder / "whole.mp4").read_bytes())
        start = data.index(b"mdat") + 4
        data[start : data.index(b"moov") - 4] = bytes(data.index(b"moov") - 4 - start)
        path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", "no such file"),
        ("empty", "empty"),
        ("folder", "folder"),
        ("text", "not a video"),
        ("playlist", "."),
        ("audio only", "only sound"),
        ("cover art", "only sound"),
        ("no index", "cut off"),
        ("cut in the pictures", r"cut off, \d+ of 40 frames could be read"),
        ("no frame decodes", "0 of 1 frames"),
        ("zero frames", "not one frame"),
    ],
)
def test_bad_input_gives_one_line_that_says_what_to_do(tmp_path, kind, says):
    path = _bad(kind, tmp_path)
    with pytest.raises(InputVideoError, match=says) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message and path.name in message and len(message) < 400
    assert any(verb in message for verb in ("check", "copy", "give", "save"))
    assert caught.value.exit_code == 2
    assert not (tmp_path / "work").exists()


def test_the_readable_part_of_a_cut_file_can_be_used(tmp_path):
    path = _bad("cut in the pictures", tmp_path)
    with pytest.raises(InputVideoError) as caught:
        read(path)
    readable = int(str(caught.value).split("--max-frames ")[1].split()[0])
    assert 0 < readable < 40
    assert [index_of(f) for f in read(path, max_frames=readable).frames()] == list(range(readable))


def test_cut_matroska_is_noticed(tmp_path):
    data = make_video(tmp_path / "whole.mkv", count=40).read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputVideoError, match=r"cut off, \d+.* frames could be read"):
        read(path)


def test_a_recording_that_broke_off_is_told_from_a_whole_one(tmp_path):
    """Streamed Matroska does not say its size; only its header's duration shows what is missing."""
    whole = make_video(tmp_path / "whole.mkv", count=40)
    data = bytearray(whole.read_bytes())
    at = data.index(b"\x18\x53\x80\x67") + 4
    data[at : at + 8] = b"\x01" + b"\xff" * 7  # of unknown size
    streamed, cut = tmp_path / "streamed.mkv", tmp_path / "cut.mkv"
    streamed.write_bytes(data)
    cut.write_bytes(data[: len(data) // 2])
    assert read(whole).doubts == read(streamed).doubts == ()
    clip = read(cut)
    assert 0 < len(clip) < 40
    assert len(clip.doubts) == 1 and "1.33 s" in clip.doubts[0] and f"{len(clip)} frames" in clip.doubts[0]
    assert read(cut, max_frames=3).doubts == ()


@pytest.mark.parametrize(
    "knobs", [{}, {"audio": "aac", "audio_start": 9000}, {"pts": [0, 1, 5, 40, 41, 90] * 2}]
)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_whole_files_raise_no_doubt(tmp_path, name, knobs):
    if "pts" in knobs:
        knobs = {"pts": sorted({k + 91 * (i > 5) for i, k in enumerate(knobs["pts"])}), "count": 12}
    assert read(make_video(tmp_path / name, **knobs)).doubts == ()


def test_file_that_shrinks_while_being_read(tmp_path):
    path = make_video(tmp_path / "a.mkv", count=12)
    clip = read(path)
    make_video(path, count=5)
    with pytest.raises(InputVideoError, match="changed"):
        list(clip.frames())


def test_decord_gives_the_same_frames(tmp_path):
    path = make_video(tmp_path / "a.mp4", pts=VFR, options={"bf": "2", "g": "5"})
    first, second = read(path), read(path, reader="decord")
    assert np.array_equal(first.times, second.times)
    for a, b in zip(first.frames(4), second.frames(4), strict=True):
        assert np.abs(a.astype(int) - b).mean() < 2.0
    assert [index_of(frame) for frame in second.frames(3, 9)] == list(range(3, 9))
    assert len(list(read(path, reader="decord", max_frames=4).frames())) == 4


def test_decord_refuses_what_it_would_read_wrongly(tmp_path):
    turned = make_video(tmp_path / "turned.mp4", rotation=(90, False, False))
    with pytest.raises(UserError, match="rotation"):
        read(turned, reader="decord")
    whole = make_video(tmp_path / "a.mp4", count=40, options={"g": "30"})
    ffmpeg("-ss", "0.5", "-i", whole, "-c", "copy", tmp_path / "cut.mp4")
    with pytest.raises(UserError, match="decord"):
        read(tmp_path / "cut.mp4", reader="decord")
    with pytest.raises(UnknownNameError, match="av, decord"):
        read(whole, reader="opencv")


def test_memory_does_not_grow_with_length(tmp_path):
    """40 MB of pixels in 600 small frames: neither counting nor reading keeps them."""
    frames = [picture(i % 256, 192, 128) for i in range(256)]
    path = make_video(
        tmp_path / "long.mp4", count=600, size=(192, 128), pictures=[frames[i % 256] for i in range(600)]
    )
    list(read(path, max_frames=40).frames())  # codecs and buffers are there now
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clip = read(path)
    assert sum(1 for _ in clip.frames()) == 600
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 20, f"{grown:.0f} MB more"
