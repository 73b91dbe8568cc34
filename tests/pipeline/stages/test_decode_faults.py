"""decode: damaged, cut, joined and mixed files give every frame that is there, at its time."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import InputVideoError, UserError
from pipeline.request.settings import DecodeSettings
from pipeline.stages.decode import decode
from pipeline.video.stamps import frame_rate, mended
from pipeline.video.truncation import missing_bytes
from tests.pipeline.video.media import ffmpeg, index_of, make_video


def read(path: Path, **knobs):
    return decode(path, DecodeSettings(**knobs), path.parent / "work")


def shown(clip) -> list[int]:
    return [index_of(frame) for frame in clip.frames()]


@pytest.mark.parametrize("which", [-1, -2, -8])
def test_a_damaged_packet_costs_its_own_frame_only(tmp_path, which):
    path = make_video(tmp_path / "a.mp4", count=60, options={"bf": "2", "g": "15", "preset": "medium"})
    with av.open(str(path)) as container:
        packets = [(p.pts, p.pos, p.is_keyframe) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    pts, at, _ = packets[which]
    data[at : at + 8] = b"\xff" * 8
    path.write_bytes(data)
    clip = read(path)
    assert len(clip) == 59 and pts not in clip.pts
    assert len(list(clip.frames())) == 59
    assert len(clip.doubts) == 1 and clip.doubts[0].startswith("1 damaged packets were left out")
    middle = list(clip.frames(50, 55))
    assert all(np.array_equal(a, b) for a, b in zip(middle, list(clip.frames())[50:], strict=False))


_CARRIERS = {
    "a.gif": ("-vf", "fps=10"),
    "a.ts": ("-c", "copy"),
    "a.m2ts": ("-c", "copy"),
    "a.mpg": ("-r", "25"),
    "a.flv": ("-c", "copy"),
    "a.ogv": (),
    "a.wmv": (),
    "a.avi": ("-c", "copy"),
    "a.mkv": ("-c", "copy"),
    "a.mov": ("-c", "copy"),
    "a.dv": ("-target", "pal-dv"),
    "a.mxf": ("-c:v", "mpeg2video", "-r", "25"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("whole") / "a.mp4", count=40)


@pytest.mark.parametrize("name", _CARRIERS)
def test_cut_files_are_told_from_whole_ones(tmp_path, whole, name):
    path = tmp_path / name
    ffmpeg("-i", whole, *_CARRIERS[name], path)
    assert missing_bytes(path) == 0 and read(path, max_frames=3) and read(path).doubts == ()
    data = path.read_bytes()
    cut = path.with_name(f"cut-{name}")
    for share in (0.4, 0.6, 0.97):
        cut.write_bytes(data[: int(len(data) * share) | 1])
        with pytest.raises(InputVideoError, match="cut off"):
            read(cut)


def test_a_flash_film_cut_between_two_tags_is_doubted(tmp_path, whole):
    path = tmp_path / "a.flv"
    ffmpeg("-i", whole, "-c", "copy", path)
    data, end = path.read_bytes(), 13
    while end < 0.6 * path.stat().st_size:
        end += 11 + int.from_bytes(data[end + 1 : end + 4], "big") + 4
    path.write_bytes(data[:end])
    assert missing_bytes(path) == 0
    assert any("promises 1.3" in doubt for doubt in read(path).doubts)


def test_a_gap_in_a_transport_stream_is_doubted(tmp_path, whole):
    path = tmp_path / "a.ts"
    ffmpeg("-i", whole, "-c", "copy", path)
    data = path.read_bytes()
    middle = len(data) // 188 // 2 * 188
    path.write_bytes(data[:middle] + data[middle + 5 * 188 :])
    assert read(path).doubts


def test_a_picture_file_of_av1_is_whole(tmp_path, whole):
    path = tmp_path / "a.avif"
    ffmpeg("-i", whole, "-frames:v", "1", path)
    assert missing_bytes(path) == 0
    path.write_bytes(path.read_bytes()[:-9])
    assert missing_bytes(path) == 9


@pytest.mark.parametrize(("first", "second"), [("0", "default"), ("default", "0"), ("default", "default")])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_film_is_read_not_its_thumbnail(tmp_path, whole, first, second, suffix):
    thumbnail, path = tmp_path / "t.avi", tmp_path / f"a{suffix}"
    ffmpeg("-f", "lavfi", "-i", "color=s=64x48:d=0.04", "-c:v", "mjpeg", thumbnail)
    flags = ("-disposition:v:0", first, "-disposition:v:1", second)
    ffmpeg("-i", thumbnail, "-i", whole, "-map", "0", "-map", "1", "-c", "copy", *flags, path)
    clip = read(path)
    assert shown(clip) == list(range(40)) and (clip.width, clip.height) == (96, 64)
    assert "1 other picture stream is left out: mjpeg 64x48" in clip.notes


def test_the_default_of_two_films_is_read(tmp_path, whole):
    path = tmp_path / "a.mkv"
    flags = ("-disposition:v:0", "0", "-disposition:v:1", "default")
    inputs = ("-f", "lavfi", "-i", "color=s=64x48:d=4", "-i", whole)
    ffmpeg(*inputs, "-map", "0", "-map", "1", "-c:v", "libx264", *flags, path)
    assert read(path).width == 96


def test_joined_recordings_follow_each_other(tmp_path, whole):
    path = tmp_path / "a.ts"
    ffmpeg("-i", whole, "-c", "copy", path)
    step, count = Fraction(1, 30), 40
    path.write_bytes(3 * path.read_bytes())
    clip = read(path)
    assert len(clip) == 3 * count and shown(clip) == 3 * list(range(count))
    assert np.diff(clip.times) == pytest.approx(np.full(3 * count - 1, float(step)), abs=2e-5)
    assert [float(shift) for shift in clip.shifts] == pytest.approx([count / 30, 2 * count / 30], abs=1e-4)
    assert any("starts anew 2 times" in note for note in clip.notes) and not clip.doubts


@given(st.lists(st.none() | st.integers(0, 400), min_size=1, max_size=40))
def test_mended_stamps_increase(stamps):
    found = mended(stamps, step=4)
    assert len(found.pts) == len(stamps) and (np.diff(found.pts) > 0).all()
    if found.as_in_file:
        assert found.pts.tolist() == stamps


def test_single_wrong_stamps_move_no_others():
    assert mended([0, 4, 4, 12, 16], 4).pts.tolist() == [0, 4, 8, 12, 16]
    assert mended([0, None, None, 12], 4).pts.tolist() == [0, 4, 8, 12]
    assert mended([None, 4, 8, None], 4).pts.tolist() == [0, 4, 8, 12]
    assert mended([0, 4, 8, 0, 4], 4).pts.tolist() == [0, 4, 8, 12, 16]
    assert mended([0, 4, 5000, 5004], 4, longest=900).pts.tolist() == [0, 4, 8, 12]
    assert mended([0, 4, 5000, 5004], 4).as_in_file


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_raw_stream_has_the_rate_in_its_header(tmp_path, whole, codec):
    path = tmp_path / f"a.{codec}"
    encoder = ("libx264",) if codec == "h264" else ("libx265", "-x265-params", "log-level=none")
    ffmpeg("-i", whole, "-r", "15", "-c:v", *encoder, path)
    clip = read(path)
    assert clip.rate == 15 and clip.duration == pytest.approx(len(clip) / 15)
    assert any("read at 15 frames a second" in note for note in clip.notes)
    assert np.diff(clip.times) == pytest.approx(np.full(len(clip) - 1, 1 / 15), abs=1e-6)


@pytest.mark.parametrize("suffix", [".dv", ".avi"])
def test_dv_has_the_rate_of_its_frames(tmp_path, whole, suffix):
    path, raw = tmp_path / f"a{suffix}", tmp_path / "raw.dv"
    ffmpeg("-i", whole, "-target", "pal-dv", raw)
    if suffix != ".dv":
        ffmpeg("-i", raw, "-c", "copy", path)
    else:
        raw.rename(path)
    clip = read(path)
    assert clip.rate == 25 and clip.sample_aspect == Fraction(16, 15)


def test_frame_rate_is_what_the_stamps_show():
    pts = np.arange(10) * 40
    assert frame_rate(pts, Fraction(1, 1000), [Fraction(60000), None, Fraction(25)]) == 25
    assert frame_rate(pts, Fraction(1, 1000), [Fraction(60000)]) == 25
    assert frame_rate(np.arange(10), Fraction(1, 2**31 - 1), []) == 1_000_000
    assert frame_rate(pts[:1], Fraction(1, 1000), [Fraction(60000), Fraction(24)]) == 24


def test_frames_of_another_size_are_fitted_in(tmp_path):
    first, second, path = tmp_path / "a.ts", tmp_path / "b.ts", tmp_path / "both.ts"
    ffmpeg("-f", "lavfi", "-i", "color=white:s=96x64:d=0.2", "-c:v", "libx264", first)
    ffmpeg("-f", "lavfi", "-i", "color=white:s=64x64:d=0.2", "-c:v", "libx264", second)
    path.write_bytes(first.read_bytes() + second.read_bytes())
    clip = read(path)
    assert any("from 96x64 to 64x64 at frame 5" in note for note in clip.notes)
    last = list(clip.frames())[-1]
    assert last.shape == (64, 96, 3)
    assert last[:, 16:80].min() > 240 and last[:, :15].max() == last[:, 81:].max() == 0
    with pytest.raises(UserError, match="changes its size"):
        read(path, reader="decord")


def _combs(clip) -> float:
    """Mean difference of neighbouring lines; there is none in a picture of upright bars."""
    return float(np.mean([np.abs(np.diff(frame.astype(int), axis=0)).mean() for frame in clip.frames()]))


@pytest.fixture(scope="module")
def interlaced(tmp_path_factory):
    path = tmp_path_factory.mktemp("fields") / "a.mp4"
    source = ("-f", "lavfi", "-i", "smptebars=s=96x64:r=50:d=0.8")
    bars = "crop=96:30:0:0,scale=96:64,scroll=horizontal=0.02,interlace=lowpass=0"
    fields = ("-vf", bars, "-flags", "+ildct+ilme", "-x264-params", "interlaced=1:bframes=2")
    ffmpeg(*source, *fields, "-c:v", "libx264", "-crf", "4", "-g", "6", path)
    return path


def test_interlaced_video_is_deinterlaced(interlaced):
    clip, plain = read(interlaced), read(interlaced, ingest="progressive")
    assert any("interlaced" in note for note in clip.notes) and not any("interl" in n for n in plain.notes)
    assert len(clip) == len(plain) == 20
    assert np.diff(clip.times) == pytest.approx(np.full(19, 0.04))
    assert _combs(plain) > 2.0 and _combs(clip) < 0.5 * _combs(plain)
    with pytest.raises(UserError, match="interlaced"):
        read(interlaced, reader="decord")


def test_other_filters_come_after_deinterlacing(interlaced):
    halved = read(interlaced, ingest="fps=25/2")
    assert any("before the other filters" in note for note in halved.notes)
    assert len(halved) == 10 and _combs(halved) < 0.5 * _combs(
        read(interlaced, ingest="progressive,fps=25/2")
    )


@given(start=st.integers(0, 19), length=st.integers(1, 3))
def test_any_range_of_interlaced_video_equals_the_same_part_of_the_whole(interlaced, start, length):
    clip = read(interlaced)
    for seen, wanted in zip(clip.frames(start, start + length), list(clip.frames())[start:], strict=False):
        assert np.array_equal(seen, wanted)


def test_progressive_video_is_not_touched(whole):
    assert not any("interlaced" in note for note in read(whole).notes)


@pytest.mark.parametrize(("tag", "degrees"), [(1, 0), (3, 180), (6, 270), (8, 90)])
def test_motion_jpeg_with_exif_is_read_upright(tmp_path, tag, degrees):
    exif = Image.Exif()
    exif[0x112] = tag
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32] = (250, 20, 20)  # red, top left as stored
    Image.fromarray(picture).save(tmp_path / "a.jpg", exif=exif, quality=95)
    path = tmp_path / "a.mkv"
    ffmpeg("-i", tmp_path / "a.jpg", "-c", "copy", path)
    (seen,) = read(path).frames()
    with Image.open(tmp_path / "a.jpg") as image:
        from PIL import ImageOps

        wanted = np.asarray(ImageOps.exif_transpose(image))
    assert seen.shape == wanted.shape
    assert np.abs(seen.astype(int) - wanted).mean() < 3


@pytest.mark.parametrize("suffix", ["bmp", "png"])
def test_a_percent_sign_in_a_name_reads_no_other_file(tmp_path, suffix):
    for index in range(3):
        Image.new("RGB", (32, 32), (80 * index, 0, 0)).save(tmp_path / f"img{index}.{suffix}")
    path = tmp_path / f"img%d.{suffix}"
    Image.new("RGB", (48, 32), (0, 250, 0)).save(path)
    clip = read(path)
    assert len(clip) == 1 and clip.width == 48
    path.unlink()
    if suffix == "bmp":  # not read as a sequence
        with pytest.raises(InputVideoError, match="no such file"):
            read(path)


def test_raw_motion_jpeg_is_a_film(tmp_path, whole):
    path = tmp_path / "a.mjpeg"
    ffmpeg("-i", whole, "-c:v", "mjpeg", "-q:v", "2", path)
    assert shown(read(path)) == list(range(40))


@pytest.mark.parametrize(
    ("name", "pixels", "held"),
    [
        ("a.mkv", "yuv420p10le", (10, False)),
        ("a.mov", "yuva444p10le", (12, True)),
        ("a.gif", "", None),
        ("b.mkv", "yuv420p", None),
    ],
)
def test_depth_and_transparency_are_kept_beside_the_8_bit_frames(tmp_path, whole, name, pixels, held):
    codec = {"a.mov": ("-c:v", "prores_ks", "-profile:v", "4444")}.get(name, ())
    ffmpeg("-i", whole, *codec, *(("-pix_fmt", pixels) if pixels else ()), "-frames:v", "3", tmp_path / name)
    deep = read(tmp_path / name).deep
    assert (None if deep is None else (deep.layout.bits, deep.layout.alpha)) == held
