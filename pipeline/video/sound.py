"""Ways to write a sound track: copied where that is possible, else encoded anew with the same speakers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from pipeline.video import joints
from pipeline.video.container import is_broadcast
from pipeline.video.joints import Joint, PictureClock, Unwrapping
from pipeline.video.stamps import LEAP, is_new_clock

_LAYOUTS = (
    "mono|stereo|2.1|3.0|3.0(back)|4.0|quad|3.1|5.0|4.1|5.1|5.1(side)"
    "|hexagonal|6.1|7.0|7.1|7.1(wide)|octagonal"
)
"""Layouts of speakers that both FFmpeg's AAC and FLAC give back as they were; others become the nearest."""
_OPUS_LAYOUTS = "mono|stereo|3.0|quad|5.0|5.1|6.1|7.1"
"""Layouts of speakers that Opus has."""
_MOST_PRIMING = 4096
"""Samples; Opus has up to 3840, Apple's AAC 2112."""
_MOST_FLAC_BITS, _MOST_FLAC_CHANNELS = 24, 8
_SAME_SAMPLES = {"pcm_f32be": ("pcm_f32le",), "pcm_f64be": ("pcm_f64le",), "pcm_s8": ("pcm_u8",)}
"""PCM that says the same, for containers that do not hold the one."""
_COUNTED = "asetpts=NB_CONSUMED_SAMPLES/SR/TB+STARTPTS"
"""Filter that times decoded sound by its samples alone."""


@dataclass(frozen=True)
class Coder:
    """One way to write a track: a codec of FFmpeg or `copy`, its options, and what a user is told of it."""

    name: str
    options: tuple[tuple[str, str], ...] = ()
    note: str = ""


@dataclass
class Stamps:
    """What is wrong with the time stamps of a track."""

    repeated: bool = False
    """Some do not lie after the one before."""
    hidden_start: bool = False
    """An edit list hides packets at the start, more than those that a decoder starts from."""
    hidden_inside: bool = False
    """An edit list hides packets after others that it shows."""
    joints: list[Joint] = field(default_factory=list)
    """Where the clock starts anew."""


def stamps_of(container: InputContainer) -> dict[int, Stamps]:
    """Read the stamps of all sound packets of a file, by number of stream. Decodes nothing."""
    streams = container.streams.audio
    found = {stream.index: Stamps() for stream in streams}
    before: dict[int, int] = {}
    most = {stream.index: _priming(stream) for stream in streams}
    counts = dict.fromkeys(found, -1)
    broadcast, unwrapping = is_broadcast(container), Unwrapping()
    for packet in _demuxed(container, streams):
        index, stamps = packet.stream.index, found[packet.stream.index]
        counts[index] += 1
        if packet.pts is None:
            continue
        pts, last = packet.pts, before.get(index)
        if broadcast:
            unwrapping.read(index, pts, packet.duration or 0)
        if last is not None and _is_joint(packet, pts - last, broadcast):
            stamps.joints.append(Joint(counts[index], pts, packet.duration or 0, unwrapping.added))
            stamps.repeated |= pts < last
            before[index] = pts
        elif last is None or pts > last:
            before[index] = pts
            stamps.hidden_start |= packet.is_discard and -pts * packet.time_base > most[index]
        elif packet.is_discard and pts < last:
            stamps.hidden_inside = True
        elif pts < last or (packet.duration or 0) > 1:  # packets shorter than the clock's unit share stamps
            stamps.repeated = True
    return found


def _is_joint(packet: av.Packet[AudioStream], difference: int, broadcast: bool) -> bool:
    longest = round(LEAP / packet.time_base) if broadcast else None
    return not packet.is_discard and is_new_clock(difference, packet.duration or 1, longest)


def _priming(stream: AudioStream) -> Fraction:
    """Seconds of sound before the start that a decoder may need."""
    context = stream.codec_context
    if context is None or not context.sample_rate or context.name.startswith("pcm_"):
        return Fraction(0)
    return Fraction(_MOST_PRIMING, context.sample_rate)


def _demuxed(container: InputContainer, streams: tuple[AudioStream, ...]) -> Iterator[av.Packet[AudioStream]]:
    if not streams:
        return
    packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError):
            return
        if packet.size or packet.pts is not None:
            yield packet  # type: ignore[misc]  # of a sound stream


def sound_coders(
    stream: AudioStream, container: InputContainer, format_name: str, stamps: Stamps, clock: PictureClock
) -> tuple[Coder, ...]:
    """Ways to write a sound track, best first.

    WebM has Opus and Vorbis alone; other sound becomes Opus. PCM in .mp4 (ISO/IEC 23003-5) is not written
    although FFmpeg can: browsers and most players stay silent. Matroska does not say which channel of PCM is
    for which speaker, so that several channels become FLAC. The layout of a track is never read: PyAV
    corrupts the heap where it is a custom one.
    """
    codec = stream.codec_context.name if stream.codec_context else "unknown"
    channels = _pcm_channels(stream)
    to_matroska = format_name == "matroska"
    in_matroska = container.format.name.startswith("matroska")
    mending = _mending(stream, container, stamps, clock)
    mended = mending.note
    copied = [Coder("copy", _packet_options(codec, mending), mended)]
    encoders = [codec, *_SAME_SAMPLES.get(codec, ()), "aac"] if codec.startswith("pcm_") else ["aac"]
    why = f"{format_name} does not carry {codec} as it is"
    if to_matroska and channels > 2 and not in_matroska:
        unknown = f"Matroska does not say which of {channels} PCM channels is for which speaker"
        if channels <= _MOST_FLAC_CHANNELS and _is_flac_sample(codec):
            copied, encoders, why = [], ["flac", "aac"], unknown
        else:
            copied = [replace(copied[0], note="; ".join(filter(None, (mended, unknown))))]
    # Matroska has no edit lists, and FFmpeg would write a delay of the decoder, which many players ignore.
    if stamps.hidden_inside or (stamps.hidden_start and format_name in ("matroska", "webm")):
        copied, why = [], "an edit list hides parts of it"
    if format_name == "mp4" and codec.startswith("pcm_"):
        copied, encoders = [], ["aac"]
    if format_name == "webm":
        encoders = ["libopus"]
    return (*copied, *(_encoded(name, mending, why, channels) for name in encoders))


@dataclass(frozen=True)
class _Mending:
    """Filters that mend the stamps of packets, and of decoded samples; empty where nothing is wrong."""

    packets: tuple[str, ...] = ()
    samples: tuple[str, ...] = ()
    note: str = ""
    drift: str = ""
    """A note on samples that may lie beside the picture."""


def _mending(stream: AudioStream, container: InputContainer, stamps: Stamps, clock: PictureClock) -> _Mending:
    found = stamps.joints
    many = len(found) * len(container.streams.audio) > joints.MOST
    if clock.shifts and clock.corresponds(found) and not many:
        mending = _shifted(stream.time_base or Fraction(1, 90000), found, clock, is_broadcast(container))
    else:
        mending = _in_order(stamps, clock, many)
    if clock.stop is None or not found:
        return mending
    stop = f"{float(clock.stop):.6f}"  # FFmpeg's own -to looks at stamps that are not mended
    packets = (*mending.packets, f"noise=drop='gte(pts*tb,{stop})'")
    return replace(mending, packets=packets, samples=(*mending.samples, f"atrim=end={stop}"))


def _shifted(time_base: Fraction, found: list[Joint], clock: PictureClock, leaps: bool) -> _Mending:
    """Sound that is shifted with the picture."""
    count = len(clock.shifts)
    times = "once" if count == 1 else f"{count} times"
    note = f"its clock starts anew {times}; its time stamps were mended as those of the picture"
    packets = (f"setts=ts='{joints.shifted_packets(found, clock, time_base)}'",)
    if any(joint.added for joint in found):  # joints that cannot be seen in decoded sound
        return _Mending(
            packets, (_COUNTED,), note, f"its clock starts anew {times}: it may drift from the picture"
        )
    return _Mending(packets, (joints.shifted_samples(found, clock, time_base, leaps),), note)


def _in_order(stamps: Stamps, clock: PictureClock, many: bool) -> _Mending:
    """Sound that is put in order by itself; a note where the picture's clock starts anew."""
    note, drift = "its time stamps repeat or go back; they were mended" if stamps.repeated else "", ""
    if clock.shifts:
        why = "too many to follow" if many else f"that of the picture {len(clock.shifts)} times"
        drift = f"its clock starts anew {len(stamps.joints)} times, {why}: it may drift from the picture"
    note = "; ".join(filter(None, (note, drift)))
    if not stamps.repeated:
        return _Mending(note=note, drift=drift)
    return _Mending((f"setts=ts='{joints.following_packets()}'",), (_COUNTED,), note, drift)


def _encoded(encoder: str, mending: _Mending, why: str, channels: int) -> Coder:
    filters = list(mending.samples)
    options = []
    if not encoder.startswith("pcm_"):
        filters.append(f"aformat=channel_layouts={_OPUS_LAYOUTS if encoder == 'libopus' else _LAYOUTS}")
    if filters:
        options.append(("filter", ",".join(filters)))
    if encoder == "aac":
        options.append(("b", f"{96 * channels if channels else 320}k"))
    if encoder == "libopus":
        options.append(("b", f"{64 * channels if channels else 256}k"))
    told = "; ".join(filter(None, (why, mending.drift)))
    return Coder(
        encoder, tuple(options), f"sound re-encoded to {encoder.removeprefix('lib').upper()}: {told}"
    )


def _packet_options(codec: str, mending: _Mending) -> tuple[tuple[str, str], ...]:
    """Filters of packets that are copied."""
    filters = list(mending.packets)  # first, since they count packets
    if codec == "aac":
        filters.append("aac_adtstoasc")  # by name: one damaged packet would end the muxer
    return (("bsf", ",".join(filters)),) if filters else ()


def _pcm_channels(stream: AudioStream) -> int:
    """Channels of PCM by its bit rate; 0 for other codecs."""
    context = stream.codec_context
    bits = re.match(r"pcm_[a-z]+(\d+)", context.name) if context else None
    if context is None or bits is None or not context.sample_rate:
        return 0
    return round((context.bit_rate or 0) / context.sample_rate / int(bits[1]))


def _is_flac_sample(codec: str) -> bool:
    bits = re.match(r"pcm_s(\d+)", codec)
    return bits is not None and int(bits[1]) <= _MOST_FLAC_BITS
