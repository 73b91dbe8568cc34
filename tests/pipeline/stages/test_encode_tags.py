"""encode: tags, chapters and time codes of the source are in the file, its place only where that is asked."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from pipeline.errors import OutputError
from pipeline.request.settings import DecodeSettings, EncodeSettings
from pipeline.stages.decode import decode
from pipeline.stages.encode import EncodedFile, encode
from pipeline.video import carry
from pipeline.video.tracks import side_tracks
from tests.pipeline.video.media import audio_packets, codec_names, ffmpeg, make_video, run_apart

PLACE = "+48.1000+011.5000/"
TAGS = f"""\
;FFMETADATA1
title=My title
artist=An artist
comment=original words
location={PLACE}
creation_time=2020-01-02T03:04:05.000000Z
[CHAPTER]
TIMEBASE=1/1000
START=0
END=200
title=One
[CHAPTER]
TIMEBASE=1/1000
START=200
END=400
title=Two
"""


def write(
    source: Path, suffix: str, codec: str = "h264", max_frames: int | None = None, **knobs
) -> EncodedFile:
    clip = decode(source, DecodeSettings(max_frames=max_frames), source.parent / "work")
    target = source.parent / "out" / f"result{suffix}"
    return encode(clip.frames(), clip, target, EncodeSettings(codec=codec, **knobs), "Edited with Invid")


def tagged(folder: Path, suffix: str, *words: str, **tags: str) -> Path:
    """A video with tags, two chapters and a time code."""
    path, text = folder / f"in{suffix}", folder / "tags.txt"
    text.write_text(TAGS)
    plain = make_video(folder / "plain.mp4", audio="aac")
    more = [word for key, value in tags.items() for word in ("-metadata", f"{key}={value}")]
    streams = ("-i", plain, "-i", text, "-map", "0", "-map_metadata", "1", "-map_chapters", "1", "-c", "copy")
    ffmpeg(*streams, "-timecode", "01:02:03:04", *more, *words, path)
    return path


def tags_of(path: Path) -> dict[str, str]:
    with av.open(str(path)) as container:
        found = {key.lower(): value for key, value in container.metadata.items()}
        for stream in container.streams:
            found.setdefault("timecode", stream.metadata.get("timecode", ""))
    return found


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("source", [".mp4", ".mov", ".mkv"])
def test_tags_chapters_and_time_code_stay(tmp_path, source, suffix):
    result = write(tagged(tmp_path, source), suffix)
    tags = tags_of(result.path)
    assert (tags["title"], tags["artist"]) == ("My title", "An artist")
    assert tags["creation_time"] == "2020-01-02T03:04:05.000000Z"
    assert tags["timecode"] == "01:02:03:04"
    assert (tags["comment"], tags["description"]) == ("Edited with Invid", "original words")
    with av.open(str(result.path)) as container:
        found = [
            (chapter["metadata"]["title"], float(chapter["start"] * chapter["time_base"]))
            for chapter in container.chapters()
        ]
    assert found == [("One", 0), ("Two", pytest.approx(0.2))]
    assert [note for note in result.notes if "rounds" not in note] == [
        note for note in result.notes if "--keep" in note
    ]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("source", [".mp4", ".mov", ".mkv"])
def test_the_place_of_recording_is_kept_only_where_that_is_asked(tmp_path, source, suffix):
    path = tagged(tmp_path, source)
    assert tags_of(path)["location"] == PLACE
    withheld = write(path, suffix)
    assert PLACE[:-1].encode() not in withheld.path.read_bytes()
    assert sum("--keep-location" in note for note in withheld.notes) == 1
    kept = write(path, suffix, keep_location=True)
    assert tags_of(kept.path)["location"] == PLACE
    assert not any("--keep-location" in note for note in kept.notes)


def test_the_place_that_a_phone_writes(tmp_path):
    name = "com.apple.quicktime.location.ISO6709"
    more = {name: PLACE, "com.apple.quicktime.model": "a phone"}
    path = tagged(tmp_path, ".mov", "-movflags", "use_metadata_tags", "-metadata", "location=", **more)
    assert tags_of(path)[name.lower()] == PLACE
    for suffix in (".mov", ".mp4"):
        result = write(path, suffix)
        assert PLACE[:-1].encode() not in result.path.read_bytes()
        assert PLACE in tags_of(write(path, suffix, keep_location=True).path).values()
    assert any("com.apple.quicktime.model" in note for note in result.notes)  # .mp4 has no such tag
    assert tags_of(write(path, ".mov").path)["com.apple.quicktime.model"] == "a phone"


@pytest.mark.parametrize("odd", [{"a=location": PLACE}, {f"location{i}": PLACE for i in range(200)}])
def test_places_under_odd_names_are_withheld_too(tmp_path, odd):
    path = tagged(tmp_path, ".mkv")
    with av.open(str(path)) as source, av.open(str(tmp_path / "odd.mkv"), "w") as target:
        target.metadata.update({**source.metadata, **odd, "comment": "y" * 200_000})
        (stream,) = source.streams.video
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    result = write(tmp_path / "odd.mkv", ".mkv")
    assert PLACE[:-1].encode() not in result.path.read_bytes()
    assert tags_of(result.path)["comment"] == "Edited with Invid"


def test_tags_that_the_container_does_not_hold_are_named_in_one_note(tmp_path):
    path = tagged(tmp_path, ".mkv", weather="rain", mood="good")
    assert tags_of(write(path, ".mkv").path)["weather"] == "rain"
    (note,) = [note for note in write(path, ".mp4").notes if "rain" in note or "WEATHER" in note]
    assert "MOOD" in note


def test_tags_that_are_no_utf8(tmp_path):
    path = tagged(tmp_path, ".mp4")
    path.write_bytes(path.read_bytes().replace(b"My title", b"M\xff title"))
    with av.open(str(write(path, ".mp4").path), metadata_errors="replace") as container:
        assert len(container.streams.audio) == 1 and container.metadata["title"] == "M\ufffd title"


@pytest.mark.parametrize("rate", ["1000", "1/2"])
def test_a_time_code_that_cannot_count_the_frames(tmp_path, rate):
    path = tmp_path / "in.mkv"
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        f"color=size=32x32:rate={rate}",
        "-frames:v",
        "3",
        "-timecode",
        "01:02:03:04",
        path,
    )
    assert tags_of(path)["timecode"]
    result = write(path, ".mp4")
    assert not tags_of(result.path)["timecode"]
    assert any("time code" in note for note in result.notes)


def test_chapters_end_with_the_pictures_when_only_some_are_read(tmp_path):
    result = write(tagged(tmp_path, ".mp4"), ".mp4", max_frames=4)
    with av.open(str(result.path)) as container:
        (chapter,) = container.chapters()
    assert chapter["end"] * chapter["time_base"] <= 0.2
    assert audio_packets(result.path)[-1][0] < 4 / 30


# The second pass


@pytest.fixture
def clip(tmp_path):
    return decode(tagged(tmp_path, ".mp4"), DecodeSettings(), tmp_path / "work")


def test_an_interrupt_while_tracks_are_carried_leaves_nothing(tmp_path, monkeypatch, clip):
    def interrupted(arguments):
        Path(arguments[-1]).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(carry, "run_ffmpeg", interrupted)
    with pytest.raises(KeyboardInterrupt):
        encode(clip.frames(), clip, tmp_path / "out" / "a.mp4", EncodeSettings(), "")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_source_that_goes_away_costs_its_sound_and_not_the_pictures(tmp_path, clip):
    frames = list(clip.frames())

    def removing():
        yield frames[0]
        clip.path.unlink()
        yield from frames[1:]

    result = encode(removing(), clip, tmp_path / "out" / "a.mp4", EncodeSettings(), "Edited")
    assert codec_names(result.path) == ["h264"] and tags_of(result.path)["comment"] == "Edited"
    assert any("sound and tags were left out" in note and "\n" not in note for note in result.notes)
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["a.mp4"]


def test_full_disk_while_tracks_are_carried(tmp_path):
    """Pictures fit under a limit of the system, in a process of its own; with sound they do not."""
    ffmpeg(
        "-i", make_video(tmp_path / "p.mp4", count=30, audio="aac"), "-c:a", "pcm_s16le", tmp_path / "in.mov"
    )
    program = """
        import resource, signal, sys
        from pathlib import Path
        from pipeline.errors import OutputError
        from pipeline.request.settings import DecodeSettings, EncodeSettings
        from pipeline.stages.decode import decode
        from pipeline.stages.encode import encode
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        folder = Path(sys.argv[1])
        clip = decode(folder / "in.mov", DecodeSettings(), folder)
        resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, 80_000))
        try:
            encode(clip.frames(), clip, folder / "out" / "a.mov", EncodeSettings(), "")
        except OutputError as error:
            print(error)
            sys.exit(error.exit_code)
    """
    done = run_apart(program, tmp_path)
    assert done.returncode == 2, done.stderr
    assert "too large" in done.stdout and done.stdout.count("\n") == 1
    assert list((tmp_path / "out").iterdir()) == []


def test_an_ffmpeg_that_cannot_be_run(tmp_path, monkeypatch, clip):
    side_tracks.__globals__["_found"].cache_clear()
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "missing"))
    with pytest.raises(OutputError, match="imageio-ffmpeg"):
        encode(clip.frames(), clip, tmp_path / "out" / "a.mp4", EncodeSettings(), "")
    assert not (tmp_path / "out").exists()
