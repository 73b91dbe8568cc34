"""Frame source `av`: exact frames through PyAV, upright, in RGB, one in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from pipeline.clip import U8
from pipeline.errors import InputVideoError
from pipeline.video.container import decoded, open_video
from pipeline.video.deinterlacing import deinterlaced
from pipeline.video.probe import Probe

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
    FFmpeg tools. A frame of another size than the first is fitted into it, with black bars.
    """
    width, height = probe.coded_size
    if (frame.width, frame.height) == (width, height):
        pixels = _scaled(frame, width, height)
    else:
        scale = min(Fraction(width, frame.width), Fraction(height, frame.height))
        inner = _scaled(frame, max(1, round(frame.width * scale)), max(1, round(frame.height * scale)))
        top, left = (height - inner.shape[0]) // 2, (width - inner.shape[1]) // 2
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    transpose, mirror_columns, mirror_rows = probe.orientation
    if transpose:
        pixels = pixels.transpose(1, 0, 2)
    pixels = pixels[:: -1 if mirror_rows else 1, :: -1 if mirror_columns else 1]
    return np.ascontiguousarray(pixels)


def _scaled(frame: VideoFrame, width: int, height: int) -> U8:
    picture = frame.reformat(
        width=width, height=height, format="rgb24", interpolation=int(SWS_FLAGS), threads=1
    )
    pixels: U8 = picture.to_ndarray()  # type: ignore[assignment]  # rgb24 is uint8
    return pixels


class AvSource:
    """Frames of one file, as counted by its Probe."""

    def __init__(self, path: Path, probe: Probe) -> None:
        self._path = path
        self._probe = probe

    def __len__(self) -> int:
        return len(self._probe.pts)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[U8]:
        """Yield frames [start, stop) as uint8 [H,W,3] RGB; raises InputVideoError if the file has changed."""
        stop = len(self) if stop is None else min(stop, len(self))
        if not 0 <= start < stop:
            return
        index = start
        for frame in self._shown_from(start):
            try:
                pixels = to_rgb(frame, self._probe)
            except (av.FFmpegError, ValueError) as error:
                raise InputVideoError(
                    f"{self._path}: pixel format {frame.format.name} cannot be turned into RGB ({error})"
                ) from None
            yield pixels
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
