"""ingest: filters by name into a lossless copy, sound and tags kept."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from pipeline.errors import InputVideoError, OutputError, UnknownNameError, UserError
from pipeline.request.settings import DecodeSettings
from pipeline.stages.decode import decode
from pipeline.video.ingest import ingest, parse_ingest
from pipeline.video.rates import parse_rate
from tests.pipeline.video.media import audio_packets, ffmpeg, index_of, make_video


def test_spec_is_normalised_and_checked():
    assert parse_ingest(" deinterlace, tonemap,fps=25") == ("deinterlace", "tonemap", "fps=25")
    assert parse_ingest("fps=29.97") == ("fps=2997/100",)
    assert parse_ingest("fps=30000/1001") == ("fps=30000/1001",)
    for bad in ("denoise", "tonemap=1", "", "fps=25,,tonemap"):
        with pytest.raises(UnknownNameError, match=r"known: deinterlace, progressive, tonemap, fps"):
            parse_ingest(bad)
    for bad in ("fps=", "fps=0", "fps=-3", "fps=fast", "fps=1/0"):
        with pytest.raises(UserError, match="fps"):
            parse_ingest(bad)


def test_constant_rate_from_variable_rate_with_sound(tmp_path):
    source = make_video(tmp_path / "a.mp4", pts=[0, 1, 2, 8, 9, 14, 15, 29], count=8, audio="aac")
    clip = decode(source, DecodeSettings(ingest="fps=25"), tmp_path / "work")
    assert np.diff(clip.times) == pytest.approx(np.full(len(clip) - 1, 0.04), abs=1e-6)
    assert len(clip) == 25
    shown = [index_of(frame) for frame in clip.frames()]
    assert shown == sorted(shown) and shown[0] == 0 and shown[-1] == 7
    assert clip.path.parent == tmp_path / "work" and clip.has_audio
    assert [data for _, data in audio_packets(clip.path)] == [data for _, data in audio_packets(source)]
    plain = decode(source, DecodeSettings(), tmp_path / "work")
    assert plain.content_hash != clip.content_hash and plain.path == source


def planes(path):
    with av.open(str(path)) as container:
        return [[bytes(plane) for plane in frame.planes] for frame in container.decode(video=0)]


def test_the_copy_is_lossless_keeps_colour_tags_and_is_used_again(tmp_path):
    source = make_video(tmp_path / "a.mp4", matrix=1, range_=2)
    second = decode(source, DecodeSettings(ingest="tonemap"), tmp_path / "work")  # not HDR: nothing to map
    assert (second.color["matrix"], second.color["range"]) == (1, 2)
    assert planes(source) == planes(second.path)  # as stored: FFV1 has no tag for where chroma is sited
    stamp = second.path.stat().st_mtime_ns
    assert ingest(source, ("tonemap",), tmp_path / "work") == second.path
    assert second.path.stat().st_mtime_ns == stamp
    assert len(list((tmp_path / "work").iterdir())) == 1


def test_deinterlacing_removes_the_combs_of_video_that_is_not_flagged(tmp_path):
    woven = tmp_path / "woven.mp4"
    bars = "crop=96:30:0:0,scale=96:64,scroll=horizontal=0.02,tinterlace=interleave_top,setfield=prog"
    source = ("-f", "lavfi", "-i", "smptebars=s=96x64:r=50:d=0.4")
    ffmpeg(*source, "-vf", bars, "-c:v", "libx264", "-crf", "4", woven)
    plain = decode(woven, DecodeSettings(), tmp_path)
    assert not any("interlaced" in note for note in plain.notes)
    mended = decode(woven, DecodeSettings(ingest="deinterlace"), tmp_path / "work")
    assert len(mended) == len(plain)

    def combs(clip):
        return np.mean([np.abs(np.diff(frame.astype(int), axis=0)).mean() for frame in clip.frames()])

    assert combs(mended) < 0.5 * combs(plain)


def test_tone_mapping_brings_pq_into_range(tmp_path):
    pictures = [
        np.full((64, 96, 3), 130, np.uint8)
    ] * 3  # PQ 0.51: about 100 cd/m2, white on an ordinary screen
    source = tmp_path / "hdr.mp4"
    make_video(tmp_path / "raw.mkv", count=3, pictures=pictures, pix_fmt="yuv420p10le")
    tags = "setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc=smpte2084:range=tv"
    ffmpeg("-i", tmp_path / "raw.mkv", "-vf", tags, "-c:v", "libx264", "-pix_fmt", "yuv420p10le", source)
    plain = decode(source, DecodeSettings(), tmp_path)
    assert plain.deep is not None and any("high dynamic range" in note for note in plain.notes)
    mapped = decode(source, DecodeSettings(ingest="tonemap"), tmp_path / "work")
    assert mapped.color["transfer"] == 1 and mapped.color["matrix"] == 1
    (frame, *_) = mapped.frames()
    assert frame.mean() > 150 and np.ptp(frame.reshape(-1, 3).mean(0)) < 4


def test_failures_leave_nothing(tmp_path):
    with pytest.raises(InputVideoError, match="no such file"):
        ingest(tmp_path / "none.mp4", ("fps=25",), tmp_path / "work")
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        ingest(make_video(tmp_path / "a.mp4"), ("fps=25",), blocked / "work")


@pytest.mark.parametrize("text", ["1e99999999", "１２", "1_0", "1/0", "0", "-25", "1001", "", "nan", "25/"])
def test_a_rate_that_is_none_is_one_line_at_once(text):
    """Ten characters of an exponent would otherwise take gigabytes."""
    for where in ("--frame-rate", "ingest filter fps"):
        with pytest.raises(UserError, match=f"^{where} wants a rate"):
            parse_rate(text, where)


def test_rates_are_exact():
    assert [parse_rate(text, "x") for text in ("25", "29.97", "30000/1001", ".5")] == [
        25, Fraction(2997, 100), Fraction(30000, 1001), Fraction(1, 2)
    ]  # fmt: skip
