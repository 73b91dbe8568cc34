"""Write a video frame by frame with the source's times, then its sound and tags; temporary until renamed."""

from __future__ import annotations

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
from pipeline.errors import InputVideoError
from pipeline.video.carry import Carried, CarryError, carry, withheld
from pipeline.video.codecs import FORMATS, Encoding, check_suffix, encoder_for, output_color
from pipeline.video.output_file import OutputFile, ffmpeg_errors
from pipeline.video.reader import SWS_FLAGS
from pipeline.video.tracks import side_tracks


class VideoWriter:
    """Writer of one video file at the times of a clip's frames.

    The file gets its name when `close` succeeds; leaving the `with` block by an exception (or Ctrl-C) leaves
    nothing. `notes` holds what a user should know of the file.
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
        """Open the file for writing.

        size: (width, height) of the frames, odd sizes too. comment: for the file's metadata. indices: source
        frames that will be written, in order (None: all); a frame is shown until the next one. Raises
        OutputError (not writable, disk full), UserError (codec and suffix do not fit).
        """
        check_suffix(settings.codec, path.suffix)
        self.path = path
        self.notes: list[str] = []
        self.written = 0
        self._size = size
        self._time_base = clip.time_base
        self._pts = clip.pts if indices is None else clip.pts[np.asarray(indices, np.int64)]
        self._durations = np.diff(self._pts, append=max(clip.end, int(clip.pts[-1]) + 1))
        format_name = FORMATS[path.suffix.lower()]
        muxer = _muxer_options(format_name, clip.time_base)
        self._beside = self._carried(clip, settings.keep_location, comment, muxer) if clip.film else None
        self._sink = OutputFile(path)
        try:
            with ffmpeg_errors(path, self._sink):
                self._container = av.open(
                    cast(BinaryIO, self._sink),
                    "w",
                    format=format_name,
                    container_options=muxer,
                    io_open=self._sink.reopen,
                )
                self._container.metadata["comment"] = comment
                self._stream = self._add_video(clip, settings)
        except BaseException:
            self.abort()
            raise

    def write(self, frame: U8) -> None:
        """Add a frame, uint8 [H,W,3] RGB. Raises ValueError for another shape or one frame too many."""
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
        # Tags of the stream, which may differ from the matrix of the conversion.
        picture.colorspace = self._color.matrix
        picture.color_range = self._color.range
        picture.color_primaries = self._color.primaries
        picture.color_trc = self._color.transfer
        with ffmpeg_errors(self.path, self._sink):
            self._mux(self._stream.encode(picture))
        self.written += 1

    def close(self) -> None:
        """Finish the file and rename it into place; raises ValueError unless all frames were written."""
        if self.written != len(self._pts):
            self.abort()
            raise ValueError(f"{self.written} frames were written where the clip has {len(self._pts)}")
        try:
            with ffmpeg_errors(self.path, self._sink):
                self._mux(self._stream.encode(None))
                self._container.close()
                self._carry()
                self._sink.publish()
        finally:
            self.abort()

    def abort(self) -> None:
        """Discard what was written; does nothing after `close`."""
        self._sink.discard()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _carried(
        self, clip: Clip, keep_location: bool, comment: str, muxer: dict[str, str]
    ) -> Carried | None:
        """What to carry of the source beside the picture; None where it has nothing else."""
        try:
            side = side_tracks(clip.path, self.path.suffix, clip.shifts, clip.stop)
        except InputVideoError as error:
            self.notes.append(f"sound and tags were left out: {error}")
            return None
        self.notes += [*side.notes, *withheld(side, keep_location)]
        job = Carried(side, FORMATS[self.path.suffix.lower()], comment, keep_location, muxer)
        return job if job.is_needed else None

    def _carry(self) -> None:
        """Put the file with tracks and tags in the place of that of the picture."""
        job = self._beside
        if job is None:
            return
        try:
            self.notes += self._sink.remade(lambda picture, new: carry(picture, new, job))
        except CarryError as error:
            self.notes.append(f"sound and tags were left out: {error}")

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


def _muxer_options(format_name: str, time_base: Fraction) -> dict[str, str]:
    if format_name == "matroska":
        # Otherwise all time stamps are shifted, since the priming samples of the sound lie before zero.
        return {"avoid_negative_ts": "disabled"}
    # faststart: the index comes first, so that a page can play the file while it loads. The movie's clock,
    # 1 ms by default, quantises the start of the first frame.
    clock = time_base.denominator
    while clock < 10_000:
        clock *= 2
    # Tags that only QuickTime has names for, such as those of a phone.
    flags = "faststart+use_metadata_tags" if format_name == "mov" else "faststart"
    return {"movflags": flags, "movie_timescale": str(clock)} if clock < 2**31 else {"movflags": flags}
