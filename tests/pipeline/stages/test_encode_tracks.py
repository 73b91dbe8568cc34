"""encode: sound, subtitles, cover art and attachments of the source are in the file, or named in a note."""

from __future__ import annotations

import re
import struct
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import av
import imageio_ffmpeg
import numpy as np
import pytest

from pipeline.request.settings import DecodeSettings, EncodeSettings, Settings
from pipeline.stages.decode import decode
from pipeline.stages.decode import notes as decoding_notes
from pipeline.stages.encode import EncodedFile, encode
from pipeline.video.tracks import side_tracks
from tests.pipeline.video.media import audio_packets, codec_names, ffmpeg, make_video

SRT = "1\n00:00:00,100 --> 00:00:00,300\nHello\n"
CODECS = {".mp4": "h264", ".mov": "h264", ".mkv": "h264"}


def write(source: Path, suffix: str, **knobs) -> EncodedFile:
    clip = decode(source, DecodeSettings(), source.parent / "work")
    target = source.parent / "out" / f"result{suffix}"
    return encode(clip.frames(), clip, target, EncodeSettings(codec=CODECS[suffix], **knobs), "Edited")


@dataclass(frozen=True)
class Seen:
    """A stream of a file."""

    codec: str
    language: str
    title: str
    default: bool


def seen(path: Path) -> list[Seen]:
    with av.open(str(path)) as container:
        return [
            Seen(
                stream.codec_context.name if stream.codec_context else stream.type,
                stream.metadata.get("language", ""),
                stream.metadata.get("title", stream.metadata.get("name", "")),
                bool(stream.disposition & 1),
            )
            for stream in container.streams
        ]


def layouts(path: Path) -> list[str]:
    """Layouts of the sound tracks, as FFmpeg's own process says; PyAV must not be asked."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", str(path)]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    return re.findall(r"Audio: .*? Hz, ([^,]+),", told)


def samples(path: Path, channels: int) -> np.ndarray:
    """int16 [N,channels] of the first sound track, in the order of its channels."""
    return np.frombuffer(ffmpeg("-i", path, "-map", "0:a:0", "-f", "s16le", "-"), np.int16).reshape(
        -1, channels
    )


def increases(path: Path) -> bool:
    stamps = [seconds for seconds, _ in audio_packets(path)]
    return all(a < b for a, b in pairwise(stamps))


def two_languages(folder: Path, suffix: str = ".mkv") -> Path:
    """German and French sound of which the second is the default, with French subtitles."""
    path, text = folder / f"in{suffix}", folder / "in.srt"
    text.write_text(SRT)
    first = make_video(folder / "first.mp4", audio="aac")
    words = "-map 0:v -map 0:a -map 1:a -map 2 -c copy -c:a:1 ac3 -disposition:a:0 0 -disposition:a:1 default"
    for stream, language, title in [
        ("a:0", "deu", "Deutsch"),
        ("a:1", "fra", "Français"),
        ("s:0", "fra", ""),
    ]:
        words += f" -metadata:s:{stream} language={language} -metadata:s:{stream} title={title}"
    coder = "srt" if suffix == ".mkv" else "mov_text"
    sine = ("-f", "lavfi", "-i", "sine=880:d=0.4")
    ffmpeg("-i", first, *sine, "-i", text, *words.split(), "-c:s", coder, path)
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("source", [".mkv", ".mp4"])
def test_languages_titles_and_the_default_track_stay(tmp_path, source, suffix):
    result = write(two_languages(tmp_path, source), suffix)
    picture, german, french, text = seen(result.path)
    mac = suffix == ".mov"
    assert picture.codec == "h264"
    assert german == Seen("aac", "ger" if mac else "deu", "Deutsch", False)
    assert french == Seen("ac3", "fra", "Français", True)
    assert (text.codec, text.language) == ("srt" if suffix == ".mkv" else "mov_text", "fra")
    assert not [note for note in result.notes if "rounds" not in note]


def test_a_language_that_the_container_has_no_code_for_is_named(tmp_path):
    plain, source = make_video(tmp_path / "plain.mp4", count=3, audio="aac"), tmp_path / "in.mkv"
    ffmpeg("-i", plain, "-c", "copy", "-metadata:s:1", "language=de", source)
    assert not [note for note in write(source, ".mkv").notes if "language" in note]
    (note,) = [note for note in write(source, ".mp4").notes if "language" in note]
    assert "sound track 1" in note and "aac, de" in note


def test_the_text_of_subtitles_stays(tmp_path):
    source = two_languages(tmp_path)
    write(source, ".mp4").path.rename(tmp_path / "in2.mp4")
    result = write(tmp_path / "in2.mp4", ".mkv")
    text = ffmpeg("-i", result.path, "-map", "0:s:0", "-f", "srt", "-").decode()
    assert "00:00:00,100 --> 00:00:00,300" in text and "Hello" in text


@pytest.mark.parametrize(
    ("codec", "suffix", "tag"),
    [("h264", ".mp4", "avc1"), ("hevc", ".mp4", "hvc1"), ("prores", ".mov", "apch")],
)
def test_pictures_beside_which_tracks_are_carried_stay_as_they_were(tmp_path, codec, suffix, tag):
    options = {"matrix": 1, "range_": 2, "aspect": Fraction(4, 3), "pts": [3, 4, 5, 8, 12]}
    path = make_video(tmp_path / "in.mp4", count=5, audio="aac", **options)
    source = decode(path, DecodeSettings(), tmp_path / "work")
    settings = EncodeSettings(codec=codec)
    result = encode(source.frames(), source, tmp_path / f"out{suffix}", settings, "Edited")
    copy = decode(result.path, DecodeSettings(), tmp_path / "work")
    assert (copy.times.tolist(), copy.duration) == (source.times.tolist(), source.duration)
    assert (copy.color["matrix"], copy.sample_aspect) == (1, Fraction(4, 3))
    assert copy.color["range"] == (1 if codec == "prores" else 2)
    for now, before in zip(copy.frames(), source.frames(), strict=True):
        assert np.abs(now.astype(int) - before).mean() < 4
    with av.open(str(result.path)) as container:
        assert container.streams.video[0].codec_tag == tag and container.streams.audio
    content = result.path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


# Sound of several channels


def pcm(folder: Path, layout: str, count: int) -> Path:
    """A .mov of which each channel of sound has a loudness of its own."""
    path = folder / "in.mov"
    picture = make_video(folder / "picture.mp4", count=6)
    waves = "|".join(f"{0.05 * (channel + 1)}*sin(200*PI*t)" for channel in range(count))
    names = f"channelmap={'|'.join(map(str, range(count)))}:channel_layout={layout}"
    sound = ("-f", "lavfi", "-i", f"aevalsrc={waves}:d=0.2", "-filter:a", names)
    ffmpeg("-i", picture, *sound, "-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "pcm_s16le", path)
    return path


@pytest.mark.parametrize(
    ("layout", "count"), [("2.1", 3), ("quad", 4), ("4.0", 4), ("5.1", 6), ("7.0", 7), ("7.1", 8)]
)
def test_speakers_of_pcm_stay(tmp_path, layout, count):
    source = pcm(tmp_path, layout, count)
    before = samples(source, count)
    assert layouts(source) == [layout]
    for suffix, codec in [(".mov", "pcm_s16le"), (".mkv", "flac"), (".mp4", "aac")]:
        result = write(source, suffix)
        assert (codec_names(result.path)[1], layouts(result.path)) == (codec, [layout])
        after = samples(result.path, count)
        if codec == "aac":
            assert any("AAC" in note for note in result.notes)
            heard = [
                channel for channel in range(count) if layout[-2:] != ".1" or channel != layout.count("5") + 2
            ]
            assert np.abs(after[:, heard].std(0) / before[:, heard].std(0) - 1).max() < 0.2
        else:
            assert np.array_equal(after, before)


def test_channels_in_an_order_of_their_own_find_their_speakers(tmp_path):
    source = pcm(tmp_path, "FR+FL+FC+LFE+BL+BR+SL+SR", 8)
    assert "8 channels" in layouts(source)[0]
    assert np.array_equal(samples(write(source, ".mov").path, 8), samples(source, 8))
    for suffix in (".mp4", ".mkv"):
        result = write(source, suffix)
        loud = samples(result.path, 8).astype(float).std(0)
        assert layouts(result.path) == ["7.1"]
        assert loud[0] == pytest.approx(
            2 * loud[1], rel=0.2
        )  # the second channel of the source is front left


@pytest.mark.parametrize(
    ("sound", "suffix", "written"),
    [
        ("wmav2", ".mov", "aac"),  # the muxer takes it, and no reader knows what it wrote
        ("libvorbis", ".mp4", "vorbis"),
        ("flac", ".mov", "aac"),
        ("pcm_f32be", ".mkv", "pcm_f32le"),
        ("pcm_s8", ".mkv", "pcm_u8"),
    ],
)
def test_other_codecs_are_copied_or_encoded_anew(tmp_path, sound, suffix, written):
    plain = make_video(tmp_path / "plain.mp4", count=9, audio="aac")
    source = tmp_path / ("in.mov" if sound.startswith("pcm") else "in.mkv")
    ffmpeg("-i", plain, "-c:v", "copy", "-c:a", sound, source)
    result = write(source, suffix)
    assert codec_names(result.path)[1] == written
    assert any("re-encoded" in note for note in result.notes) is (sound[-6:] != "vorbis")
    if sound.startswith("pcm"):
        assert np.array_equal(samples(result.path, 2), samples(source, 2))


def test_packets_shorter_than_the_clock_of_matroska_keep_their_stamps(tmp_path):
    plain, source = make_video(tmp_path / "plain.mp4", audio="aac"), tmp_path / "in.mkv"
    ffmpeg("-i", plain, "-c:v", "copy", "-c:a", "truehd", "-strict", "-2", source)
    result = write(source, ".mkv")
    assert audio_packets(result.path) == audio_packets(source)
    assert not any("mended" in note for note in result.notes)


# Damage


def ts(folder: Path) -> Path:
    path = folder / "in.ts"
    ffmpeg("-i", make_video(folder / "plain.mp4", count=15, audio="aac"), "-c", "copy", path)
    return path


def fragmented(folder: Path, flags: str) -> Path:
    path = folder / "in.mp4"
    plain = make_video(folder / "plain.mp4", count=15, audio="aac")
    ffmpeg("-i", plain, "-c", "copy", "-movflags", f"frag_every_frame{flags}", path)
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("flags", ["", "+empty_moov"])
def test_a_fragment_for_each_frame(tmp_path, flags, suffix):
    source = fragmented(tmp_path, flags)
    result = write(source, suffix)
    before, after = audio_packets(source), audio_packets(result.path)
    assert len(after) >= len(before) - 1  # FFmpeg flags the last packet of such a file as one not to show
    assert [data for _, data in after] == [data for _, data in before[: len(after)]]
    assert increases(result.path) and any("mended" in note for note in result.notes)
    assert after[-1][0] == pytest.approx(before[-1][0], abs=0.03)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_stamps_that_go_back_are_mended(tmp_path, suffix):
    one = ts(tmp_path)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(2 * one.read_bytes())
    once = audio_packets(write(one, suffix).path)
    result = write(joined, suffix)
    after = audio_packets(result.path)
    assert [data for _, data in after] == 2 * [data for _, data in once]
    assert increases(result.path) and any("mended" in note for note in result.notes)
    assert after[len(once)][0] == pytest.approx(once[0][0] + 0.5, abs=0.002)  # as the picture


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_a_damaged_adts_packet_is_left_out(tmp_path, suffix):
    path = ts(tmp_path)
    whole = audio_packets(write(path, suffix).path)
    content = bytearray(path.read_bytes())
    heads = [i for i in range(len(content) - 1) if content[i] == 0xFF and content[i + 1] in (0xF1, 0xF9)]
    at = heads[len(heads) // 2]
    content[at + 2 : at + 4] = b"\xff\xff"
    path.write_bytes(content)
    result = write(path, suffix)
    after = audio_packets(result.path)
    assert 5 < len(after) < len(whole) and after[:5] == whole[:5]
    assert any("damaged packets" in note for note in result.notes)


def test_a_sound_track_that_cannot_be_read_is_left_out(tmp_path):
    plain = make_video(tmp_path / "plain.mkv", audio="aac")
    path = tmp_path / "in.mkv"
    path.write_bytes(plain.read_bytes().replace(b"A_AAC", b"A_QQQ"))
    assert any("left out" in note and "sound track 1" in note for note in side_tracks(path, ".mp4").notes)
    result = write(path, ".mp4")
    assert codec_names(result.path) == ["h264"]
    assert sum("left out" in note for note in result.notes) == 1


def test_what_is_left_out_is_told_when_the_clip_is_decoded(tmp_path):
    """Before any face is looked for; the container is that of the codec."""
    path = with_cover(tmp_path, ".mkv", attachment=True)
    clip = decode(path, DecodeSettings(), tmp_path)
    for codec, told in [("prores", True), ("ffv1", False)]:
        settings = Settings(encode=EncodeSettings(codec=codec))
        run = SimpleNamespace(hooks=SimpleNamespace(value={"decode": clip}.get), settings=settings)
        assert any("a.ttf" in note for note in decoding_notes(run)) is told


# Edit lists


def with_edits(path: Path, target: Path, edits: list[tuple[float, float]]) -> Path:
    """Copy an .mp4 of 1 ms movie clock whose sound shows only parts (start, duration), in seconds."""
    content = path.read_bytes()

    def inside(begin: int, end: int, kind: bytes) -> list[tuple[int, int]]:
        found = []
        while begin < end:
            length, name = struct.unpack_from(">I4s", content, begin)
            found += [(begin, length)] if name == kind else []
            begin += length
        return found

    (moov,) = inside(0, len(content), b"moov")
    trak = inside(moov[0] + 8, sum(moov), b"trak")[1]
    edts = inside(trak[0] + 8, sum(trak), b"edts")[0]
    rows = b"".join(struct.pack(">IiI", round(1000 * d), round(48000 * a), 1 << 16) for a, d in edits)
    elst = struct.pack(">I4sII", 16 + len(rows), b"elst", 0, len(edits)) + rows
    new = struct.pack(">I4s", 8 + len(elst), b"edts") + elst
    out = bytearray(content[: edts[0]] + new + content[sum(edts) :])
    for begin, length in (moov, trak):
        struct.pack_into(">I", out, begin, length + len(new) - edts[1])
    target.write_bytes(out)  # the samples lie before `moov`, so their places stay
    return target


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_that_an_edit_list_hides_stays_hidden(tmp_path, suffix):
    plain = make_video(tmp_path / "plain.mp4", count=60, audio="aac")
    source = with_edits(plain, tmp_path / "in.mp4", [(0.7, 1.0)])
    result = write(source, suffix)
    assert len(samples(result.path, 2)) == pytest.approx(48000, abs=2100)
    after = audio_packets(result.path)
    assert after[-1][0] == pytest.approx(audio_packets(source)[-1][0], abs=0.03)
    if suffix == ".mp4":
        assert after == audio_packets(source)
    else:
        assert after[0][0] > -0.03 and any("edit list" in note for note in result.notes)


def test_pcm_that_an_edit_list_hides_stays_hidden_in_matroska(tmp_path):
    whole, source = tmp_path / "whole.mov", tmp_path / "in.mov"
    ffmpeg("-i", make_video(tmp_path / "plain.mp4", count=45, audio="aac"), "-c:a", "pcm_s16le", whole)
    ffmpeg("-ss", "0.7", "-i", whole, "-c", "copy", source)
    result = write(source, ".mkv")
    assert audio_packets(source)[0][0] < -0.6 and audio_packets(result.path)[0][0] >= 0
    assert codec_names(result.path)[1] == "pcm_s16le"
    assert np.array_equal(samples(result.path, 2), samples(source, 2))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_that_an_edit_list_hides_in_the_middle_stays_hidden(tmp_path, suffix):
    plain = make_video(tmp_path / "plain.mp4", count=60, audio="aac")
    source = with_edits(plain, tmp_path / "in.mp4", [(0.0, 0.5), (1.4, 0.4)])
    result = write(source, suffix)
    assert increases(result.path)
    assert len(samples(result.path, 2)) == pytest.approx(0.9 * 48000, abs=2400)
    assert any("edit list" in note for note in result.notes)


# Files in a file


def with_cover(folder: Path, suffix: str, attachment: bool = False) -> Path:
    path, cover = folder / f"in{suffix}", folder / "cover.png"
    plain = make_video(folder / "plain.mp4", count=6, audio="aac")
    ffmpeg("-f", "lavfi", "-i", "color=red:size=16x16:duration=0.04", "-frames:v", "1", cover)
    if suffix == ".mp4":
        words = ("-i", cover, "-map", "0", "-map", "1", "-c", "copy", "-disposition:v:1", "attached_pic")
    else:
        words = ("-c", "copy", "-attach", cover, "-metadata:s:2", "mimetype=image/png")
    if attachment:
        (folder / "a.ttf").write_bytes(b"letters")
        words = (*words, "-attach", folder / "a.ttf", "-metadata:s:3", "mimetype=font/ttf")
    ffmpeg("-i", plain, *words, path)
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("source", [".mp4", ".mkv"])
def test_cover_art_stays(tmp_path, source, suffix):
    result = write(with_cover(tmp_path, source), suffix)
    with av.open(str(result.path)) as container:
        (cover,) = [stream for stream in container.streams.video if stream.disposition & 1024]
        assert bytes(next(container.demux(cover))) == (tmp_path / "cover.png").read_bytes()
    assert codec_names(result.path)[:2] == ["h264", "aac"]


def test_attachments_stay_in_matroska_and_are_named_elsewhere(tmp_path):
    source = with_cover(tmp_path, ".mkv", attachment=True)
    with av.open(str(write(source, ".mkv").path)) as container:
        (kept,) = container.streams.attachments
        assert (kept.name, kept.data) == ("a.ttf", b"letters")
    for suffix, names in [(".mp4", ["a.ttf"]), (".mov", ["a.ttf", "cover art"])]:
        (note,) = [note for note in write(source, suffix).notes if "left out" in note]
        assert all(name in note for name in names)
