"""What a video file holds: opened, checked and counted, without keeping a frame."""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.clip import I64
from pipeline.errors import InputVideoError
from pipeline.video.truncation import missing_bytes

OnFrame = Callable[[int], None]
"""Called with the number of frames done so far."""

# Demuxers that follow references to other files, or that draw text: never what a user means by a video.
_NOT_VIDEO = {"hls", "concat", "dash", "tty", "lavfi", "sdp", "rtsp", "imf"}
_UNSPECIFIED = 2  # AVCOL_*_UNSPECIFIED of H.273


@dataclass(frozen=True)
class Probe:
    """Every frame's time stamp and what is needed to turn frames upright and into RGB."""

    raw_pts: I64  # [T] as in the file
    pts: I64  # [T] strictly increasing; counted from the start of the file where its clock has no zero
    keys: I64  # indices of the frames at which decoding can start
    seekable: bool
    time_base: Fraction
    rate: Fraction
    end: int  # in units of time_base: where the last frame ends
    coded_size: tuple[int, int]  # width, height before turning
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


def hash_file(path: Path) -> str:
    """SHA-256 of the file's bytes as hex, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_video(path: Path) -> InputContainer:
    """Open a local video file; raises InputVideoError with one line on what is wrong and what to do."""
    try:
        info = path.stat()
    except FileNotFoundError:
        raise InputVideoError(f"{path}: there is no such file; check the name") from None
    except OSError as error:
        raise InputVideoError(
            f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
        ) from None
    if stat.S_ISDIR(info.st_mode):
        raise InputVideoError(f"{path}: is a folder; give one video file")
    if not stat.S_ISREG(info.st_mode):
        raise InputVideoError(f"{path}: is not a regular file; save the video to a file first")
    if info.st_size == 0:
        raise InputVideoError(f"{path}: is empty (0 bytes); copy or download it again")
    try:
        # Absolute, so that no file name reads as a protocol; local files only, whatever the file refers to.
        container = av.open(str(path.absolute()), options={"protocol_whitelist": "file"})
    except PermissionError:
        raise InputVideoError(f"{path}: cannot be read (permission denied); check its permissions") from None
    except (av.FFmpegError, OSError, ValueError) as error:
        if missing_bytes(path) > 0:
            raise InputVideoError(
                f"{path}: is cut off, its index is missing, no frame can be read; copy or download it again"
            ) from None
        reason = getattr(error, "strerror", None) or "unknown format"
        raise InputVideoError(
            f"{path}: is not a video that can be read ({reason}); give an mp4, mov, mkv or GIF"
        ) from None
    if set(container.format.name.split(",")) & _NOT_VIDEO:
        container.close()
        raise InputVideoError(
            f"{path}: is a {container.format.name} text or playlist; give the video file itself"
        )
    return container


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first real picture stream (cover art is not one); raises InputVideoError where there is none."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            stream.thread_type = "AUTO"
            return stream
    has = "only sound" if container.streams.audio else "no picture stream"
    raise InputVideoError(f"{path}: has {has}; give a file with a picture")


def decoded(
    container: InputContainer, stream: VideoStream, faults: list[str] | None = None
) -> Iterator[VideoFrame]:
    """Decode the stream frame by frame; packets that cannot be decoded are left out and named in `faults`.

    Both passes over a file go through here, so that both leave out the same packets.
    """
    faults = [] if faults is None else faults
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError) as error:
            faults.append(str(error))
            packet = None
        try:
            frames = stream.decode(packet)
        except (av.FFmpegError, ValueError) as error:
            if not isinstance(error, EOFError):
                faults.append(str(error))
            frames = []
        yield from (frame for frame in frames if isinstance(frame, VideoFrame))
        if packet is None:
            return


def probe(path: Path, max_frames: int | None = None, on_frame: OnFrame | None = None) -> Probe:
    """Count and time every frame by decoding it once (not converted, not kept).

    A header may promise frames that an edit list hides or that a damaged file lacks; only decoding tells.
    Raises InputVideoError for what cannot be read, and for a file that is cut off before `max_frames`.
    """
    if max_frames is not None and max_frames < 1:
        raise InputVideoError(f"the greatest number of frames to read must be 1 or more, not {max_frames}")
    faults: list[str] = []
    with open_video(path) as container:
        stream = video_stream(container, path)
        stamps: list[int | None] = []
        keys: list[int] = []
        first = last = None
        after: int | None = None
        for frame in decoded(container, stream, faults):
            if len(stamps) == max_frames:
                after = -1 if frame.pts is None else frame.pts  # tells the true duration of the last
                break
            first = first or frame
            last = frame
            if frame.key_frame:
                keys.append(len(stamps))
            stamps.append(frame.pts)
            if on_frame is not None:
                on_frame(len(stamps))
        _check_whole(path, stream, len(stamps), max_frames, faults)
        if first is None or last is None:
            why = f" ({faults[0]})" if faults else ""
            raise InputVideoError(
                f"{path}: has a video stream but not one frame can be read{why}; check the file"
            )
        return _summary(container, stream, stamps, keys, first, last, after, faults)


def clock_start(container: InputContainer) -> Fraction:
    """Seconds at which the file's clock starts: MPEG streams have no zero; others keep theirs."""
    arbitrary = container.format.name in ("mpegts", "mpeg")
    return Fraction(container.start_time or 0, av.time_base) if arbitrary else Fraction(0)


def _check_whole(
    path: Path, stream: VideoStream, count: int, max_frames: int | None, faults: list[str]
) -> None:
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
    container: InputContainer,
    stream: VideoStream,
    stamps: list[int | None],
    keys: list[int],
    first: VideoFrame,
    last: VideoFrame,
    after: int | None,
    faults: list[str],
) -> Probe:
    time_base = stream.time_base or Fraction(1, 90000)
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    step = max(1, round(1 / (rate * time_base)))
    raw, mended = _mended(stamps, step)
    length = int(last.duration or 0)
    if after is not None and after > raw[-1]:
        length = after - int(raw[-1])
    elif length <= 0:
        length = int(np.median(np.diff(raw))) if len(raw) > 1 else step
    shift = round(clock_start(container) / time_base)
    orientation, rotation, straight = _orientation(first)
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if aspect <= 0 or container.format.name == "gif":  # every browser ignores what a GIF says here
        aspect = Fraction(1)
    color = {
        "matrix": int(first.colorspace),
        "range": int(first.color_range),
        "primaries": int(first.color_primaries),
        "transfer": int(first.color_trc),
        "format": first.format.name,
        "interlaced": bool(first.interlaced_frame),
    }
    end = int(raw[-1]) - shift + length
    notes = _notes(color, mended, straight, aspect, len(container.streams.subtitles))
    doubts = _doubts(container, stream, len(raw), end * time_base, faults) if after is None else ()
    return Probe(
        raw_pts=raw,
        pts=raw - shift,
        keys=np.array(keys, np.int64),
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
        doubts=doubts,
        whole=after is None,
    )


def _mended(stamps: list[int | None], step: int) -> tuple[I64, bool]:
    """Strictly increasing stamps; missing or repeated ones follow their predecessor."""
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
    """How to turn a frame upright by its display matrix, its angle, and whether that is a right angle.

    The matrix (ISO/IEC 14496-12, 8.3.2) takes (x, y) to (a x + c y, b x + d y), rows a b u / c d v / x y w.
    """
    sides: Any = frame.side_data  # typed as a mapping of names, but walks over its values
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
    """What speaks against a file being as it was made. Decoders hide most damage, headers do not change."""
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
    """Seconds at which the picture ends by the file's header; None where it does not say."""
    if stream.duration and stream.time_base:
        start = Fraction(stream.start_time or 0) * stream.time_base - clock_start(container)
        return start + stream.duration * stream.time_base
    tag = str(stream.metadata.get("DURATION", ""))
    if fits := re.fullmatch(r"(\d+):(\d\d):(\d\d\.\d+)", tag):
        return int(fits[1]) * 3600 + int(fits[2]) * 60 + Fraction(fits[3])
    if container.duration and not container.streams.audio:
        return Fraction(container.duration, av.time_base)
    return None


def _notes(
    color: dict[str, Any], mended: bool, straight: bool, aspect: Fraction, subtitles: int
) -> tuple[str, ...]:
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
    if subtitles:
        notes.append(f"{subtitles} subtitle tracks are not carried over")
    return tuple(notes)
