"""Results in VP9: alpha, sizes, depth by FFmpeg's program, and sound and subtitles in WebM."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.clip import Clip
from pipeline.errors import OutputError, UserError
from pipeline.request.settings import DecodeSettings, EncodeSettings, Settings
from pipeline.stages.clip_checks import clip_notes
from pipeline.stages.decode import decode
from pipeline.stages.encode import EncodedFile, encode
from pipeline.video.piped_encoder import PipedEncoder
from pipeline.video.writer import VideoWriter
from tests.pipeline.video.media import audio_packets, codec_names, ffmpeg, make_video

VFR = [3, 4, 5, 8, 9, 10, 11, 18, 19, 20, 33, 34]


def read(path: Path) -> Clip:
    return decode(path, DecodeSettings(), path.parent / "work")


def write(source: Clip, path: Path, quality: int | None = 0) -> EncodedFile:
    frames = source.frames() if source.deep is None else source.deep.planes()
    return encode(frames, source, path, EncodeSettings(codec="vp9", quality=quality), "Edited")


def film(folder: Path, pixels: str, **options) -> Path:
    """Twelve frames at uneven times, losslessly, with every value of a gradient in their alpha if any."""
    plain = make_video(folder / "plain.mp4", pts=VFR, time_base=Fraction(1, 30), pix_fmt="yuv444p", **options)
    path = folder / f"{pixels}.mkv"
    alpha = ",geq=lum='p(X,Y)':cb='p(X,Y)':cr='p(X,Y)':a='mod(X*3+N*20,256)'" if "a" in pixels[3:5] else ""
    words = ("-fps_mode", "passthrough", "-c:v", "ffv1", "-c:a", "copy")
    ffmpeg("-i", plain, "-vf", f"format={pixels}{alpha}", *words, path)
    return path


@pytest.mark.parametrize("suffix", [".webm", ".mkv"])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuva420p", "yuv420p10le", "yuv444p12le"])
@pytest.mark.parametrize(("size", "aspect"), [((96, 64), Fraction(1)), ((97, 65), Fraction(4, 3))])
def test_lossless_frames_alpha_and_times(tmp_path, pixels, suffix, size, aspect):
    source = read(film(tmp_path, pixels, size=size, aspect=aspect))
    assert source.sample_aspect == aspect
    result = write(source, tmp_path / "out" / f"a{suffix}")
    copy = read(result.path)
    assert (codec_names(result.path), copy.color["format"]) == (["vp9"], pixels)
    assert (copy.width, copy.height) == size
    assert float(copy.sample_aspect) == pytest.approx(float(source.sample_aspect), abs=0.5 / size[0])
    assert np.abs(copy.times - source.times).max() < 0.0006
    assert copy.duration == pytest.approx(source.duration, abs=0.0012)
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == [f"a{suffix}"]
    with av.open(str(result.path)) as container:
        assert {key.lower(): value for key, value in container.metadata.items()}["comment"] == "Edited"
    if source.deep is None:  # by way of RGB
        pairs = zip(source.frames(), copy.frames(), strict=True)
        assert max(np.abs(old.astype(int) - new).mean() for old, new in pairs) < 1
        return
    for before, after in zip(source.deep.planes(), copy.deep.planes(), strict=True):
        for old, new in zip(before.samples, after.samples, strict=True):
            np.testing.assert_array_equal(old, new)
        if "a" in pixels[3:5]:
            np.testing.assert_array_equal(before.alpha, after.alpha)


def test_alpha_of_other_sampling_is_kept_at_420(tmp_path):
    source = read(film(tmp_path, "yuva444p"))
    result = write(source, tmp_path / "a.webm")
    copy = read(result.path)
    assert copy.color["format"] == "yuva420p"
    assert any("4:2:0" in note and "4:4:4" in note for note in result.notes)
    for old, new in zip(source.deep.planes(), copy.deep.planes(), strict=True):
        np.testing.assert_array_equal(old.alpha, new.alpha)


def test_alpha_beyond_eight_bits_is_on_black_and_said_before(tmp_path):
    source = read(film(tmp_path, "yuva420p10le"))
    (note,) = clip_notes(source, Settings(encode=EncodeSettings(codec="vp9")))
    assert note.startswith("vp9 holds no alpha beyond 8 bits, so the results are on black; --codec prores")
    copy = read(write(source, tmp_path / "a.webm").path)
    assert copy.color["format"] == "yuv420p10le"
    for seen, wanted in zip(copy.frames(), source.frames(), strict=True):
        assert np.abs(seen.astype(int) - wanted).max() <= 4
    eight = read(film(tmp_path, "yuva420p"))
    assert not clip_notes(eight, Settings(encode=EncodeSettings(codec="vp9")))


@pytest.mark.parametrize("pixels", ["yuv420p", "yuva420p", "yuv420p10le"])
def test_quality_is_a_crf(tmp_path, pixels):
    rng = np.random.default_rng(0)
    grain = [rng.integers(90, 160, (64, 96, 3), dtype=np.uint8) for _ in VFR]
    source = read(film(tmp_path, pixels, pictures=grain))
    sizes = [
        write(source, tmp_path / f"{number}.webm", number).path.stat().st_size for number in (0, 10, 30, 60)
    ]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 1.2 * sizes[1] > 1.2 * sizes[2]


@pytest.mark.parametrize(
    ("sound", "written"),
    [("libopus", "opus"), ("libvorbis", "vorbis"), ("aac", "opus"), ("flac", "opus"), ("pcm_s16le", "opus")],
)
def test_sound_is_opus_or_vorbis_in_webm(tmp_path, sound, written):
    plain = make_video(tmp_path / "plain.mp4", count=30, audio="aac")
    ffmpeg("-i", plain, "-c:v", "copy", "-c:a", sound, tmp_path / "in.mkv")
    source = read(tmp_path / "in.mkv")
    result = write(source, tmp_path / "out.webm", 20)
    assert codec_names(result.path) == ["vp9", written]
    before, after = audio_packets(source.path), audio_packets(result.path)
    assert after[-1][0] == pytest.approx(before[-1][0], abs=0.03)
    copied = sound in ("libopus", "libvorbis")
    assert ([data for _, data in before] == [data for _, data in after]) is copied
    assert any("sound re-encoded to OPUS: webm does not carry" in note for note in result.notes) is not copied
    other = write(source, tmp_path / "out.mkv", 20)
    assert codec_names(other.path)[1] == codec_names(source.path)[1]


@pytest.mark.parametrize(("layout", "count", "kept"), [("5.1(side)", 6, "5.1"), ("quad", 4, "quad")])
def test_speakers_stay_in_opus(tmp_path, layout, count, kept):
    expressions = "|".join(
        f"{0.05 * (1 + channel)}*sin(2*PI*{200 + 100 * channel}*t)" for channel in range(count)
    )
    tones = f"aevalsrc={expressions}:c={layout}:d=1"
    plain = make_video(tmp_path / "plain.mp4", count=30)
    ffmpeg(
        "-i",
        plain,
        "-f",
        "lavfi",
        "-i",
        tones,
        "-c:v",
        "copy",
        "-c:a",
        "aac",
        "-b:a",
        "512k",
        tmp_path / "in.mp4",
    )
    result = write(read(tmp_path / "in.mp4"), tmp_path / "out.webm", 20)
    heard = np.frombuffer(ffmpeg("-i", result.path, "-f", "f32le", "-"), np.float32).reshape(-1, count)
    spectrum = np.abs(np.fft.rfft(heard[4800:43200], axis=0))
    hertz = np.fft.rfftfreq(38400, 1 / 48000)
    tops = [hertz[spectrum[:, channel].argmax()] for channel in range(count)]
    low = [channel == 3 and layout.startswith("5.1") for channel in range(count)]  # LFE is filtered
    assert all(rumble or abs(top - 200 - 100 * n) < 5 for n, (top, rumble) in enumerate(zip(tops, low)))
    assert f"Audio: opus, 48000 Hz, {kept}" in _told(result.path)


def _told(path: Path) -> str:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return f"Audio: {stream.codec_context.name}, {stream.rate} Hz, {stream.layout.name}"


def test_subtitles_become_webvtt_and_what_webm_lacks_is_named(tmp_path):
    words, cover = tmp_path / "a.srt", tmp_path / "cover.png"
    words.write_text("1\n00:00:00,100 --> 00:00:00,300\nHello\n")
    ffmpeg("-f", "lavfi", "-i", "color=size=32x32", "-frames:v", "1", cover)
    plain = make_video(tmp_path / "plain.mp4", count=30)
    ffmpeg("-i", plain, "-i", words, "-attach", cover, "-metadata:s:t", "mimetype=image/png",
           "-map", "0:v", "-map", "1:s", "-c:v", "copy", tmp_path / "in.mkv")  # fmt: skip
    result = write(read(tmp_path / "in.mkv"), tmp_path / "out.webm", 20)
    with av.open(str(result.path)) as container:
        assert [stream.codec_context.name for stream in container.streams.subtitles] == ["webvtt"]
    assert any("cannot be carried into .webm: cover art" in note for note in result.notes)


def test_other_codecs_and_endings(tmp_path):
    source = read(make_video(tmp_path / "in.mp4", count=3))
    with pytest.raises(UserError, match=r"vp9 cannot be written to a '.mp4' file; name it .webm or .mkv"):
        write(source, tmp_path / "a.mp4")
    with pytest.raises(UserError, match=r"h264 cannot be written to a '.webm' file; name it .mp4"):
        encode(source.frames(), source, tmp_path / "a.webm", EncodeSettings(codec="h264"), "")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("the render failed")])
def test_a_program_that_is_left_ends_and_nothing_stays(tmp_path, error):
    source = read(film(tmp_path, "yuv420p10le"))
    frames = list(source.deep.planes())
    settings = EncodeSettings(codec="vp9")
    with (
        pytest.raises(type(error)),
        VideoWriter(
            tmp_path / "out" / "a.webm", source, (96, 64), settings, "", layout=source.deep.layout
        ) as writer,
    ):
        writer.write(frames[0])
        process = writer._piped._process
        raise error
    assert process.poll() is not None and list((tmp_path / "out").iterdir()) == []


def test_a_program_that_dies_is_one_line(tmp_path, monkeypatch):
    source = read(film(tmp_path, "yuv420p10le"))
    frames = list(source.deep.planes()) * 40
    source = replace(source, pts=np.arange(len(frames)), times=np.arange(len(frames)) / 30)
    original = PipedEncoder.write

    def dying(self, data):
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()
        return original(self, data)

    monkeypatch.setattr(PipedEncoder, "write", dying)
    with pytest.raises(OutputError) as caught:
        encode(iter(frames), source, tmp_path / "out" / "a.webm", EncodeSettings(codec="vp9"), "")
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []
