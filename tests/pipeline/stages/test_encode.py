"""encode: same count, times, size and sound as the source; a whole file or none."""

from __future__ import annotations

import errno
import os
import signal
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.errors import OutputError, UnknownNameError, UserError
from pipeline.request.settings import DecodeSettings, EncodeSettings
from pipeline.stages.decode import decode
from pipeline.stages.encode import encode
from pipeline.video.codecs import suffix_for
from pipeline.video.output_file import OutputFile
from tests.pipeline.video.media import (
    audio_packets,
    codec_names,
    ffmpeg,
    index_of,
    make_video,
    picture,
    run_apart,
)

VFR = [3, 4, 5, 8, 9, 10, 11, 18, 19, 20, 33, 34]
CLIPS = Path(__file__).resolve().parents[3] / "../shared/data/clips"


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def read(path: Path, **knobs):
    return decode(path, DecodeSettings(**knobs), path.parent / "work")


def write(clip, path, codec="h264", **knobs):
    return encode(
        clip.frames(), clip, path, EncodeSettings(codec=codec, **knobs), "Edited with Invid: smile=1.5"
    )


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("h264", "a.mp4"),
        ("h264", "a.mkv"),
        ("hevc", "a.mp4"),
        ("hevc", "a.mov"),
        ("prores", "a.mov"),
        ("ffv1", "a.mkv"),
    ],
)
def test_same_frames_times_and_durations(tmp_path, codec, name):
    source = read(make_video(tmp_path / "in.mp4", pts=VFR, time_base=Fraction(1, 30), audio="aac"))
    assert source.times[0] == pytest.approx(0.1)
    result = write(source, tmp_path / "out" / name, codec)
    copy = read(result.path)
    tolerance = 0.0006 if name.endswith(".mkv") else 1e-9
    assert result.frames == len(copy) == 12
    assert (copy.width, copy.height) == (96, 64)
    assert np.abs(copy.times - source.times).max() < tolerance
    assert copy.duration == pytest.approx(source.duration, abs=2 * tolerance)
    assert [index_of(frame) for frame in copy.frames()] == list(range(12))
    assert codec_names(result.path) == [codec, "aac"]
    assert [data for _, data in audio_packets(result.path)] == [
        data for _, data in audio_packets(source.path)
    ]
    with av.open(str(result.path)) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
    assert tags["comment"] == "Edited with Invid: smile=1.5"
    assert names(tmp_path / "out") == [name]


def test_the_last_frame_keeps_its_own_duration(tmp_path):
    path = tmp_path / "in.gif"
    ffmpeg("-i", make_video(tmp_path / "in.mp4", count=6), "-vf", "fps=10", "-final_delay", "70", path)
    source = read(path)
    last = source.duration - (source.times[-1] - source.times[0])
    assert last == pytest.approx(0.7)
    copy = read(write(source, tmp_path / "out.mp4").path)
    assert np.array_equal(copy.times, source.times)
    assert copy.duration == pytest.approx(source.duration)


@pytest.mark.parametrize(
    ("sound", "suffix", "copied"),
    [
        ("aac", ".mp4", True),
        ("libopus", ".mp4", True),
        ("libmp3lame", ".mp4", True),
        ("pcm_s16le", ".mov", True),
        ("pcm_s16le", ".mkv", True),
        ("libopus", ".mkv", True),
        ("pcm_s16le", ".mp4", False),
        ("libopus", ".mov", False),
    ],
)
def test_sound_is_copied_where_the_container_takes_it(tmp_path, sound, suffix, copied):
    source = read(make_video(tmp_path / "in.mkv", count=30, audio=sound))
    result = write(source, tmp_path / f"out{suffix}")
    before, after = audio_packets(source.path), audio_packets(result.path)
    # Demuxers cut PCM into packets as they like; what counts is the bytes.
    assert (b"".join(data for _, data in before) == b"".join(data for _, data in after)) is copied
    assert any("AAC" in note for note in result.notes) is not copied
    assert after[-1][0] == pytest.approx(before[-1][0], abs=0.03)
    if not copied:
        assert codec_names(result.path)[1] == "aac"
        assert _loudness(result.path) == pytest.approx(_loudness(source.path), rel=0.1)


def _loudness(path: Path) -> float:
    samples = np.frombuffer(ffmpeg("-i", path, "-f", "s16le", "-ac", "1", "-"), np.int16).astype(float)
    return float(np.sqrt((samples**2).mean()))


def test_all_sound_tracks_and_their_delay_are_kept(tmp_path):
    first = make_video(tmp_path / "a.mp4", count=30, audio="aac", audio_start=12000)
    second = make_video(tmp_path / "b.mp4", count=30, audio="libopus")
    both = tmp_path / "both.mkv"
    ffmpeg("-i", first, "-i", second, "-map", "0", "-map", "1:a", "-c", "copy", both)
    source = read(both)
    result = write(source, tmp_path / "out.mp4")
    assert codec_names(result.path) == ["h264", "aac", "opus"]
    assert audio_packets(result.path)[0][0] == pytest.approx(audio_packets(both)[0][0], abs=1e-3)


def test_sound_ends_with_the_pictures_when_only_some_are_read(tmp_path):
    path = make_video(tmp_path / "in.mp4", count=60, audio="aac")
    part = read(path, max_frames=15)
    result = write(part, tmp_path / "out.mp4")
    assert 0.45 < audio_packets(result.path)[-1][0] < 0.5
    whole = write(read(path), tmp_path / "whole.mp4")
    assert len(audio_packets(whole.path)) == len(audio_packets(path))


def test_damaged_sound_does_not_stop_the_pictures(tmp_path):
    source = read(make_video(tmp_path / "in.mkv", count=12))
    claims = replace(source, has_audio=True)
    assert codec_names(write(claims, tmp_path / "out.mp4").path) == ["h264"]


@pytest.mark.parametrize("codec", ["h264", "hevc", "prores", "ffv1"])
@pytest.mark.parametrize("size", [(97, 65), (96, 65), (97, 64)])
def test_odd_sizes_stay(tmp_path, codec, size):
    pictures = [picture(i, *size) for i in range(3)]
    source = read(make_video(tmp_path / "in.mkv", count=3, size=size, pix_fmt="yuv444p", pictures=pictures))
    result = write(source, tmp_path / f"out{suffix_for(codec)}", codec)
    copy = read(result.path)
    assert (copy.width, copy.height) == size
    assert [index_of(frame) for frame in copy.frames()] == [0, 1, 2]


@pytest.mark.parametrize(("matrix", "range_"), [(1, 1), (6, 1), (1, 2), (None, None)])
@pytest.mark.parametrize("codec", ["h264", "hevc", "prores"])
def test_colours_and_their_tags_survive(tmp_path, codec, matrix, range_):
    patches = [
        np.full((64, 96, 3), c, np.uint8) for c in [(220, 20, 20), (20, 200, 30), (30, 40, 210), (5, 5, 5)]
    ]
    path = make_video(tmp_path / "in.mp4", count=4, pictures=patches, matrix=matrix, range_=range_)
    source = read(path)
    copy = read(write(source, tmp_path / f"out{suffix_for(codec)}", codec).path)
    assert copy.color["matrix"] == source.color["matrix"]
    if matrix is not None and codec != "prores":  # ProRes has no range to tag: its decoders take limited
        assert copy.color["range"] == source.color["range"]
    for seen, wanted in zip(copy.frames(), source.frames()):
        assert np.abs(seen.astype(int) - wanted).max() <= 4


def test_ffv1_is_lossless(tmp_path):
    source = read(make_video(tmp_path / "in.mp4"))
    copy = read(write(source, tmp_path / "out.mkv", "ffv1").path)
    assert all(np.array_equal(a, b) for a, b in zip(source.frames(), copy.frames(), strict=True))


def test_gif_becomes_mp4_and_anamorphic_pixels_stay(tmp_path):
    path = tmp_path / "in.gif"
    ffmpeg("-i", make_video(tmp_path / "in.mp4"), "-vf", "fps=10", path)
    source = read(path)
    copy = read(write(source, tmp_path / "out.mp4").path)
    assert np.array_equal(copy.times, source.times)
    wide = read(make_video(tmp_path / "wide.mp4", aspect=Fraction(4, 3)))
    assert read(write(wide, tmp_path / "wide-out.mp4").path).sample_aspect == Fraction(4, 3)


def test_rotated_source_is_written_upright(tmp_path):
    source = read(make_video(tmp_path / "in.mp4", rotation=(90, False, False)))
    copy = read(write(source, tmp_path / "out.mp4").path)
    assert copy.rotation == 0 and (copy.width, copy.height) == (64, 96)


def test_other_sizes_and_chosen_frames(tmp_path):
    source = read(make_video(tmp_path / "in.mp4", pts=VFR, audio="aac"))
    crops = [np.full((32, 32, 3), 60 * i, np.uint8) for i in range(3)]
    result = encode(crops, source, tmp_path / "crops.mp4", EncodeSettings(), "crops", indices=[2, 5, 6])
    copy = read(result.path)
    assert np.array_equal(copy.times, source.times[[2, 5, 6]]) and (copy.width, copy.height) == (32, 32)


@pytest.mark.parametrize("count", [0, 11, 13])
def test_wrong_number_of_frames(tmp_path, count):
    source = read(make_video(tmp_path / "in.mp4"))
    frames = [picture(i) for i in range(count)]
    with pytest.raises(ValueError, match="frames"):
        encode(frames, source, tmp_path / "out" / "a.mp4", EncodeSettings(), "")
    assert not (tmp_path / "out").exists() or names(tmp_path / "out") == []
    with pytest.raises(ValueError, match="uint8"):
        encode(
            [f.astype(np.float32) for f in source.frames()], source, tmp_path / "b.mp4", EncodeSettings(), ""
        )


def test_unknown_codec_and_unfit_ending(tmp_path):
    source = read(make_video(tmp_path / "in.mp4"))
    with pytest.raises(UnknownNameError, match="h264, hevc, prores, ffv1"):
        write(source, tmp_path / "a.mp4", "av2")
    with pytest.raises(UserError, match=r"ffv1 .*\.mkv"):
        write(source, tmp_path / "a.mp4", "ffv1")


def _stop_after(frames, number, error):
    for index, frame in enumerate(frames):
        if index == number:
            raise error
        yield frame


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("the render failed")])
def test_nothing_half_written_and_the_old_file_stays(tmp_path, error):
    source = read(make_video(tmp_path / "in.mp4", count=60, audio="aac"))
    target = tmp_path / "out" / "a.mp4"
    target.parent.mkdir()
    target.write_bytes(b"an earlier result")
    with pytest.raises(type(error)):
        encode(_stop_after(source.frames(), 55, error), source, target, EncodeSettings(), "")
    assert names(target.parent) == ["a.mp4"]
    assert target.read_bytes() == b"an earlier result"


@pytest.mark.parametrize("after", [0, 20_000, 200_000])
def test_full_disk(tmp_path, monkeypatch, after):
    source = read(make_video(tmp_path / "in.mp4", count=20))
    noise = [np.random.default_rng(i).integers(0, 256, (64, 96, 3), dtype=np.uint8) for i in range(20)]
    total = 0
    original = OutputFile.write

    def filling(sink, data):
        nonlocal total
        total += len(data)
        if total > after:
            sink.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise sink.error
        return original(sink, data)

    monkeypatch.setattr(OutputFile, "write", filling)
    target = tmp_path / "out" / "a.mp4"
    with pytest.raises(OutputError, match="No space left") as caught:
        encode(noise, source, target, EncodeSettings(quality=1), "")
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)
    assert names(target.parent) == []


def test_file_size_limit_of_the_system(tmp_path):
    """The same with a real failure of the operating system, in a process of its own."""
    make_video(tmp_path / "in.mp4", count=20)
    program = """
        import resource, signal, sys
        from pathlib import Path
        import numpy as np
        from pipeline.errors import OutputError
        from pipeline.request.settings import DecodeSettings, EncodeSettings
        from pipeline.stages.decode import decode
        from pipeline.stages.encode import encode
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        folder = Path(sys.argv[1])
        clip = decode(folder / "in.mp4", DecodeSettings(), folder)
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
        noise = (np.random.default_rng(i).integers(0, 256, (64, 96, 3), dtype=np.uint8) for i in range(20))
        try:
            encode(noise, clip, folder / "out" / "a.mp4", EncodeSettings(quality=1), "")
        except OutputError as error:
            print(error)
            sys.exit(error.exit_code)
    """
    done = run_apart(program, tmp_path)
    assert done.returncode == 2, done.stderr
    assert "cannot be written" in done.stdout and done.stdout.count("\n") == 1
    assert names(tmp_path / "out") == []


def test_interrupt_inside_a_write_is_not_lost(tmp_path, monkeypatch):
    """Python delivers Ctrl-C in whatever it runs next, perhaps in the callback that FFmpeg writes through."""
    source = read(make_video(tmp_path / "in.mp4"))
    opened = Path.open

    class Interrupting:
        def __init__(self, file):
            self.file = file

        def write(self, data):
            os.kill(os.getpid(), signal.SIGINT)
            return self.file.write(data)

        def __getattr__(self, name):
            return getattr(self.file, name)

    def opening(path, mode="r", *arguments, **knobs):
        file = opened(path, mode, *arguments, **knobs)
        return Interrupting(file) if mode == "xb" else file

    monkeypatch.setattr(Path, "open", opening)
    with pytest.raises(KeyboardInterrupt):
        write(source, tmp_path / "out" / "a.mp4")
    assert names(tmp_path / "out") == []


def test_folder_that_cannot_be_written(tmp_path):
    source = read(make_video(tmp_path / "in.mp4"))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        write(source, tmp_path / "file" / "a.mp4")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(OutputError, match="folder"):
        write(source, tmp_path / "folder.mp4")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(tmp_path):
    source = read(make_video(tmp_path / "in.mp4"))
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(OutputError, match=r"[Pp]ermission"):
        write(source, locked / "a.mp4")


REAL = {  # name: frames, width, height, sound; as the data's own README states
    "liveportrait_d12.mp4": (183, 512, 512, True),
    "liveportrait_d18.mp4": (216, 480, 480, True),
    "liveportrait_s29.mp4": (160, 720, 1364, True),
    "fsgan_conan_obrien.mp4": (150, 1920, 1080, True),
    "retalking_1.mp4": (135, 700, 700, True),
    "intel_head-pose-face-detection-male.gif": (62, 480, 270, False),
    "mpiigaze_video02.mp4": (214, 1280, 720, False),
    "facemask_resnet_output.gif": (39, 600, 338, False),
}


@pytest.mark.weights
@pytest.mark.parametrize("name", REAL)
def test_real_clips(tmp_path, name):
    """Every clip decodes whole; twenty frames of it are written."""
    count, width, height, sound = REAL[name]
    source = real_clip(name, tmp_path)
    assert (len(source), source.width, source.height, source.has_audio) == (count, width, height, sound)
    _check_copy(real_clip(name, tmp_path, max_frames=20), tmp_path)


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize("name", REAL)
def test_real_clips_whole(tmp_path, name):
    _check_copy(real_clip(name, tmp_path), tmp_path)


def _check_copy(source, folder: Path) -> None:
    copy = read_into(write(source, folder / "out.mp4").path, folder)
    assert len(copy) == len(source) and (copy.width, copy.height) == (source.width, source.height)
    assert np.array_equal(copy.times, source.times)
    assert copy.duration == pytest.approx(source.duration, abs=1e-6)
    before, after = audio_packets(source.path), audio_packets(copy.path)
    assert after == (before if source.whole else before[: len(after)])
    assert bool(after) == source.has_audio


def real_clip(name: str, folder: Path, **knobs):
    if not (CLIPS / name).exists():
        pytest.skip("the private clips are not here")
    return read_into(CLIPS / name, folder, **knobs)


def read_into(path: Path, folder: Path, **knobs):
    return decode(path, DecodeSettings(**knobs), folder)
