"""Write the videos of a synthetic clip: H.264 at a constant rate, with an optional voice."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from pipeline.clip import U8
from pipeline.samples.voice import AUDIO_RATE
from pipeline.video.reader import SWS_FLAGS

_BT709 = 1


class FrameWriter:
    """Writer of H.264 in MP4 at a constant frame rate; leaving the `with` block finishes the file."""

    def __init__(
        self, path: Path, size: tuple[int, int], rate: Fraction, crf: int, full_colour: bool, comment: str
    ) -> None:
        """Open the file. size: (width, height); crf: of x264; full_colour: 4:4:4 instead of 4:2:0."""
        self._container = av.open(str(path), "w", options={"movflags": "faststart"})
        self._container.metadata["comment"] = comment
        options = {"crf": str(crf), "preset": "veryslow", "tune": "animation", "x264-params": "threads=1"}
        self._stream: VideoStream = self._container.add_stream("libx264", rate=rate, options=options)
        context = self._stream.codec_context
        context.width, context.height = size
        context.pix_fmt = "yuv444p" if full_colour else "yuv420p"
        context.time_base = 1 / rate
        context.colorspace, context.color_primaries, context.color_trc = _BT709, _BT709, _BT709
        context.color_range = int(ColorRange.MPEG)
        self._sound: AudioStream | None = None
        self._written = 0

    def add_voice(self) -> None:
        """Add a sound stream; must come before the first frame."""
        sound: AudioStream = self._container.add_stream("aac", rate=AUDIO_RATE)
        sound.codec_context.layout = "mono"
        sound.codec_context.bit_rate = 56000
        self._sound = sound

    def write(self, frame: U8) -> None:
        """Add a frame, uint8 [H,W,3] RGB."""
        picture = VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24").reformat(
            format=self._stream.codec_context.pix_fmt,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=int(SWS_FLAGS),
            threads=1,
        )
        picture.pts = self._written
        picture.time_base = self._stream.codec_context.time_base
        picture.colorspace, picture.color_primaries, picture.color_trc = _BT709, _BT709, _BT709
        self._container.mux(self._stream.encode(picture))
        self._written += 1

    def write_voice(self, voice: npt.NDArray[np.float32]) -> None:
        """Add the whole voice as AAC, float32 [samples] in [-1, 1] at AUDIO_RATE."""
        if self._sound is None:
            raise ValueError("add_voice must come before the first frame")
        frame = AudioFrame.from_ndarray(voice[None], format="fltp", layout="mono")
        frame.sample_rate = AUDIO_RATE
        frame.pts = 0
        self._container.mux(self._sound.encode(frame))
        self._container.mux(self._sound.encode(None))

    def close(self) -> None:
        """Flush the encoder and finish the file."""
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def __enter__(self) -> FrameWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._container.close()
