"""Probe a video file: count and time its frames in one decoding pass, without keeping a frame."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.clip import I64
from pipeline.errors import InputVideoError
from pipeline.video.container import clock_start, decoded, open_video, video_stream
from pipeline.video.truncation import missing_bytes

OnFrame = Callable[[int], None]
"""Called with the number of frames done so far."""


@dataclass(frozen=True)
class Probe:
    """Time stamps of all frames, and what is needed to turn decoded frames upright and into RGB."""

    raw_pts: I64  # [T] as in the file
    pts: I64  # [T] strictly increasing; from the start of the file where its clock has an arbitrary zero
    keys: I64  # indices of the key frames
    seekable: bool
    time_base: Fraction
    rate: Fraction
    end: int  # end of the last frame, in units of time_base
    coded_size: tuple[int, int]  # width, height before the rotation
    orientation: tuple[bool, bool, bool]  # transpose, then mirror columns, then mirror rows
    rotation: int  # degrees counter-clockwise
    color: dict[str, Any]
    sample_aspect: Fraction
    has_audio: bool
    notes: tuple[str, ...]
    doubts: tuple[str, ...]  # signs of damage
    whole: bool  # False where max_frames left frames unread

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright frames."""
        width, height = self.coded_size
        return (height, width) if self.orientation[0] else (width, height)


@dataclass
class _Pass:
    """One decoding pass over the picture stream."""

    stamps: list[int | None] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)  # indices of the key frames
    first: VideoFrame | None = None
    last: VideoFrame | None = None
    following: int | None = None  # pts of the first frame beyond max_frames, -1 where it has none
    faults: list[str] = field(default_factory=list)


def probe(path: Path, max_frames: int | None = None, on_frame: OnFrame | None = None) -> Probe:
    """Count and time every frame by decoding it once.

    A header may promise frames that an edit list hides or that a damaged file lacks; only decoding tells.
    Raises InputVideoError for a file that cannot be read, or that is cut off before `max_frames`.
    """
    if max_frames is not None and max_frames < 1:
        raise InputVideoError(f"the greatest number of frames to read must be 1 or more, not {max_frames}")
    with open_video(path) as container:
        stream = video_stream(container, path)
        seen = _decode_all(container, stream, max_frames, on_frame)
        _check_whole(path, stream, len(seen.stamps), max_frames, seen.faults)
        if seen.first is None or seen.last is None:
            why = f" ({seen.faults[0]})" if seen.faults else ""
            raise InputVideoError(
                f"{path}: has a video stream but not one frame can be read{why}; check the file"
            )
        return _summary(container, stream, seen, seen.first, seen.last)


def _decode_all(
    container: InputContainer, stream: VideoStream, max_frames: int | None, on_frame: OnFrame | None
) -> _Pass:
    """Decode the stream, and one frame beyond `max_frames` for the duration of the last one."""
    seen = _Pass()
    for frame in decoded(container, stream, seen.faults):
        if len(seen.stamps) == max_frames:
            seen.following = -1 if frame.pts is None else frame.pts
            break
        seen.first = seen.first or frame
        seen.last = frame
        if frame.key_frame:
            seen.keys.append(len(seen.stamps))
        seen.stamps.append(frame.pts)
        if on_frame is not None:
            on_frame(len(seen.stamps))
    return seen


def _check_whole(
    path: Path, stream: VideoStream, count: int, max_frames: int | None, faults: list[str]
) -> None:
    """Raise InputVideoError where the file is cut off, or lacks a tenth of its frames through damage."""
    if max_frames is not None and count >= max_frames:
        return
    promised = int(stream.frames or 0)
    cut = missing_bytes(path) > 0
    if not cut and not (faults and count < 0.9 * promised):
        return
    total = f" of {promised}" if promised > count else ""
    what = "is cut off" if cut else "is damaged"
    hint = f", or pass --max-frames {count} to use what is there" if count else ""
    raise InputVideoError(
        f"{path}: {what}, {count}{total} frames could be read; copy or download it again{hint}"
    )


def _summary(
    container: InputContainer, stream: VideoStream, seen: _Pass, first: VideoFrame, last: VideoFrame
) -> Probe:
    """The Probe of a finished pass with these first and last frames."""
    time_base = stream.time_base or Fraction(1, 90000)
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    step = max(1, round(1 / (rate * time_base)))
    raw, mended = _mended(seen.stamps, step)
    shift = round(clock_start(container) / time_base)
    end = int(raw[-1]) - shift + _last_duration(raw, last, seen.following, step)
    orientation, rotation, straight = _orientation(first)
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if aspect <= 0 or container.format.name == "gif":  # browsers ignore the aspect ratio of a GIF
        aspect = Fraction(1)
    color = _color_tags(first)
    notes = _notes(color, mended, straight, aspect)
    whole = seen.following is None
    return Probe(
        raw_pts=raw,
        pts=raw - shift,
        keys=np.array(seen.keys, np.int64),
        seekable=not mended and container.format.name != "gif",
        time_base=time_base,
        rate=rate,
        end=end,
        coded_size=(first.width, first.height),
        orientation=orientation,
        rotation=rotation,
        color=color,
        sample_aspect=1 / aspect if orientation[0] else aspect,
        has_audio=bool(container.streams.audio),
        notes=notes,
        doubts=_doubts(container, stream, len(raw), end * time_base, seen.faults) if whole else (),
        whole=whole,
    )


def _last_duration(raw: I64, last: VideoFrame, following: int | None, step: int) -> int:
    """Duration of the last frame: up to the following one, as its packet says, or the median step."""
    if following is not None and following > raw[-1]:
        return following - int(raw[-1])
    length = int(last.duration or 0)
    if length <= 0:
        length = int(np.median(np.diff(raw))) if len(raw) > 1 else step
    return length


def _color_tags(frame: VideoFrame) -> dict[str, Any]:
    """Colour tags of a frame, as numbers of ITU-T H.273."""
    return {
        "matrix": int(frame.colorspace),
        "range": int(frame.color_range),
        "primaries": int(frame.color_primaries),
        "transfer": int(frame.color_trc),
        "format": frame.format.name,
        "interlaced": bool(frame.interlaced_frame),
    }


def _mended(stamps: list[int | None], step: int) -> tuple[I64, bool]:
    """Strictly increasing stamps, and whether any was missing or repeated and so filled in."""
    out = np.empty(len(stamps), np.int64)
    mended = False
    previous: int | None = None
    for index, stamp in enumerate(stamps):
        if stamp is None or (previous is not None and stamp <= previous):
            mended = True
            stamp = 0 if previous is None else previous + (step if stamp is None else 1)
        out[index] = previous = stamp
    return out, mended


def _orientation(frame: VideoFrame) -> tuple[tuple[bool, bool, bool], int, bool]:
    """Orientation of a frame by its display matrix, its angle in degrees, and whether that is a right angle.

    The matrix (ISO/IEC 14496-12, 8.3.2) maps (x, y) to (a x + c y, b x + d y); its rows are
    a b u / c d v / x y w.
    """
    sides: Any = frame.side_data  # typed as a mapping, but iterates over its values
    found = [bytes(side) for side in sides if side.type == SideDataType.DISPLAYMATRIX]
    if not found:
        return (False, False, False), 0, True
    a, b, _, c, d = (int(v) for v in np.frombuffer(found[0], np.int32)[:5])
    if max(abs(a), abs(b), abs(c), abs(d)) == 0:
        return (False, False, False), 0, True
    rotation = int(frame.rotation) % 360
    if abs(a) >= abs(b):
        return (False, a < 0, d < 0), rotation, abs(b) * 100 < abs(a)
    return (True, c < 0, b < 0), rotation, abs(a) * 100 < abs(b)


def _doubts(
    container: InputContainer, stream: VideoStream, count: int, end: Fraction, faults: list[str]
) -> tuple[str, ...]:
    """Signs of damage: packets that could not be decoded, and fewer frames than the header promises."""
    doubts = []
    if faults:
        doubts.append(f"{len(faults)} damaged packets were left out (first: {faults[0]})")
    promised = _promised_end(container, stream)
    if promised is not None and end < promised * Fraction(49, 50) - Fraction(1, 5):
        doubts.append(
            f"its header promises {float(promised):.2f} s of video, and {count} frames up to "
            f"{float(end):.2f} s could be read: it may be cut off"
        )
    return tuple(doubts)


def _promised_end(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """End of the picture in seconds by the file's header; None where it does not say."""
    if stream.duration and stream.time_base:
        start = Fraction(stream.start_time or 0) * stream.time_base - clock_start(container)
        return start + stream.duration * stream.time_base
    tag = str(stream.metadata.get("DURATION", ""))
    if fits := re.fullmatch(r"(\d+):(\d\d):(\d\d\.\d+)", tag):
        return int(fits[1]) * 3600 + int(fits[2]) * 60 + Fraction(fits[3])
    if container.duration and not container.streams.audio:
        return Fraction(container.duration, av.time_base)
    return None


def _notes(color: dict[str, Any], mended: bool, straight: bool, aspect: Fraction) -> tuple[str, ...]:
    """Notes for the user on how the file was read."""
    notes = []
    if mended:
        notes.append("some frames had no time stamp of their own, or a repeated one; theirs were filled in")
    if not straight:
        notes.append("the rotation tag is no multiple of 90 degrees; the nearest one was applied")
    if color["transfer"] in (16, 18):  # PQ and HLG, ITU-T H.273
        notes.append("high dynamic range is read as 8 bits; `--ingest tonemap` gives better colours")
    if color["interlaced"]:
        notes.append("the video is interlaced; `--ingest deinterlace` gives better faces")
    if aspect != 1:
        notes.append(f"pixels are not square ({aspect}); kept so, but faces are fitted as if they were")
    return tuple(notes)
