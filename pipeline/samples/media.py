"""What a sample clip is stored in: H.264 for people or for measuring, and a voice beside the picture."""

from __future__ import annotations

import math
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

from pipeline.clip import F64, U8
from pipeline.video.reader import SWS_FLAGS

AUDIO_RATE = 32000
"""Samples a second of the voice."""
_BT709 = 1
_VOWELS = ((300.0, 2200.0, 2900.0), (480.0, 1750.0, 2500.0), (700.0, 1220.0, 2550.0), (420.0, 900.0, 2400.0))
"""First three formants in hertz of four vowels between which the voice wanders."""


class FrameWriter:
    """H.264 in MP4 at a constant rate: a clip for people (4:2:0), or truth to measure against (4:4:4).

    crf: x264's quality, lower is better. voice: float32 [samples] in [-1, 1] at AUDIO_RATE, written as AAC.
    """

    def __init__(
        self, path: Path, size: tuple[int, int], rate: Fraction, crf: int, full_colour: bool, comment: str
    ) -> None:
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
        """Say, before the first frame, that sound will come."""
        sound: AudioStream = self._container.add_stream("aac", rate=AUDIO_RATE)
        sound.codec_context.layout = "mono"
        sound.codec_context.bit_rate = 56000
        self._sound = sound

    def write(self, frame: U8) -> None:
        """Add one frame, uint8 [H,W,3] RGB."""
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
        """Add the whole voice, float32 [samples]."""
        if self._sound is None:
            raise ValueError("add_voice must come before the first frame")
        frame = AudioFrame.from_ndarray(voice[None], format="fltp", layout="mono")
        frame.sample_rate = AUDIO_RATE
        frame.pts = 0
        self._container.mux(self._sound.encode(frame))
        self._container.mux(self._sound.encode(None))

    def close(self) -> None:
        """Write what is still held back and end the file."""
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


def babble(speech: F64, fps: float, seed: int, seconds: float) -> npt.NDArray[np.float32]:
    """A quiet voice without words, as loud as the mouth is open: float32 [samples] at AUDIO_RATE.

    speech [T] in [0, 1] at `fps`. Harmonics of a wandering pitch, weighted by three formants that follow the
    opening of the mouth (Fant's source and filter, resonances as Lorentz curves), and a breath a syllable.
    """
    rng = np.random.default_rng(seed)
    times = np.arange(round(seconds * AUDIO_RATE)) / AUDIO_RATE
    level = np.interp(times, (np.arange(len(speech)) + 0.5) / fps, speech)
    pitch = (105.0 + 90.0 * rng.random()) * (1 + 0.10 * _wander(times, rng, 0.7) + 0.12 * (level - 0.4))
    phase = 2 * math.pi * np.cumsum(pitch) / AUDIO_RATE
    place = 1.5 + 1.5 * _wander(times, rng, 2.6)
    vowels = np.array(_VOWELS)
    formants = [np.interp(place, np.arange(len(vowels)), vowels[:, k]) for k in range(3)]
    formants[0] = formants[0] * (0.75 + 0.45 * level)
    voice = np.zeros_like(times)
    for harmonic in range(1, 31):
        frequency = harmonic * pitch
        gain = np.zeros_like(times)
        for centre, width, strength in zip(formants, (90.0, 120.0, 170.0), (1.0, 0.5, 0.22), strict=True):
            gain += strength / (1 + ((frequency - centre) / width) ** 2)
        voice += (gain + 0.012) * (frequency < AUDIO_RATE / 2.2) / harmonic**0.35 * np.sin(harmonic * phase)
    rising = np.clip(np.gradient(level) * AUDIO_RATE / 8, 0, 1)
    breath = np.diff(rng.standard_normal(len(times) + 1)) * rising
    loud = voice * np.clip(level, 0, 1) ** 1.4 + 0.12 * breath
    edge = np.clip(np.minimum(times, seconds - times) / 0.02, 0, 1)
    quiet: npt.NDArray[np.float32] = (0.16 * edge * loud / max(float(np.abs(loud).max()), 1e-6)).astype(
        np.float32
    )
    return quiet


def _wander(times: F64, rng: np.random.Generator, rate: float) -> F64:
    """A smooth random path of about unit size."""
    path = np.zeros_like(times)
    for factor, weight in ((1.0, 0.6), (1.7, 0.3), (2.9, 0.1)):
        path += weight * np.sin(2 * math.pi * (rate * factor * times + rng.random()))
    return path
