"""Probe a video file: count and time its frames in one decoding pass, without keeping a frame."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.clip import I64
from pipeline.errors import InputVideoError, UserError
from pipeline.video.container import (
    Damage,
    check_span,
    clock_start,
    decoded,
    is_broadcast,
    left_out,
    open_video,
    video_stream,
)
from pipeline.video.depth import color_tags, own_layout, see_light, tone_map
from pipeline.video.hdr_metadata import check_hdr
from pipeline.video.orientation import orientation
from pipeline.video.planes import Layout
from pipeline.video.stamps import LEAP, Stamps, frame_rate, is_new_clock, mended, usual_step
from pipeline.video.tone_map import PeakMeter, ToneMap
from pipeline.video.truncation import missing_bytes

OnFrame = Callable[[int], None]
"""Called with the number of frames done so far."""
_WITHOUT_PICTURE = ("vp8", "vp9", "mpeg4", "msmpeg4v3")
"""Codecs with packets that show no picture of their own."""


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
    stream: int  # index of the picture stream
    threads: bool  # False where frames have to be decoded one by one, since some packets are damaged
    interlaced: bool  # True where some frames are flagged as interlaced
    shifts: tuple[Fraction, ...]  # seconds added to all stamps from the first, second, ... new clock on
    coded_size: tuple[int, int]  # width, height before the rotation, of the first frame
    resized: bool  # True where some frames have another size
    orientation: tuple[bool, bool, bool]  # transpose, then mirror columns, then mirror rows
    rotation: int  # degrees counter-clockwise
    color: dict[str, Any]
    layout: Layout | None  # of frames beyond 8 bits, with alpha, full range or HDR; None for others
    tone: ToneMap | None  # of high dynamic range
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
    damage: Damage = field(default_factory=Damage)
    threads: bool = True
    codec: str = ""
    interlaced: int = 0  # frames flagged so
    resized: list[tuple[int, int, int]] = field(default_factory=list)  # (frame, width, height) of each change
    transfers: set[int] = field(default_factory=set)  # ITU-T H.273
    meter: PeakMeter | None = None  # of high dynamic range

    @property
    def is_raw(self) -> bool:
        """True for a stream whose frames have no times."""
        return all(stamp is None for stamp in self.stamps)

    @property
    def lost(self) -> int:
        """Packets that gave no frame, beside those that are known to be damaged."""
        return max(0, self.damage.packets - len(self.damage.faults) - len(self.stamps))


def probe(
    path: Path,
    max_frames: int | None = None,
    on_frame: OnFrame | None = None,
    raw_rate: Fraction | None = None,
) -> Probe:
    """Count and time every frame by decoding it once.

    A header may promise frames that an edit list hides or that a damaged file lacks; only decoding tells.
    raw_rate: of a raw stream, whose frames have no times. Raises InputVideoError for a file that cannot be
    read, or that is cut off before `max_frames`; UserError for a `raw_rate` where frames have times.
    """
    if max_frames is not None and max_frames < 1:
        raise InputVideoError(f"the greatest number of frames to read must be 1 or more, not {max_frames}")
    with open_video(path) as container:
        stream = video_stream(container, path)
        seen = _decode_all(container, stream, max_frames, on_frame)
    if seen.following is None and (seen.damage.faults or seen.lost):
        with open_video(path) as container:
            stream = video_stream(container, path)
            seen = _decode_all(container, stream, max_frames, on_frame, threads=False)
    with open_video(path) as container:
        stream = video_stream(container, path)
        _check_whole(path, stream, seen, max_frames)
        if seen.first is None:
            why = f" ({seen.damage.faults[0]})" if seen.damage.faults else ""
            raise InputVideoError(
                f"{path}: has a video stream but not one frame can be read{why}; check the file"
            )
        return _summary(container, stream, seen, path, raw_rate)


def _decode_all(
    container: InputContainer,
    stream: VideoStream,
    max_frames: int | None,
    on_frame: OnFrame | None,
    threads: bool = True,
) -> _Pass:
    """Decode the stream, and one frame beyond `max_frames` for the duration of the last one."""
    seen = _Pass(threads=threads, codec=stream.codec.canonical_name)
    for frame in decoded(container, stream, threads, seen.damage):
        if len(seen.stamps) == max_frames:
            seen.following = -1 if frame.pts is None else frame.pts
            break
        if seen.last is not None and (frame.width, frame.height) != (seen.last.width, seen.last.height):
            seen.resized.append((len(seen.stamps), frame.width, frame.height))
        seen.first = seen.first or frame
        seen.last = frame
        seen.interlaced += frame.interlaced_frame
        seen.transfers.add(int(frame.color_trc))
        seen.meter = see_light(frame, seen.meter)
        if frame.key_frame:
            seen.keys.append(len(seen.stamps))
        seen.stamps.append(frame.pts)
        if on_frame is not None:
            on_frame(len(seen.stamps))
    return seen


def _check_whole(path: Path, stream: VideoStream, seen: _Pass, max_frames: int | None) -> None:
    """Raise InputVideoError where the file is cut off, or lacks a tenth of its frames through damage."""
    count = len(seen.stamps)
    if max_frames is not None and count >= max_frames:
        return
    promised = int(stream.frames or 0)
    cut = missing_bytes(path) > 0
    if not cut and not (seen.damage.faults and count < 0.9 * promised):
        return
    total = f" of {promised}" if promised > count else ""
    what = "is cut off" if cut else "is damaged"
    hint = f", or pass --max-frames {count} to use what is there" if count else ""
    raise InputVideoError(
        f"{path}: {what}, {count}{total} frames could be read; copy or download it again{hint}"
    )


def _summary(
    container: InputContainer, stream: VideoStream, seen: _Pass, path: Path, raw_rate: Fraction | None
) -> Probe:
    """The Probe of a finished pass that has seen a frame."""
    first, last = seen.first, seen.last
    assert first is not None and last is not None
    time_base = stream.time_base or Fraction(1, 90000)
    said = [stream.average_rate, stream.guessed_rate]
    if seen.is_raw:  # its demuxer assumes a rate
        said = [raw_rate, *reversed(said)]
    elif raw_rate is not None:
        raise UserError(f"{path}: its frames have times; change them with --ingest fps=, not --frame-rate")
    rate = next((r for r in said if r), None) or Fraction(25)
    step = usual_step(seen.stamps, round(1 / (rate * time_base)))
    leap = round(LEAP / time_base) if is_broadcast(container) else None
    stamps = mended(seen.stamps, step, leap)
    raw, shift = stamps.pts, round(clock_start(container) / time_base)
    following = _following(seen, stamps, step, leap)
    length = step if seen.is_raw else _last_duration(raw, last, following, step)
    end = int(raw[-1]) - shift + length
    check_span(path, (end + shift - int(raw[0])) * time_base)
    turn, rotation, straight = orientation(first)
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if aspect <= 0 or container.format.name == "gif":  # browsers ignore the aspect ratio of a GIF
        aspect = Fraction(1)
    color = color_tags(first)
    check_hdr(path, color, seen.transfers)
    tone = tone_map(color, seen.meter)
    whole = seen.following is None
    return Probe(
        raw_pts=raw,
        pts=raw - shift,
        keys=np.array(seen.keys, np.int64),
        seekable=stamps.as_in_file and container.format.name != "gif",
        time_base=time_base,
        rate=frame_rate(raw, time_base, said),
        end=end,
        stream=stream.index,
        threads=seen.threads,
        interlaced=seen.interlaced > 0,
        shifts=tuple(one * time_base for one in stamps.shifts),
        coded_size=(first.width, first.height),
        resized=bool(seen.resized),
        orientation=turn,
        rotation=rotation,
        color=color,
        layout=own_layout(first, turn[0], seen.codec),
        tone=tone,
        sample_aspect=1 / aspect if turn[0] else aspect,
        has_audio=bool(container.streams.audio),
        notes=(
            *_stream_notes(container, stream, path),
            *_notes(seen, tone, stamps, straight, aspect, rate),
            *_picture_notes(seen, first),
        ),
        doubts=_doubts(container, stream, seen, end * time_base, len(stamps.shifts), path) if whole else (),
        whole=whole,
    )


def _following(seen: _Pass, stamps: Stamps, step: int, leap: int | None) -> int | None:
    """Stamp of the first frame that was not read, on the clock of the last one; None where it has another."""
    if seen.following is None or seen.following < 0:
        return None
    found = seen.following + (stamps.shifts[-1] if stamps.shifts else 0)
    return None if is_new_clock(found - int(stamps.pts[-1]), step, leap) else found


def _last_duration(raw: I64, last: VideoFrame, following: int | None, step: int) -> int:
    """Duration of the last frame: up to the following one, as its packet says, or the median step."""
    if following is not None and following > raw[-1]:
        return following - int(raw[-1])
    length = int(last.duration or 0)
    if length <= 0:
        length = int(np.median(np.diff(raw))) if len(raw) > 1 else step
    return length


def _doubts(
    container: InputContainer, stream: VideoStream, seen: _Pass, end: Fraction, joints: int, path: Path
) -> tuple[str, ...]:
    """Signs of damage: packets that could not be decoded, and fewer frames than the header promises.

    joints: how often the clock starts anew; there a transport stream seems to lack a packet.
    """
    doubts, count, faults = [], len(seen.stamps), seen.damage.faults
    if faults:
        doubts.append(f"{len(faults)} damaged packets were left out (first: {faults[0]})")
    if (missing := seen.damage.marked - joints) > 0:
        doubts.append(f"before {missing} packets, parts of the file are missing")
    if seen.lost and stream.codec_context.name not in _WITHOUT_PICTURE:
        doubts.append(f"{seen.lost} of {seen.damage.packets} packets gave no picture")
    promised = _promised_end(container, stream)
    if promised is not None and end < promised * Fraction(49, 50) - Fraction(1, 5):
        own = stream.duration or "DURATION" in stream.metadata
        if own or _sound_end(path) < promised * Fraction(49, 50) - Fraction(1, 5):
            doubts.append(
                f"its header promises {float(promised):.2f} s of video, and {count} frames up to "
                f"{float(end):.2f} s could be read: it may be cut off"
            )
    return tuple(doubts)


def _sound_end(path: Path) -> Fraction:
    """End in seconds of the last packet of sound; 0 without sound."""
    last = Fraction(0)
    with open_video(path) as container, contextlib.suppress(av.FFmpegError, OSError):
        for packet in container.demux(*container.streams.audio) if container.streams.audio else ():
            if packet.pts is not None and packet.time_base:
                last = max(last, (packet.pts + (packet.duration or 0)) * packet.time_base)
    return last


def _promised_end(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """End of the picture in seconds by the file's header; None where it does not say."""
    if stream.duration and stream.time_base:
        start = Fraction(stream.start_time or 0) * stream.time_base - clock_start(container)
        return start + stream.duration * stream.time_base
    tag = str(stream.metadata.get("DURATION", ""))
    if fits := re.fullmatch(r"(\d+):(\d\d):(\d\d\.\d+)", tag):
        return int(fits[1]) * 3600 + int(fits[2]) * 60 + Fraction(fits[3])
    if container.duration:
        return Fraction(container.duration, av.time_base)
    return None


def _stream_notes(container: InputContainer, stream: VideoStream, path: Path) -> list[str]:
    """Which other picture streams are left out."""
    others = [
        f"{o.codec.canonical_name} {o.width}x{o.height}" if o.codec_context else "one of an unknown codec"
        for o in left_out(container, stream)
    ]
    if not others:
        return []
    what = "picture stream is" if len(others) == 1 else "picture streams are"
    return [f"{len(others)} other {what} left out: {', '.join(others)}"]


def _picture_notes(seen: _Pass, first: VideoFrame) -> list[str]:
    """What is done to frames that are interlaced or of another size."""
    notes = []
    if seen.interlaced:
        notes.append(
            f"{seen.interlaced} of {len(seen.stamps)} frames are interlaced; they are deinterlaced, and the "
            "output is progressive (`--ingest progressive` takes them as they are)"
        )
    if seen.resized:
        frame, width, height = seen.resized[0]
        notes.append(
            f"the picture changes from {first.width}x{first.height} to {width}x{height} at frame {frame}; "
            "such frames are fitted into the first size, with black bars"
        )
    return notes


def _notes(
    seen: _Pass, tone: ToneMap | None, stamps: Stamps, straight: bool, aspect: Fraction, rate: Fraction
) -> tuple[str, ...]:
    """Notes for the user on how the file was read."""
    notes = []
    if seen.is_raw and len(seen.stamps) > 1:
        notes.append(
            f"a raw stream has no times; it is read at {float(rate):g} frames a second (--frame-rate)"
        )
    if stamps.filled and not seen.is_raw:
        notes.append("some frames had no time stamp of their own, or a repeated one; theirs were filled in")
    if stamps.shifts:
        often = "once" if len(stamps.shifts) == 1 else f"{len(stamps.shifts)} times"
        notes.append(f"the clock starts anew {often}; the parts follow each other")
    if not straight:
        notes.append("the rotation tag is no multiple of 90 degrees; the nearest one was applied")
    if tone is not None:
        notes.append(
            f"high dynamic range: the face is fitted in SDR whose white is {tone.white:g} cd/m2, and put "
            "back; views and crops are SDR"
        )
    if aspect != 1:
        notes.append(f"pixels are not square ({aspect}); the output keeps their shape")
    return tuple(notes)
