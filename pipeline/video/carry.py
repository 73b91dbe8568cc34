"""Carry tracks and tags of a source into a finished picture file, in a second pass that copies packets."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.stream import Stream

from pipeline.video.container import open_video
from pipeline.video.ffmpeg_binary import run_ffmpeg
from pipeline.video.joints import PictureClock
from pipeline.video.tags import (
    PLACE_WITHHELD,
    file_words,
    is_carried,
    is_place,
    listed,
    lost,
    tag_words,
    track_language,
    track_name,
)
from pipeline.video.tracks import SideTracks, Track, is_attached_file, track_words

_MOST_COVER_BYTES = 1 << 26
_MIMES = {"png": "image/png", "mjpeg": "image/jpeg"}
_TIMECODE_RATES = (1, 255)
"""Frames per second that a time code can count."""


@dataclass(frozen=True)
class Carried:
    """What to carry, and how.

    format_name: FFmpeg's name of the container. muxer: options of the muxer.
    """

    side: SideTracks
    format_name: str
    comment: str
    keep_location: bool
    muxer: Mapping[str, str]

    @property
    def is_needed(self) -> bool:
        """False where the source has nothing beside its picture."""
        tags = any(is_carried(key, value, self.keep_location) for key, value in self.side.tags.items())
        return bool(self.side.tracks or tags or self.side.chapters or self.side.timecode)


def carry(picture: Path, target: Path, job: Carried) -> list[str]:
    """Write `target`: the picture file with the tracks and tags; returns notes for the user.

    Raises OSError where the disk is full or the target cannot be written, CarryError for any other reason.
    """
    rate = _rate(picture)
    timecode = job.side.timecode if _TIMECODE_RATES[0] <= rate <= _TIMECODE_RATES[1] else ""
    with tempfile.TemporaryDirectory() as folder:
        ran = run_ffmpeg(_command(picture, target, job, timecode, Path(folder)))
    ran.raise_if_not_written()
    if ran.code:
        raise CarryError(ran.reason)
    notes = _lost_notes(target, job)
    if job.side.timecode and not timecode:
        notes.append(f"the time code was left out: it cannot count {float(rate):g} frames a second")
    return notes


class CarryError(Exception):
    """FFmpeg could not write the tracks; the text is its reason."""


def withheld(side: SideTracks, keep_location: bool) -> list[str]:
    """A note where the place of recording is not carried."""
    tags = [*side.tags.items(), *(pair for track in side.tracks for pair in track.tags.items())]
    if not keep_location and any(is_place(key, value) for key, value in tags):
        return [PLACE_WITHHELD]
    return []


def _command(picture: Path, target: Path, job: Carried, timecode: str, folder: Path) -> list[str]:
    side = job.side
    tracks = [track for track in side.tracks if not is_attached_file(track, job.format_name)]
    covers = [track for track in side.tracks if is_attached_file(track, job.format_name)]
    places = [
        word
        for place, track in enumerate(tracks, 1)
        for word in tag_words(place, track.tags, job.keep_location, job.format_name)
    ]
    chapters = "1" if side.chapters else "-1"
    return [
        "-copyts",
        "-i",
        str(picture.absolute()),
        *side.input_words,
        *("-map", "0:v:0", "-c:0", "copy"),
        *track_words(tracks),
        *_cover_words(side.path, covers, len(tracks) + 1, folder),
        *("-map_chapters", chapters, "-max_muxing_queue_size", "100000"),
        *file_words(side.tags, job.comment, job.keep_location, timecode, job.format_name),
        *places,
        *_stop_words(side.clock),
        *(word for key, value in job.muxer.items() for word in (f"-{key}", value)),
        *("-f", job.format_name, str(target.absolute())),
    ]


def _stop_words(clock: PictureClock) -> list[str]:
    """Options that end all tracks where the picture ends.

    FFmpeg looks at the stamps of the source. Where its clock leaps, they reach the end too early.
    """
    if clock.stop is None or any(shift < 0 for shift in clock.shifts):
        return []
    return ["-to", f"{float(clock.stop):.6f}"]


def _rate(picture: Path) -> Fraction:
    with av.open(str(picture.absolute())) as container:
        return container.streams.video[0].average_rate or Fraction(0)


def _cover_words(path: Path, covers: Sequence[Track], first: int, folder: Path) -> list[str]:
    """Options that attach these pictures of the source, as files, after `first` other tracks."""
    words: list[str] = []
    for place, track in enumerate(covers, first):
        file = folder / f"cover{place}.{'png' if track.codec == 'png' else 'jpg'}"
        file.write_bytes(_attached_picture(path, track.index))
        name = f"cover.{file.suffix[1:]}"
        words += ["-attach", str(file)]
        words += [f"-metadata:s:{place}", f"mimetype={_MIMES[track.codec]}"]
        words += [f"-metadata:s:{place}", f"filename={name}"]
    return words


def _attached_picture(path: Path, index: int) -> bytes:
    with open_video(path) as container:
        packet = next(container.demux(container.streams[index]))
        if packet.size > _MOST_COVER_BYTES:
            raise CarryError(f"the cover art has {packet.size} bytes")
        return bytes(packet)


def _lost_notes(target: Path, job: Carried) -> list[str]:
    """Notes on tags, chapters and names of tracks that the finished file does not have."""
    shown = target.suffix
    with av.open(str(target.absolute()), metadata_errors="replace") as container:
        missing = lost(job.side.tags, dict(container.metadata), job.keep_location)
        if len(container.chapters()) < job.side.chapters and job.side.clock.stop is None:
            missing.append("chapters")
        for kind, streams in (("audio", container.streams.audio), ("subtitle", container.streams.subtitles)):
            tracks = (track for track in job.side.tracks if track.kind == kind)
            missing += [text for pair in zip(tracks, streams) for text in _lost_names(*pair)]
    return [f"tags that {shown} does not hold were left out: {listed(missing)}"] if missing else []


def _lost_names(track: Track, written: Stream) -> list[str]:
    lost_names = []
    if track_language(track.tags) and not track_language(written.metadata):
        lost_names.append(f"language of {track.label}")
    if track_name(track.tags) and not track_name(written.metadata):
        lost_names.append(f"title of {track.label}")
    return lost_names
