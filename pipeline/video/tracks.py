"""Tracks of a source beside its picture: what an output can carry of them, found out by trying it.

The trial writes all of them into the output's container, to nowhere, before any heavy work.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition, Stream

from pipeline.errors import OutputError
from pipeline.video.codecs import FORMATS
from pipeline.video.container import clock_start, open_video, video_stream
from pipeline.video.ffmpeg_binary import Ran, run_ffmpeg
from pipeline.video.joints import PictureClock
from pipeline.video.sound import Coder, Stamps, sound_coders, stamps_of
from pipeline.video.tags import in_one_line, listed, time_code_in, track_language, track_name, value_of

_MOST_TRACKS = 100
_TEXT = {"ass", "ssa", "subrip", "srt", "webvtt", "text", "microdvd", "subviewer", "ttml", "jacosub", "sami"}
_COVERS = {"mp4": ("png", "mjpeg", "bmp"), "mov": (), "matroska": ("png", "mjpeg"), "webm": ()}
_UNKNOWN = "its codec has no name in this container"
_DAMAGED = ("Error applying bitstream filters", "Error submitting packet to decoder")


@dataclass(frozen=True)
class Track:
    """A track of a source, and the ways to write it, best first."""

    index: int
    """Number of the stream in the source."""
    kind: str
    """`audio`, `subtitle`, `attachment` or `cover`."""
    label: str
    codec: str
    tags: dict[str, str]
    coders: tuple[Coder, ...]

    def words(self, place: int) -> list[str]:
        """Options of FFmpeg that write it as the output's track number `place`."""
        coder = self.coders[0]
        pairs = (("c", coder.name), *coder.options)
        return [word for key, value in pairs for word in (f"-{key}:{place}", value)]


@dataclass(frozen=True)
class SideTracks:
    """What an output carries of a source beside the picture."""

    path: Path
    clock: PictureClock
    tracks: tuple[Track, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    timecode: str = ""
    chapters: int = 0
    notes: tuple[str, ...] = ()

    @property
    def input_words(self) -> list[str]:
        """Options of FFmpeg that read the source with its own time stamps, from the start of its clock."""
        start = self.clock.start
        offset = ["-itsoffset", f"{float(-start):.6f}"] if start else []
        return [*offset, "-protocol_whitelist", "file", "-i", str(self.path.absolute())]


def side_tracks(
    path: Path, suffix: str, shifts: tuple[Fraction, ...] = (), stop: Fraction | None = None
) -> SideTracks:
    """Find out what a file with this suffix can carry of the tracks of `path`.

    shifts: seconds added to the picture's stamps from the first, second, ... new clock on. stop: seconds at
    which all tracks end, None for all of it. What was found is remembered until the file changes. Raises
    InputVideoError where it cannot be read.
    """
    open_video(path).close()
    info = path.stat()
    return _found(path, FORMATS[suffix.lower()], shifts, stop, (info.st_mtime_ns, info.st_size))


@lru_cache(maxsize=32)
def _found(
    path: Path, format_name: str, shifts: tuple[Fraction, ...], stop: Fraction | None, _: tuple[int, int]
) -> SideTracks:
    with open_video(path) as container:
        clock = PictureClock(clock_start(container), shifts, stop)
        picture = video_stream(container, path).index
        others = [stream for stream in container.streams if stream.index != picture]
        stamps = stamps_of(container)
        chapters = len(container.chapters())
        others = [s for s in others if not (_is_index(s, chapters) or _is_film(s))]
        tracks = [_track(stream, container, format_name, stamps, clock) for stream in others]
        tagged = [container.metadata, *(stream.metadata for stream in container.streams)]
        side = SideTracks(
            path,
            clock,
            tags=dict(container.metadata),
            timecode=next(filter(None, (time_code_in(tags) for tags in tagged)), ""),
            chapters=chapters,
        )
    return _tried(side, tracks, format_name)


def _is_film(stream: Stream) -> bool:
    """True for another picture track, of which the probe of the picture tells."""
    return stream.type == "video" and not stream.disposition & Disposition.attached_pic


def _is_index(stream: Stream, chapters: int) -> bool:
    """True for a track that says where chapters or time codes are, which the muxer makes anew."""
    if stream.disposition & Disposition.timed_thumbnails:
        return True
    if stream.type != "data":
        return False
    return bool(value_of(stream.metadata, "timecode")) or (stream.name == "bin_data" and chapters > 0)


def _track(
    stream: Stream,
    container: InputContainer,
    format_name: str,
    stamps: dict[int, Stamps],
    clock: PictureClock,
) -> Track:
    context = stream.codec_context
    codec = context.name if context else str(getattr(stream, "name", None) or "unknown")
    tags = dict(stream.metadata)
    cover = bool(stream.disposition & Disposition.attached_pic)
    kind = "cover" if cover else stream.type
    coders: tuple[Coder, ...] = ()
    if isinstance(stream, AudioStream):
        coders = sound_coders(stream, container, format_name, stamps.get(stream.index, Stamps()), clock)
    elif stream.type == "subtitle":
        coders = tuple(Coder(name) for name in _subtitle_coders(codec, format_name))
    elif cover and codec in _COVERS[format_name]:
        coders = (Coder("copy", (("disposition", "attached_pic"),)),)
    elif stream.type == "attachment" and format_name == "matroska":
        coders = (Coder("copy"),)
    return Track(stream.index, kind, _label(stream, codec, cover), codec, tags, coders)


def _subtitle_coders(codec: str, format_name: str) -> tuple[str, ...]:
    if format_name == "matroska":
        return ("copy", "srt")
    if format_name == "webm":
        return ("copy", "webvtt")
    return ("mov_text",) if codec in _TEXT else ("copy", "mov_text")


def _label(stream: Stream, codec: str, cover: bool) -> str:
    if cover:
        return f"cover art ({codec})"
    if stream.type == "attachment":
        return f"attachment {in_one_line(stream.name or str(stream.index))}"
    what = {"audio": "sound track", "subtitle": "subtitles", "video": "picture track"}.get(
        stream.type, f"{stream.type} track"
    )
    said = in_one_line(track_name(stream.metadata)) or track_language(stream.metadata)
    told = f"{codec}, {said}" if said else codec
    return f"{what} {stream.index} ({told})"


# The trial


def _tried(side: SideTracks, tracks: Sequence[Track], format_name: str) -> SideTracks:
    """`side` with the tracks that can be written, each in the first way that works."""
    wanted = [track for track in tracks if track.coders][:_MOST_TRACKS]
    left_out = [track for track in tracks if track not in wanted]
    ran = _trial(side, wanted, format_name)
    if ran.code:
        solved = [(track, _first_that_works(side, track, format_name)) for track in wanted]
        left_out += [track for track, found in solved if found is None]
        wanted = [found for _, found in solved if found is not None]
        ran = _trial(side, wanted, format_name)
    if ran.code:
        left_out, wanted = [*left_out, *wanted], []
    return replace(side, tracks=tuple(wanted), notes=tuple(_notes(wanted, left_out, ran, format_name)))


def _first_that_works(side: SideTracks, track: Track, format_name: str) -> Track | None:
    for number in range(len(track.coders)):
        attempt = replace(track, coders=track.coders[number:])
        if _trial(side, [attempt], format_name).code == 0:
            return attempt
    return None


def _trial(side: SideTracks, tracks: Sequence[Track], format_name: str) -> Ran:
    """Write all packets of these tracks beside a small picture into the container, to nowhere."""
    tracks = [track for track in tracks if not is_attached_file(track, format_name)]
    if not tracks:
        return Ran(0, "")
    picture = ["-f", "lavfi", "-i", "color=size=16x16:duration=0.1"]
    film = "libvpx-vp9" if format_name == "webm" else "mpeg4"
    coders = ["-map", "0:v", "-c:0", film, *track_words(tracks)]
    command = ["-copyts", *picture, *side.input_words, *coders, "-f", format_name]
    ran = run_ffmpeg([*command, os.devnull])
    return ran if ran.code or _is_read_back([*command, "-t", "0.1"]) else Ran(1, _UNKNOWN)


def _is_read_back(command: list[str]) -> bool:
    """False where a file that FFmpeg writes has a track of an unknown codec.

    The muxer of QuickTime takes some, such as Windows Media Audio, that its demuxer does not know.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "trial"
            ran = run_ffmpeg([*command, str(file)])
            ran.raise_if_not_written()
            if ran.code:
                return True  # a track that starts later: there is nothing to see
            with av.open(str(file), metadata_errors="replace") as container:
                streams = (*container.streams.audio, *container.streams.subtitles)
                return all(stream.codec_context is not None for stream in streams)
    except av.FFmpegError:
        return False
    except OSError as error:
        raise OutputError(
            f"{tempfile.gettempdir()}: cannot be written ({error.strerror}); free some space there"
        ) from None


def track_words(tracks: Sequence[Track]) -> list[str]:
    """Options of FFmpeg that write these tracks of its second input after the picture."""
    maps = [word for track in tracks for word in ("-map", f"1:{track.index}")]
    return maps + [word for place, track in enumerate(tracks, 1) for word in track.words(place)]


def is_attached_file(track: Track, format_name: str) -> bool:
    """True for cover art in Matroska, which is a file attached to it and no track."""
    return track.kind == "cover" and format_name == "matroska"


def _notes(tracks: Sequence[Track], left_out: Sequence[Track], ran: Ran, format_name: str) -> list[str]:
    shown = "Matroska" if format_name == "matroska" else f".{format_name}"
    notes = [f"{track.label}: {track.coders[0].note}" for track in tracks if track.coders[0].note]
    if any(sign in ran.errors for sign in _DAMAGED):
        notes.append("damaged packets of the sound were left out")
    if left_out:
        names = listed([track.label for track in left_out])
        notes.append(f"left out, since they cannot be carried into {shown}: {names}")
    return notes
