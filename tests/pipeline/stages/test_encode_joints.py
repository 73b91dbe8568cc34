"""encode: sound and picture of joined recordings stay together, whatever their number and lengths."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.clip import Clip
from pipeline.request.settings import DecodeSettings, EncodeSettings
from pipeline.stages.decode import decode
from pipeline.stages.encode import EncodedFile, encode
from pipeline.video import joints
from tests.pipeline.video.media import audio_packets, ffmpeg, index_of, make_video

FRAMES = 12
PACKET = 1024 / 48000
CLICK = "if(lt(t,0.02),0.8*sin(2*PI*1000*t),0)"


def recording(folder: Path, sound: float, *words: str, clock: float = 0, coder: str = "aac") -> bytes:
    """A transport stream of 0.4 s of picture with a click at its start; sound: seconds."""
    path, picture = folder / "one.ts", folder / "picture.mp4"
    if not picture.exists():
        make_video(picture, count=FRAMES)
    click = ("-f", "lavfi", "-i", f"aevalsrc='{CLICK}':d={sound}:s=48000:c=mono")
    clocked = ("-output_ts_offset", str(clock), path)
    ffmpeg("-i", picture, *click, *words, "-c:v", "copy", "-c:a", coder, *clocked)
    return path.read_bytes()


def joined(folder: Path, *parts: bytes) -> Path:
    path = folder / "in.ts"
    path.write_bytes(b"".join(parts))
    return path


def write(source: Path, suffix: str, most: int | None = None) -> tuple[Clip, EncodedFile]:
    clip = decode(source, DecodeSettings(max_frames=most), source.parent / "work")
    target = source.parent / "out" / f"result{suffix}"
    return clip, encode(clip.frames(), clip, target, EncodeSettings(codec="h264"), "Edited")


def clicks(path: Path, track: int = 0) -> list[float]:
    """Seconds at which a click begins, by the stamps of the packets."""
    found: list[float] = []
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams.audio[track]):
            loud = np.flatnonzero(np.abs(frame.to_ndarray().astype(float)).max(0) > 0.25)
            if len(loud):
                time = float(frame.pts * frame.time_base) + loud[0] / frame.sample_rate
                if not found or time > found[-1] + 0.15:
                    found.append(time)
    return found


def starts(path: Path) -> list[float]:
    """Seconds at which a picture says that it is the first of its recording."""
    with av.open(str(path)) as container:
        frames = container.decode(container.streams.video[0])
        return [f.time for f in frames if index_of(f.to_ndarray(format="rgb24")) == 0]


def delays(path: Path, track: int = 0) -> np.ndarray:
    """Seconds by which each click comes after its picture."""
    heard, seen = clicks(path, track), starts(path)
    assert len(heard) == len(seen)
    return np.array(heard) - seen


def increases(path: Path) -> bool:
    return all(a < b for (a, _), (b, _) in pairwise(audio_packets(path)))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("count", [3, 13])
@pytest.mark.parametrize("sound", [0.3, 0.5])
def test_each_recording_has_its_sound_in_time(tmp_path, sound, count, suffix):
    """Sound shorter or longer than the picture, of 0.4 s."""
    one = recording(tmp_path, sound)
    (alone,) = delays(write(joined(tmp_path, one), suffix)[1].path)
    _, result = write(joined(tmp_path, *[one] * count), suffix)
    assert np.abs(delays(result.path) - alone).max() < PACKET
    assert increases(result.path)
    assert len(delays(result.path)) == count
    assert sum("mended" in note for note in result.notes) == 1


@pytest.mark.parametrize(
    ("sound", "clocks"), [(0.3, (0,) * 6), (0.5, (0,) * 13), (0.3, (0, 100, 50)), (0.5, (0, 100, 50))]
)
def test_sound_that_is_encoded_anew_does_not_drift(tmp_path, sound, clocks):
    """MP4 does not hold the PCM of SMPTE 302M."""
    words = ("-strict", "-2", "-ac", "2")
    parts = {clock: recording(tmp_path, sound, *words, clock=clock, coder="s302m") for clock in set(clocks)}
    (alone,) = delays(write(joined(tmp_path, parts[0]), ".mp4")[1].path)
    _, result = write(joined(tmp_path, *(parts[clock] for clock in clocks)), ".mp4")
    assert any("re-encoded" in note for note in result.notes)
    assert len(delays(result.path)) == len(clocks)
    assert np.abs(delays(result.path) - alone).max() < PACKET


def test_a_joint_that_decoded_sound_does_not_show_is_told(tmp_path):
    """FFmpeg takes the step back to the first clock for a wrap of its 33 bits."""
    words = ("-strict", "-2", "-ac", "2")
    parts = [recording(tmp_path, 0.4, *words, clock=clock, coder="s302m") for clock in (1000, 100, 1000)]
    _, result = write(joined(tmp_path, *parts), ".mp4")
    assert any("re-encoded" in note and "may drift" in note for note in result.notes)
    assert len(delays(result.path)) == 3 and np.abs(delays(result.path)).max() < 2 * PACKET


@pytest.mark.parametrize("clocks", [(0, 100, 200), (1000, 100, 3000), (1000, 100, 1000)])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_clocks_that_leap(tmp_path, suffix, clocks):
    parts = [recording(tmp_path, 0.5, clock=clock) for clock in clocks]
    (alone,) = delays(write(joined(tmp_path, parts[0]), suffix)[1].path)
    _, result = write(joined(tmp_path, *parts), suffix)
    assert np.abs(delays(result.path) - alone).max() < PACKET
    assert len(delays(result.path)) == 3


@pytest.mark.parametrize("clocks", [(0, 0, 0), (0, 100, 200)])
def test_sound_ends_with_the_frames_that_are_read(tmp_path, clocks):
    parts = [recording(tmp_path, 0.5, clock=clock) for clock in clocks]
    clip, result = write(joined(tmp_path, *parts), ".mp4", most=FRAMES + 6)
    assert audio_packets(result.path)[-1][0] == pytest.approx(clip.duration, abs=2 * PACKET)
    assert len(delays(result.path)) == 2


def test_a_clock_that_wraps_goes_on(tmp_path):
    """33 bits of a clock of 90 kHz."""
    one = recording(tmp_path, 0.4, clock=2**33 / 90000 - 1.6)
    clip, result = write(joined(tmp_path, one), ".mp4")
    assert not clip.shifts and not any("mended" in note for note in result.notes)
    assert len(delays(result.path)) == 1 and clip.duration == pytest.approx(0.4)


@pytest.mark.parametrize("clocks", [(0, 0, 0), (1000, 100, 1000)])
def test_every_track_is_shifted(tmp_path, clocks):
    second = ("-f", "lavfi", "-i", f"aevalsrc='{CLICK}':d=0.3:s=48000:c=mono", "-map", "0", "-map", "1")
    parts = [recording(tmp_path, 0.5, *second, "-map", "2", clock=clock) for clock in clocks]
    (alone,) = delays(write(joined(tmp_path, parts[0]), ".mkv")[1].path)
    _, result = write(joined(tmp_path, *parts), ".mkv")
    for track in (0, 1):
        found = delays(result.path, track)
        assert len(found) == 3 and np.abs(found - alone).max() < PACKET


def test_too_many_joints_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(joints, "MOST", 2)
    _, result = write(joined(tmp_path, *[recording(tmp_path, 0.5)] * 4), ".mp4")
    assert any("too many" in note and "may drift" in note for note in result.notes)
    assert increases(result.path)


def test_where_the_sound_has_other_joints_a_note_says_so(tmp_path):
    first, silent = recording(tmp_path, 0.4), recording(tmp_path, 0.4, "-map", "0:v")
    _, result = write(joined(tmp_path, first, silent, first), ".mp4")
    assert any("may drift" in note for note in result.notes)
    assert increases(result.path)
