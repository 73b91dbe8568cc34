"""Frames of a finished video at given times, without decoding all of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
from av.video.frame import VideoFrame

from pipeline.clip import U8
from pipeline.video.container import decoded, open_video, video_stream
from pipeline.video.reader import SWS_FLAGS


class FramesAt:
    """Frames of one video by their presentation times, asked for in increasing order.

    Between two frames asked for, decoding goes on where no key frame lies between them, and seeks otherwise:
    at most one group of pictures is decoded for each. Raises InputVideoError where the file is no video.
    """

    def __init__(self, path: Path) -> None:
        self._container = open_video(path)
        try:
            self._stream = video_stream(self._container, path)
        except BaseException:
            self._container.close()
            raise
        self._base = float(self._stream.time_base or 1)
        self._frames: Iterator[VideoFrame] | None = None
        self._last: VideoFrame | None = None

    def at(self, time: float, tolerance: float) -> U8 | None:
        """The frame at `time` seconds, give or take `tolerance`, as uint8 [H,W,3] RGB; None without one.

        Raises av.FFmpegError where the file is damaged.
        """
        if self._frames is None or self._key_between(time):
            self._container.seek(max(0, round(time / self._base)), stream=self._stream, backward=True)
            self._frames, self._last = decoded(self._container, self._stream), None
        frame = self._last
        while frame is None or self._seconds(frame) < time - tolerance:
            frame = next(self._frames, None)
            if frame is None:
                self._frames = None
                return None
        self._last = frame
        return _rgb(frame) if self._seconds(frame) <= time + tolerance else None

    def _key_between(self, time: float) -> bool:
        """Whether decoding can start later than at the last frame decoded, and still before `time`."""
        if self._last is None:
            return True
        index = self._stream.index_entries
        key = index.search_timestamp(round(time / self._base))
        return key < 0 or index[key].timestamp * self._base > self._seconds(self._last)

    def _seconds(self, frame: VideoFrame) -> float:
        return 0.0 if frame.pts is None else frame.pts * self._base

    def close(self) -> None:
        """Close the file."""
        self._frames = None
        self._container.close()

    def __enter__(self) -> FramesAt:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _rgb(frame: VideoFrame) -> U8:
    """Pixels as uint8 [H,W,3] RGB, by the matrix and range that the frame is tagged with."""
    picture = frame.reformat(format="rgb24", interpolation=int(SWS_FLAGS), threads=1)
    return np.asarray(picture.to_ndarray(), np.uint8)
