"""Open local video files, choose the picture stream and decode it, with one-line errors."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import InputVideoError
from pipeline.video.truncation import missing_bytes

_NOT_VIDEO = {"hls", "concat", "dash", "tty", "lavfi", "sdp", "rtsp", "imf"}
"""Demuxers that follow references to other files or render text."""


def open_video(path: Path) -> InputContainer:
    """Open a local video file. Raises InputVideoError: not there, not readable, cut off, not a video."""
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
        # Absolute, so that no file name is read as a protocol; the whitelist covers references in the file.
        options = {"protocol_whitelist": "file"}
        container = av.open(str(path.absolute()), options=options, metadata_errors="replace")
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
    """First picture stream that is not cover art. Raises InputVideoError where there is none."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            stream.thread_type = "AUTO"
            return stream
    has = "only sound" if container.streams.audio else "no picture stream"
    raise InputVideoError(f"{path}: has {has}; give a file with a picture")


def decoded(
    container: InputContainer, stream: VideoStream, faults: list[str] | None = None
) -> Iterator[VideoFrame]:
    """Yield the frames of a stream; packets that cannot be decoded are skipped and named in `faults`.

    Probe and reader both decode through this function, so that both skip the same packets.
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


def clock_start(container: InputContainer) -> Fraction:
    """Start of the file's clock in seconds: that of MPEG streams is arbitrary, 0 for others."""
    arbitrary = container.format.name in ("mpegts", "mpeg")
    return Fraction(container.start_time or 0, av.time_base) if arbitrary else Fraction(0)
