"""Frame source `av`: exact frames through PyAV, upright, in RGB, one in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar, cast

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from pipeline.clip import F32, U8
from pipeline.errors import InputVideoError
from pipeline.video.container import decoded, open_video
from pipeline.video.deinterlacing import deinterlaced
from pipeline.video.planes import Layout, Planes, frame_of, over_black, planes_of, turned, white_of_rgb48
from pipeline.video.probe import Probe
from pipeline.video.tone_map import ToneMap

T = TypeVar("T")

# Accurate rounding and full chroma resolution: the fast defaults are visible on faces.
SWS_FLAGS = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)


def to_rgb(frame: VideoFrame, probe: Probe) -> U8:
    """Convert a decoded frame to uint8 [H,W,3] RGB, upright.

    Matrix and range are the frame's tags; untagged pictures are taken as BT.601 limited range, as by all
    FFmpeg tools. High dynamic range becomes SDR by the clip's tone map, and what is transparent black. A
    frame of another size than the first is fitted into it, with black bars.
    """
    width, height = probe.coded_size
    if probe.layout is not None and probe.layout.alpha:
        frame = frame_of(over_black(planes_of(frame, probe.layout, probe.coded_size)))
    if (frame.width, frame.height) == (width, height):
        pixels = _scaled(frame, width, height, probe.tone)
    else:
        scale = min(Fraction(width, frame.width), Fraction(height, frame.height))
        inner = _scaled(
            frame, max(1, round(frame.width * scale)), max(1, round(frame.height * scale)), probe.tone
        )
        top, left = (height - inner.shape[0]) // 2, (width - inner.shape[1]) // 2
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    transpose, mirror_columns, mirror_rows = probe.orientation
    if transpose:
        pixels = pixels.transpose(1, 0, 2)
    pixels = pixels[:: -1 if mirror_rows else 1, :: -1 if mirror_columns else 1]
    return np.ascontiguousarray(pixels)


def view_of(planes: Planes, tone: ToneMap | None) -> U8:
    """A frame as `to_rgb` shows it, uint8 [H,W,3], from its samples."""
    return _scaled(frame_of(over_black(planes)), *planes.size, tone)


def signal_of(planes: Planes) -> F32:
    """R', G', B' of a frame as FFmpeg's scaler has them, float32 [H,W,3], black 0 and white 1."""
    frame = frame_of(planes)
    deep = frame.reformat(format="rgb48le", interpolation=int(SWS_FLAGS), threads=1).to_ndarray()
    return deep.astype(np.float32) / np.float32(white_of_rgb48(frame.format.name))


def _scaled(frame: VideoFrame, width: int, height: int, tone: ToneMap | None) -> U8:
    picture = frame.reformat(
        width=width,
        height=height,
        format="rgb24" if tone is None else "rgb48le",
        interpolation=int(SWS_FLAGS),
        threads=1,
    )
    pixels: Any = picture.to_ndarray()
    shown: U8 = pixels if tone is None else tone.view(pixels, white_of_rgb48(frame.format.name))
    return shown


class AvSource:
    """Frames of one file, as counted by its Probe."""

    def __init__(self, path: Path, probe: Probe) -> None:
        self._path = path
        self._probe = probe

    def __len__(self) -> int:
        return len(self._probe.pts)

    @property
    def layout(self) -> Layout | None:
        """What the frames of `planes` are; None where the 8-bit frames hold all that the file has."""
        return self._probe.layout

    @property
    def tone(self) -> ToneMap | None:
        """The tone map of high dynamic range."""
        return self._probe.tone

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[U8]:
        """Yield frames [start, stop) as uint8 [H,W,3] RGB; raises InputVideoError if the file has changed."""
        return self._converted(lambda frame: to_rgb(frame, self._probe), start, stop)

    def planes(self, start: int = 0, stop: int | None = None) -> Iterator[Planes]:
        """Yield the same frames at the depth of the file, upright.

        Raises ValueError where the 8-bit frames hold all that the file has; InputVideoError as `frames`.
        """
        probe, layout = self._probe, self._probe.layout
        if layout is None:
            raise ValueError("this clip has 8 bits a channel and no alpha")

        def upright(frame: VideoFrame) -> Planes:
            return turned(planes_of(frame, layout, probe.coded_size), probe.orientation)

        return self._converted(upright, start, stop)

    def _converted(self, convert: Callable[[VideoFrame], T], start: int, stop: int | None) -> Iterator[T]:
        stop = len(self) if stop is None else min(stop, len(self))
        if not 0 <= start < stop:
            return
        index = start
        for frame in self._shown_from(start):
            try:
                converted = convert(frame)
            except (av.FFmpegError, ValueError) as error:
                raise InputVideoError(
                    f"{self._path}: pixel format {frame.format.name} cannot be turned into RGB ({error})"
                ) from None
            yield converted
            index += 1
            if index == stop:
                return
        raise InputVideoError(
            f"{self._path}: ended at frame {index} of {len(self)}; was it changed while being read?"
        )

    def _shown_from(self, start: int) -> Iterator[VideoFrame]:
        """Yield frames from `start` on, deinterlaced where the clip is interlaced."""
        if not self._probe.interlaced:
            yield from self._decoded_from(start)
            return
        before = min(start, 1)  # a field is filled in from the frames on both sides
        frames = deinterlaced(self._decoded_from(start - before))
        for index, frame in enumerate(frames):
            if index >= before:
                yield frame

    def _decoded_from(self, start: int) -> Iterator[VideoFrame]:
        keys = self._probe.keys
        key = (
            int(keys[np.searchsorted(keys, start, side="right") - 1]) if len(keys) and keys[0] <= start else 0
        )
        if self._probe.seekable and key > 0:
            frames = self._after_seek(key, start)
            first = next(frames, None)
            if first is not None:
                yield first
                yield from frames
                return
        with open_video(self._path) as container:
            stream = self._stream(container)
            for index, frame in enumerate(decoded(container, stream, self._probe.threads)):
                if index >= start:
                    yield frame

    def _after_seek(self, key: int, start: int) -> Iterator[VideoFrame]:
        """Yield frames from `start` on after a seek to the key frame `key`; nothing where the seek missed it.

        A seek goes by decoding times, so it can land on a later key frame, and frames shown before that one
        lack their references. Only a run that has passed frame `key` itself is exact.
        """
        stamps = self._probe.raw_pts
        with open_video(self._path) as container:
            stream = self._stream(container)
            try:
                container.seek(int(stamps[key]), stream=stream, backward=True)
            except (av.FFmpegError, OSError):
                return
            passed = False
            index = -1
            for frame in decoded(container, stream, self._probe.threads):
                if index < start:
                    index = int(np.searchsorted(stamps, frame.pts)) if frame.pts is not None else len(stamps)
                    if index >= len(stamps) or stamps[index] != frame.pts:
                        if index > key:
                            return
                        continue
                    passed = passed or index == key
                    if index > start or (index == start and not passed):
                        return
                    if index < start:
                        continue
                yield frame

    def _stream(self, container: InputContainer) -> VideoStream:
        streams = container.streams
        if self._probe.stream >= len(streams) or not isinstance(streams[self._probe.stream], VideoStream):
            raise InputVideoError(
                f"{self._path}: lacks a stream that it had; was it changed while being read?"
            )
        return cast(VideoStream, streams[self._probe.stream])
