"""Carry sound into an output file: copy packets where the container takes the codec, else encode AAC."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet

from pipeline.video.container import clock_start, open_video

_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)


class AudioCarrier:
    """Copies or re-encodes all sound streams of a file into an output, interleaved with the picture.

    `notes` lists, for the user, what could not be copied.
    """

    def __init__(self, path: Path, output: OutputContainer, format_name: str, stop: Fraction | None) -> None:
        """Add the sound streams of `path` to `output`; `stop` in seconds cuts the sound, None keeps all."""
        self.notes: list[str] = []
        self._output = output
        self._stop = stop
        self._container = open_video(path)
        self._start = clock_start(self._container)
        self._copied: dict[int, AudioStream] = {}
        self._encoded: dict[int, AudioStream] = {}
        for stream in self._container.streams.audio:
            name = stream.codec_context.name if stream.codec_context else "unknown"
            if stream.codec_context and can_copy(stream, format_name):
                self._copied[stream.index] = output.add_stream_from_template(stream)
            elif stream.codec_context and stream.codec_context.sample_rate:
                self._encoded[stream.index] = _aac_stream(stream, output)
                self.notes.append(f"sound re-encoded to AAC: {format_name} does not carry {name}")
            else:
                self.notes.append(f"a sound track was left out: {name} cannot be decoded")
        taken = [s for s in self._container.streams.audio if s.index in {**self._copied, **self._encoded}]
        self._packets = self._demuxed(taken)
        self._pending = next(self._packets, None)

    def until(self, seconds: Fraction | None) -> None:
        """Write the packets that start before `seconds`; None writes the rest and flushes the encoders."""
        while self._pending is not None:
            starts = self._seconds(self._pending)
            if seconds is not None and starts >= seconds:
                return
            if self._stop is None or starts < self._stop:
                self._write(self._pending)
            self._pending = next(self._packets, None)
        if seconds is None:
            for target in self._encoded.values():
                self._output.mux(target.encode(None))

    def close(self) -> None:
        """Close the source file."""
        self._container.close()

    def _demuxed(self, streams: list[AudioStream]) -> Iterator[Packet[AudioStream]]:
        if not streams:
            return
        packets = self._container.demux(*streams)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.FFmpegError):
                return
            if packet.pts is not None:
                yield cast("Packet[AudioStream]", packet)

    def _seconds(self, packet: Packet[AudioStream]) -> Fraction:
        return (packet.pts or 0) * packet.time_base - self._start

    def _write(self, packet: Packet[AudioStream]) -> None:
        shift = round(self._start / packet.time_base)
        index = packet.stream.index
        if index in self._copied:
            packet.pts = (packet.pts or 0) - shift
            packet.dts = None if packet.dts is None else packet.dts - shift
            packet.stream = self._copied[index]
            self._output.mux(packet)
            return
        target = self._encoded[index]
        try:
            frames = packet.stream.decode(packet)
        except av.FFmpegError:
            return  # a damaged packet; the rest still plays
        for frame in frames:
            if frame.pts is not None and frame.time_base:
                frame.pts -= round(self._start / frame.time_base)
            self._output.mux(target.encode(frame))


def can_copy(stream: AudioStream, format_name: str) -> bool:
    """True where a container (`mp4`, `mov`, `matroska`) takes packets of this stream and players play them.

    Tried with the muxer, which writes a header to memory. PCM in .mp4 (ISO/IEC 23003-5) is refused although
    FFmpeg writes it: browsers and most players stay silent.
    """
    name = stream.codec_context.name
    if format_name == "mp4" and name.startswith("pcm_"):
        return False
    trial = av.open(io.BytesIO(), "w", format=format_name)
    try:
        trial.add_stream_from_template(stream)
        trial.start_encoding()
        trial.close()
    except (av.FFmpegError, ValueError):
        return False
    return True


def _aac_stream(stream: AudioStream, output: OutputContainer) -> AudioStream:
    context = stream.codec_context
    rate = context.sample_rate if context.sample_rate in _AAC_RATES else 48000
    target: AudioStream = output.add_stream("aac", rate=rate)
    # PCM often has a channel count without a layout; AAC needs the layout.
    target.codec_context.layout = _LAYOUTS.get(context.layout.nb_channels, "stereo")
    target.codec_context.bit_rate = 96000 * max(1, context.layout.nb_channels)
    target.codec_context.time_base = Fraction(1, rate)
    return target
