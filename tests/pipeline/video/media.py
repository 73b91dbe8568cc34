"""Small real video files whose frames say which frame they are."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

BITS = 8


def picture(index: int, width: int = 96, height: int = 64) -> np.ndarray:
    """uint8 [H,W,3]: `index` in black and white bars above, red and a dark gradient below."""
    out = np.zeros((height, width, 3), np.uint8)
    edges = np.linspace(0, width, BITS + 1).astype(int)
    for bit in range(BITS):
        out[: height // 2, edges[bit] : edges[bit + 1]] = 255 * (index >> bit & 1)
    out[height // 2 :, : width // 2] = (200, 30, 30)
    out[height // 2 :, width // 2 :] = np.linspace(0, 120, width - width // 2).astype(np.uint8)[None, :, None]
    return out


def index_of(frame: np.ndarray) -> int:
    """Which frame a picture says it is."""
    height, width = frame.shape[:2]
    edges = np.linspace(0, width, BITS + 1).astype(int)
    total = 0
    for bit in range(BITS):
        patch = frame[height // 8 : 3 * height // 8, edges[bit] + 3 : edges[bit + 1] - 3]
        total |= int(patch.mean() > 127) << bit
    return total


def make_video(
    path: Path,
    count: int = 12,
    size: tuple[int, int] = (96, 64),
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 30),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    rotation: tuple[int, bool, bool] | None = None,
    matrix: int | None = None,
    range_: int | None = None,
    audio: str | None = None,
    audio_rate: int = 48000,
    audio_start: int = 0,
    pictures: Sequence[np.ndarray] | None = None,
    aspect: Fraction | None = None,
    transfer: int | None = None,
) -> Path:
    """Write a real file; rotation tag: (degrees counter-clockwise, mirror columns, mirror rows)."""
    pts = list(range(count)) if pts is None else list(pts)
    defaults = {"crf": "4", "preset": "ultrafast"} if codec == "libx264" else {}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options={**defaults, **(options or {})})
        context = stream.codec_context
        context.width, context.height = size
        context.pix_fmt = pix_fmt
        context.time_base = time_base
        if rotation is not None:
            stream.set_display_rotation(rotation[0], hflip=rotation[1], vflip=rotation[2])
        if matrix is not None:
            context.colorspace = matrix
        if range_ is not None:
            context.color_range = range_
        if transfer is not None:
            context.color_trc = transfer
        if aspect is not None:
            context.sample_aspect_ratio = aspect
        sound = None
        if audio is not None:
            sound = container.add_stream(audio, rate=audio_rate)
            sound.codec_context.layout = "stereo"
        for index, stamp in enumerate(pts):
            pixels = picture(index, *size) if pictures is None else pictures[index]
            frame = VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                format=pix_fmt,
                dst_colorspace={1: 1, 5: 5, 6: 5}.get(matrix or 0, 5),
                dst_color_range=range_ or 1,
                interpolation=4 | 262144,
            )
            frame.pts, frame.time_base = stamp, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            _add_tone(
                container, sound, audio_rate, seconds=float((pts[-1] + 1) * time_base), start=audio_start
            )
    return path


def _add_tone(container, stream, rate: int, seconds: float, start: int) -> None:
    samples = int(seconds * rate)
    wave = (8000 * np.sin(np.arange(samples) * 2 * np.pi * 440 / rate)).astype(np.int16)
    for begin in range(0, samples, 960):
        part = wave[begin : begin + 960]
        frame = AudioFrame.from_ndarray(np.repeat(part, 2)[None], format="s16", layout="stereo")
        frame.sample_rate = rate
        frame.pts, frame.time_base = start + begin, Fraction(1, rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def audio_packets(path: Path) -> list[tuple[float, bytes]]:
    """(time in seconds, bytes) of every packet of sound."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return []
        stream = container.streams.audio[0]
        return [(float(p.pts * p.time_base), bytes(p)) for p in container.demux(stream) if p.pts is not None]


def codec_names(path: Path) -> list[str]:
    """The codecs of a file's streams."""
    with av.open(str(path)) as container:
        return [stream.codec_context.name for stream in container.streams]


def ffmpeg(*arguments: str | Path) -> bytes:
    """Run the FFmpeg binary that imageio-ffmpeg ships; returns its standard output."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-loglevel", "error", "-y"]
    return subprocess.run([*command, *map(str, arguments)], check=True, stdout=subprocess.PIPE).stdout


def run_apart(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program's text in a process of its own, with the project's root as its folder."""
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
