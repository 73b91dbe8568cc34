"""Writing a video frame by frame, with the source's times and sound; whole or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.clip import U8, Clip
from pipeline.errors import OutputError
from pipeline.video.audio import AudioCarrier
from pipeline.video.codecs import FORMATS, Encoding, check_suffix, encoder_for, output_color
from pipeline.video.reader import SWS_FLAGS


class VideoWriter:
    """Write frames one at a time to `path`, at the times of the clip's frames.

    size: (width, height) of what is written, odd sizes too. indices: the source frames that will come, in
    order (None: all of them); a frame is shown until the next one is. comment goes into the file's metadata.
    The file appears under its name only once `close` has succeeded; leaving the `with` block by an exception,
    Ctrl-C too, leaves nothing. Raises OutputError (not writable, disk full), UserError (codec and ending do
    not fit), ValueError (wrong frames).
    """

    def __init__(
        self,
        path: Path,
        clip: Clip,
        size: tuple[int, int],
        settings: Encoding,
        comment: str,
        indices: Sequence[int] | None = None,
    ) -> None:
        check_suffix(settings.codec, path.suffix)
        self.path = path
        self.notes: list[str] = []
        self.written = 0
        self._size = size
        self._time_base = clip.time_base
        self._pts = clip.pts if indices is None else clip.pts[np.asarray(indices, np.int64)]
        end = int(clip.pts[0]) + round(Fraction(clip.duration) / clip.time_base)
        self._durations = np.diff(self._pts, append=max(end, int(clip.pts[-1]) + 1))
        self._audio: AudioCarrier | None = None
        format_name = FORMATS[path.suffix.lower()]
        self._sink = _Sink(path)
        try:
            with _output_errors(path, self._sink):
                self._container = av.open(
                    cast(BinaryIO, self._sink),
                    "w",
                    format=format_name,
                    container_options=_muxer_options(format_name, clip.time_base),
                    io_open=self._sink.reopen,
                )
                self._container.metadata["comment"] = comment
                self._stream = self._add_video(clip, settings)
                if clip.has_audio:
                    stop = None if clip.whole else end * clip.time_base
                    self._audio = AudioCarrier(clip.path, self._container, format_name, stop)
                    self.notes += self._audio.notes
        except BaseException:
            self.abort()
            raise

    def write(self, frame: U8) -> None:
        """Add one frame, uint8 [H,W,3] RGB."""
        width, height = self._size
        if frame.shape != (height, width, 3) or frame.dtype != np.uint8:
            raise ValueError(
                f"a frame must be uint8 [{height},{width},3], not {frame.dtype} {list(frame.shape)}"
            )
        if self.written == len(self._pts):
            raise ValueError(f"more frames than the {len(self._pts)} that the clip has times for")
        picture = VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24").reformat(
            format=self._stream.codec_context.pix_fmt,
            dst_colorspace=self._color.sws_matrix,
            dst_color_range=self._color.sws_range,
            interpolation=int(SWS_FLAGS),
            threads=1,
        )
        picture.pts = int(self._pts[self.written])
        picture.time_base = self._time_base
        # The encoder is told what the stream says, not what the conversion was computed by.
        picture.colorspace = self._color.matrix
        picture.color_range = self._color.range
        picture.color_primaries = self._color.primaries
        picture.color_trc = self._color.transfer
        with _output_errors(self.path, self._sink):
            if self._audio is not None:
                self._audio.until(picture.pts * self._time_base)
            self._mux(self._stream.encode(picture))
        self.written += 1

    def close(self) -> None:
        """Finish the file and give it its name; raises ValueError unless every frame has come."""
        if self.written != len(self._pts):
            self.abort()
            raise ValueError(f"{self.written} frames were written where the clip has {len(self._pts)}")
        try:
            with _output_errors(self.path, self._sink):
                self._mux(self._stream.encode(None))
                if self._audio is not None:
                    self._audio.until(None)
                self._container.close()
                self._sink.publish()
        finally:
            self.abort()

    def abort(self) -> None:
        """Drop what was written so far; harmless after `close`."""
        self._sink.discard()
        if self._audio is not None:
            self._audio.close()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _add_video(self, clip: Clip, settings: Encoding) -> VideoStream:
        width, height = self._size
        suffix = self.path.suffix.lower()
        encoder = encoder_for(settings, width, height, suffix)
        self._color = output_color(clip.color, encoder.pixel_format)
        rate = clip.rate.limit_denominator(1 << 20)
        stream = cast(
            VideoStream, self._container.add_stream(encoder.name, rate=rate, options=encoder.options)
        )
        context = stream.codec_context
        context.width, context.height = width, height
        context.pix_fmt = encoder.pixel_format
        context.time_base = clip.time_base
        context.colorspace, context.color_range = self._color.matrix, self._color.range
        context.color_primaries, context.color_trc = self._color.primaries, self._color.transfer
        if self._size == (clip.width, clip.height) and clip.sample_aspect != 1:
            context.sample_aspect_ratio = clip.sample_aspect
        if encoder.tag is not None:
            context.codec_tag = encoder.tag
        if encoder.pixel_format.startswith("yuv444") and settings.codec != "prores":
            self.notes.append(
                f"{width}x{height} is an odd size, so colour is stored at full resolution (4:4:4)"
            )
        if suffix == ".mkv" and (1000 * clip.time_base).denominator != 1:
            self.notes.append("Matroska rounds the frame times to 1 ms")
        return stream

    def _mux(self, packets: list[Packet[VideoStream]]) -> None:
        for packet in packets:
            if packet.pts is not None:
                row = int(np.searchsorted(self._pts, round(packet.pts * packet.time_base / self._time_base)))
                length = int(self._durations[min(row, len(self._durations) - 1)])
                packet.duration = round(length * self._time_base / packet.time_base)
            self._container.mux(packet)


class _Sink:
    """The temporary file behind a writer; keeps the first failure, of which FFmpeg keeps a number only."""

    def __init__(self, path: Path) -> None:
        self.error: BaseException | None = None
        self._path = path
        self._partial = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.part{path.suffix}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(0, "it is a folder", str(path))
            self._file = self._partial.open("xb")
        except OSError as error:
            raise _output_error(path, error) from None

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except BaseException as error:
            self.error = self.error or error
            raise OSError(str(error)) from None  # only an Exception gets through FFmpeg's callback

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)  # flushes the buffer, so that a full disk shows here too
        except OSError as error:
            self.error = self.error or error
            return -1  # FFmpeg's sign of failure; PyAV would print an exception

    def tell(self) -> int:
        return self._file.tell()

    def reopen(self, url: str, flags: int, options: dict[str, str]) -> BinaryIO:
        """A second handle for reading: moving the index to the front (faststart) reads what was written."""
        self._file.flush()
        return self._partial.open("rb")

    def publish(self) -> None:
        """Everything on disk, then the one rename."""
        self._file.flush()
        if self.error is not None:
            raise self.error
        self._file.close()
        self._partial.replace(self._path)

    def discard(self) -> None:
        """Remove the temporary file, if it is still there."""
        with contextlib.suppress(OSError, ValueError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._partial.unlink(missing_ok=True)


class _output_errors(contextlib.AbstractContextManager[None]):
    """Turn what FFmpeg or the file system raises while writing into one OutputError that says why."""

    def __init__(self, path: Path, sink: _Sink) -> None:
        self._path = path
        self._sink = sink

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or not isinstance(error, (av.FFmpegError, OSError)):
            return
        cause = self._sink.error or error
        if not isinstance(cause, Exception):
            raise cause  # Ctrl-C that arrived inside FFmpeg's write call
        raise _output_error(self._path, cause) from None


def _muxer_options(format_name: str, time_base: Fraction) -> dict[str, str]:
    if format_name == "matroska":
        # It would otherwise move every time stamp so that the sound's lead-in, before zero, starts at zero.
        return {"avoid_negative_ts": "disabled"}
    # The index goes in front, so that a page can play the file while it loads. A first frame later than zero
    # is written in units of the movie's clock, which would be 1 ms.
    clock = time_base.denominator
    while clock < 10_000:
        clock *= 2
    return (
        {"movflags": "faststart", "movie_timescale": str(clock)}
        if clock < 2**31
        else {"movflags": "faststart"}
    )


def _output_error(path: Path, error: BaseException) -> OutputError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if not isinstance(error, OSError):
        return OutputError(f"{path}: cannot be encoded ({reason}); choose another codec or file ending")
    return OutputError(
        f"{path}: cannot be written ({reason}); free some space or choose another output folder"
    )
