"""Frame source `av`: exact frames through PyAV, upright, in RGB, one in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation

from pipeline.clip import U8
from pipeline.errors import InputVideoError
from pipeline.video.container import decoded, open_video, video_stream
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
    FFmpeg tools.
    """
    width, height = probe.coded_size
    picture = frame.reformat(
        width=width, height=height, format="rgb24", interpolation=int(SWS_FLAGS), threads=1
    )
    pixels: U8 = picture.to_ndarray()  # type: ignore[assignment]  # rgb24 is uint8
    transpose, mirror_columns, mirror_rows = probe.orientation
    if transpose:
        pixels = pixels.transpose(1, 0, 2)
    pixels = pixels[:: -1 if mirror_rows else 1, :: -1 if mirror_columns else 1]
    return np.ascontiguousarray(pixels)


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
        for frame in self._decoded_from(start):
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
            for index, frame in enumerate(decoded(container, video_stream(container, self._path))):
                if index >= start:
                    yield frame

    def _after_seek(self, key: int, start: int) -> Iterator[VideoFrame]:
        """Yield frames from `start` on after a seek to the key frame `key`; nothing where the seek missed it.

        A seek goes by decoding times, so it can land on a later key frame, and frames shown before that one
        lack their references. Only a run that has passed frame `key` itself is exact.
        """
        stamps = self._probe.raw_pts
        with open_video(self._path) as container:
            stream = video_stream(container, self._path)
            try:
                container.seek(int(stamps[key]), stream=stream, backward=True)
            except (av.FFmpegError, OSError):
                return
            passed = False
            index = -1
            for frame in decoded(container, stream):
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
