"""Open local video files, choose the picture stream and decode it, with one-line errors."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import InputVideoError
from pipeline.video.truncation import missing_bytes

_NOT_VIDEO = {"hls", "concat", "dash", "tty", "lavfi", "sdp", "rtsp", "imf"}
"""Demuxers that follow references to other files or render text."""
_PROBED = 1 << 20
"""Bytes in which FFmpeg looks for a format; what has none there is taken for what its name says."""
LONGEST = 7 * 86400
"""Seconds from the first frame to the last."""
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders of codecs whose alpha is in packets of its own."""
_ONE_BY_ONE = {"apng"}
"""Decoders that wait for ever, with several threads, for a frame that is damaged."""


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
        with path.open("rb") as file:
            if not any(file.read(_PROBED)):
                raise InputVideoError(f"{path}: begins with zeros alone; copy or download it again")
        # Absolute, so that no file name is read as a protocol; the whitelist covers references in the file.
        # A percent sign in the name of a picture is no pattern of other files.
        options = {"protocol_whitelist": "file", "pattern_type": "none"}
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
    """The picture stream that is edited: the default one; of several, the one with most frames.

    Cover art is never taken, and a single picture only where there is nothing else: a thumbnail may be marked
    as default. Raises InputVideoError where there is no picture, or none in a codec that is known.
    """
    films = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not films:
        has = "only sound" if container.streams.audio else "no picture stream"
        raise InputVideoError(f"{path}: has {has}; give a file with a picture")
    streams = [stream for stream in films if stream.codec_context is not None]
    if not streams:
        raise InputVideoError(f"{path}: its picture is damaged, or in a codec that is not known")
    if len(streams) == 1:
        return streams[0]
    counts = _frame_counts(streams, path)
    films = [stream for stream in streams if counts[stream.index] > 1] or streams
    chosen = [stream for stream in films if stream.disposition & Disposition.default] or films
    return max(chosen, key=lambda stream: counts[stream.index])


def left_out(container: InputContainer, stream: VideoStream) -> list[VideoStream]:
    """The other picture streams of a file, without its cover art."""
    others = (s for s in container.streams.video if not s.disposition & Disposition.attached_pic)
    return [other for other in others if other.index != stream.index]


def _frame_counts(streams: list[VideoStream], path: Path) -> dict[int, int]:
    """Number of frames by stream index: as the header says, else as many as there are packets."""
    counts = {stream.index: int(stream.frames or 0) for stream in streams}
    if all(counts.values()):
        return counts
    counts = dict.fromkeys(counts, 0)
    with open_video(path) as container, contextlib.suppress(av.FFmpegError, OSError):
        for packet in container.demux():  # streams of FLV appear one by one
            if packet.stream_index in counts:
                counts[packet.stream_index] += packet.size > 0
    return counts


@dataclass
class Damage:
    """What decoding a stream met."""

    faults: list[str] = field(default_factory=list)  # one for each packet that could not be decoded
    packets: int = 0  # that hold a picture to be shown
    marked: int = 0  # packets that the container marks as damaged


def decoded(
    container: InputContainer, stream: VideoStream, threads: bool = True, damage: Damage | None = None
) -> Iterator[VideoFrame]:
    """Yield the frames of a stream; packets that cannot be decoded are skipped and counted in `damage`.

    threads: decode several frames at once. A damaged packet near the end then hides frames of other packets,
    without an error; one at a time, it hides only its own. Probe and reader both decode through this
    function, so that both skip the same packets.
    """
    damage = Damage() if damage is None else damage
    decoder = _decoder(stream)
    if not decoder.is_open:
        threads = threads and decoder.name not in _ONE_BY_ONE
        decoder.thread_type = "AUTO" if threads else "NONE"
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError) as error:
            damage.faults.append(str(error))
            packet = None
        if packet is not None:
            damage.packets += packet.size > 0 and not packet.is_discard
            damage.marked += packet.size > 0 and packet.is_corrupt
        try:
            frames = decoder.decode(packet)
        except (av.FFmpegError, ValueError) as error:
            if not isinstance(error, EOFError):
                damage.faults.append(str(error))
            frames = []
        yield from (frame for frame in frames if isinstance(frame, VideoFrame))
        if packet is None:
            return


def _decoder(stream: VideoStream) -> VideoCodecContext:
    """The stream's decoder; for VP8 and VP9 with alpha, libvpx, since FFmpeg's own leaves alpha out."""
    context = stream.codec_context
    other = _WITH_ALPHA.get(context.codec.canonical_name)
    if other is None or stream.metadata.get("alpha_mode") != "1":
        return context
    decoder = cast(VideoCodecContext, VideoCodecContext.create(other, "r"))
    decoder.extradata = context.extradata
    return decoder


def check_span(path: Path, seconds: Fraction) -> None:
    """Raise InputVideoError for a clip of so many seconds that its time stamps must be damaged."""
    if seconds > LONGEST:
        raise InputVideoError(
            f"{path}: its frames are spread over {float(seconds) / 86400:.3g} days, so their times are "
            "damaged; make the file again"
        )


def is_broadcast(container: InputContainer) -> bool:
    """True for MPEG streams, whose clock starts at any value, and anew where recordings are joined."""
    return container.format.name in ("mpegts", "mpeg")


def clock_start(container: InputContainer) -> Fraction:
    """Start of the file's clock in seconds: that of MPEG streams is arbitrary, 0 for others."""
    return Fraction(container.start_time or 0, av.time_base) if is_broadcast(container) else Fraction(0)
