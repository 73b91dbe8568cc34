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
from pipeline.video.codecs import (
    FORMATS,
    Encoder,
    Encoding,
    check_suffix,
    deep_color,
    deep_encoder,
    deep_layout,
    encoder_for,
    full_range_layout,
    holds_mastering,
    needs_program,
    output_color,
    sampling_of,
)
from pipeline.video.output_file import OutputFile, ffmpeg_errors
from pipeline.video.piped_encoder import CODEC, FORMAT, PipedEncoder
from pipeline.video.planes import Layout, Planes, frame_of, planes_of_rgb, to_layout
from pipeline.video.reader import SWS_FLAGS
from pipeline.video.tracks import side_tracks

_MILLISECONDS = {".mkv": "Matroska", ".webm": "WebM"}
"""Containers that count time in milliseconds."""
_SAMPLINGS = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0"}


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
        layout: Layout | None = None,
    ) -> None:
        """Open the file for writing.

        size: (width, height) of the frames, odd sizes too. comment: for the file's metadata. indices: source
        frames that will be written, in order (None: all); a frame is shown until the next one. layout: of
        frames that are Planes; None for frames of 8-bit RGB. Raises OutputError (not writable, disk full),
        UserError (codec and suffix do not fit).
        """
        check_suffix(settings.codec, path.suffix)
        self.path = path
        self.notes: list[str] = []
        self.written = 0
        self._size = size
        self._time_base = clip.time_base
        self._pts = clip.pts if indices is None else clip.pts[np.asarray(indices, np.int64)]
        self._aspect = clip.sample_aspect if size == (clip.width, clip.height) else Fraction(1)
        self._durations = np.diff(self._pts, append=max(clip.end, int(clip.pts[-1]) + 1))
        self._format_name = FORMATS[path.suffix.lower()]
        muxer = _muxer_options(self._format_name, clip.time_base)
        self._beside = self._carried(clip, settings.keep_location, comment, muxer) if clip.film else None
        encoder = self._encoder(clip, settings, layout)
        self._piped: PipedEncoder | None = None
        self._sink = OutputFile(path)
        try:
            with ffmpeg_errors(path, self._sink):
                if needs_program(encoder, self._aspect):
                    self._piped = self._program(encoder, comment)
                    encoder = Encoder(CODEC, encoder.pixel_format, {})
                    self._container = av.open(
                        cast(BinaryIO, self._piped), "w", format=FORMAT, container_options=muxer
                    )
                else:
                    self._container = av.open(
                        cast(BinaryIO, self._sink),
                        "w",
                        format=self._format_name,
                        container_options=muxer,
                        io_open=self._sink.reopen,
                    )
                    self._container.metadata["comment"] = comment
                self._stream = self._add_video(clip, encoder)
        except BaseException:
            self.abort()
            raise

    def write(self, frame: U8 | Planes) -> None:
        """Add a frame, uint8 [H,W,3] RGB or Planes. Raises ValueError for another size or one too many."""
        if size_of(frame) != self._size:
            raise ValueError(f"a frame must have {self._size} pixels, not {size_of(frame)}")
        if self.written == len(self._pts):
            raise ValueError(f"more frames than the {len(self._pts)} that the clip has times for")
        picture = self._picture(frame)
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

    def _picture(self, frame: U8 | Planes) -> VideoFrame:
        """The frame in the encoder's pixel format."""
        pixel_format = self._stream.codec_context.pix_fmt
        if self._layout is not None:
            if not isinstance(frame, Planes):
                frame = planes_of_rgb(frame.astype(np.float32) / np.float32(255.0), self._layout)
            picture = frame_of(to_layout(frame, self._layout))
            return picture if picture.format.name == pixel_format else picture.reformat(format=pixel_format)
        return VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24").reformat(
            format=pixel_format,
            dst_colorspace=self._color.sws_matrix,
            dst_color_range=self._color.sws_range,
            interpolation=int(SWS_FLAGS),
            threads=1,
        )

    def close(self) -> None:
        """Finish the file and rename it into place; raises ValueError unless all frames were written."""
        if self.written != len(self._pts):
            self.abort()
            raise ValueError(f"{self.written} frames were written where the clip has {len(self._pts)}")
        try:
            with ffmpeg_errors(self.path, self._sink):
                self._mux(self._stream.encode(None))
                self._container.close()
                if self._piped is not None:
                    self._piped.finish()
                self._carry()
                self._sink.publish()
        finally:
            self.abort()

    def abort(self) -> None:
        """Discard what was written; does nothing after `close`."""
        if self._piped is not None:
            self._piped.discard()
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
        job = Carried(side, self._format_name, comment, keep_location, muxer)
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

    def _encoder(self, clip: Clip, settings: Encoding, layout: Layout | None) -> Encoder:
        """The encoder; sets what frames are converted to, and the colour tags."""
        width, height = self._size
        suffix = self.path.suffix.lower()
        self._layout: Layout | None = None
        if layout is None:
            encoder = encoder_for(settings, width, height, suffix)
            is_sdr = clip.deep is None or clip.deep.tone is None
            self._color = output_color(clip.color, encoder.pixel_format, is_sdr)
            self._layout = full_range_layout(encoder.pixel_format, self._color)
        else:
            primaries = int(clip.color.get("primaries", 2))
            self._layout = deep_layout(settings.codec, layout, width, height, primaries)
            encoder = deep_encoder(settings, self._layout, suffix, clip.color)
            self._color = deep_color(clip.color, self._layout, layout.is_rgb)
        self.notes += self._picture_notes(clip, settings, encoder, layout)
        return encoder

    def _program(self, encoder: Encoder, comment: str) -> PipedEncoder:
        color = self._color
        tags = f"setparams=colorspace={color.matrix}:range={color.range}"
        tags += f":color_primaries={color.primaries}:color_trc={color.transfer}"
        tags += f",setsar={self._aspect.numerator}/{self._aspect.denominator}"
        return PipedEncoder(self._sink, encoder.name, encoder.options, tags, comment, self._format_name)

    def _add_video(self, clip: Clip, encoder: Encoder) -> VideoStream:
        rate = clip.rate.limit_denominator(1 << 20)
        stream = cast(
            VideoStream, self._container.add_stream(encoder.name, rate=rate, options=encoder.options)
        )
        context = stream.codec_context
        context.width, context.height = self._size
        context.pix_fmt = encoder.pixel_format
        context.time_base = clip.time_base
        context.colorspace, context.color_range = self._color.matrix, self._color.range
        context.color_primaries, context.color_trc = self._color.primaries, self._color.transfer
        if self._aspect != 1:
            context.sample_aspect_ratio = self._aspect
        if encoder.tag is not None:
            context.codec_tag = encoder.tag
        return stream

    def _picture_notes(
        self, clip: Clip, settings: Encoding, encoder: Encoder, layout: Layout | None
    ) -> list[str]:
        """What of the picture differs from the source, where these are frames of the clip's size."""
        width, height = self._size
        notes = []
        written = sampling_of(encoder.pixel_format)
        odd = width % 2 or height % 2
        if odd and written == (1, 1) and settings.codec not in ("prores", "ffv1", "vp9"):
            notes.append(f"{width}x{height} is an odd size, so colour is stored at full resolution (4:4:4)")
        name = _MILLISECONDS.get(self.path.suffix.lower())
        if name is not None and (1000 * clip.time_base).denominator != 1:
            notes.append(f"{name} rounds the frame times to 1 ms")
        if self._size != (clip.width, clip.height) or "format" not in clip.color:
            return notes
        own = sampling_of(clip.color["format"])
        if own[0] < written[0] or own[1] < written[1]:
            notes.append(
                f"{settings.codec} holds colour at {_SAMPLINGS[written]}, and the source has "
                f"{_SAMPLINGS.get(own, 'more')}; --codec ffv1 keeps it"
            )
        if layout is None or self._layout is None:
            return notes
        if self._layout.bits < layout.bits:
            notes.append(
                f"{layout.bits} bits a channel are written as {self._layout.bits}; --codec ffv1 keeps them"
            )
        if clip.color.keys() & {"mastering", "light"} and not holds_mastering(encoder):
            notes.append(
                f"{settings.codec} is written without the metadata of the mastering display; --codec hevc "
                "keeps them"
            )
        return notes

    def _mux(self, packets: list[Packet[VideoStream]]) -> None:
        for packet in packets:
            if packet.pts is not None:
                row = int(np.searchsorted(self._pts, round(packet.pts * packet.time_base / self._time_base)))
                length = int(self._durations[min(row, len(self._durations) - 1)])
                packet.duration = round(length * self._time_base / packet.time_base)
            self._container.mux(packet)


def size_of(frame: U8 | Planes) -> tuple[int, int]:
    """Width and height of a frame. Raises ValueError for an array that is none."""
    if isinstance(frame, Planes):
        return frame.size
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ValueError(f"a frame must be uint8 [H,W,3], not {frame.dtype} {list(frame.shape)}")
    return frame.shape[1], frame.shape[0]


def _muxer_options(format_name: str, time_base: Fraction) -> dict[str, str]:
    if format_name in ("matroska", "webm"):
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
