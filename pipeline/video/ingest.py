"""Ingest filters: run FFmpeg filters over the input (ffmpeg-python) into a lossless copy."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import av
import ffmpeg
from av.container import InputContainer
from av.video.stream import VideoStream

from pipeline.errors import InputVideoError, OutputError, UnknownNameError
from pipeline.video.container import check_span, decoded, open_video, video_stream
from pipeline.video.depth import measured_tone
from pipeline.video.ffmpeg_binary import run_ffmpeg
from pipeline.video.rates import parse_rate
from pipeline.video.tone_map import ToneMap
from storage import file_hash

KNOWN = "deinterlace, progressive, tonemap, fps=RATE (such as fps=25 or fps=30000/1001)"
_FULL_RANGE, _UNTAGGED = 2, 2
Filter = tuple[str, dict[str, str]]
_SOURCE, _TARGET = "<source>", "<target>"
"""Stand for the files in a graph: ffmpeg-python takes no name that is not UTF-8."""


def parse_ingest(spec: str) -> tuple[str, ...]:
    """Parse a spec such as `deinterlace,tonemap,fps=25` into normalised filters, in order.

    Raises UnknownNameError for an unknown filter or an empty spec, UserError for a bad rate.
    """
    filters = []
    for part in (p.strip() for p in spec.split(",")):
        name, _, value = part.partition("=")
        if name in ("deinterlace", "progressive", "tonemap") and not value and "=" not in part:
            filters.append(name)
        elif name == "fps":
            filters.append(f"fps={parse_rate(value, 'ingest filter fps')}")
        else:
            raise UnknownNameError(f"unknown ingest filter '{part}'; known: {KNOWN}")
    return tuple(filters)


def filters_for(path: Path, spec: str) -> tuple[str, ...]:
    """The filters of a spec as they run on a video: interlaced frames are deinterlaced before all others.

    Raises UserError (spec), InputVideoError (input).
    """
    filters = parse_ingest(spec)
    if {"deinterlace", "progressive"} & set(filters):
        return filters
    with open_video(path) as container:
        first = next(decoded(container, video_stream(container, path), threads=False), None)
        return ("deinterlace", *filters) if first is not None and first.interlaced_frame else filters


def ingest(path: Path, filters: tuple[str, ...], workdir: Path) -> Path:
    """Run filters over a video; returns the path of a lossless copy in `workdir`.

    The copy is FFV1 in Matroska, with the sound copied; Matroska rounds times to 1 ms. Its name is a hash of
    the input's bytes and the filters, so an existing copy is reused. Raises InputVideoError (input),
    OutputError (no space, not writable).
    """
    with open_video(path) as container:
        stream = video_stream(container, path)
        context, index = stream.codec_context, stream.index
        untagged = {
            name: value
            for name, value, found in (
                ("primariesin", "bt2020", context.color_primaries),
                ("matrixin", "bt2020nc", context.colorspace),
            )
            if found == _UNTAGGED
        }
        is_odd = bool(context.width % 2 or context.height % 2)
        if any(name.startswith("fps=") for name in filters):
            _check_times(container, stream, path)
        is_full = context.color_range == _FULL_RANGE or str(context.pix_fmt).startswith("yuvj")
    key = hashlib.sha256(f"{file_hash(path)}:{filters}".encode()).hexdigest()[:24]
    target = workdir / f"ingest-{key}.mkv"
    if target.exists():
        return target
    tone = measured_tone(path) if "tonemap" in filters else None
    to_sdr = None if tone is None else sdr_filters(tone, untagged, "yuv444p" if is_odd else "yuv420p")
    partial = workdir / f".{target.stem}.{os.getpid()}.part.mkv"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        files = {_SOURCE: str(path.absolute()), _TARGET: str(partial.absolute())}
        _run([files.get(word, word) for word in _graph(index, filters, to_sdr, is_full)], path)
        partial.replace(target)
    except OSError as error:
        raise OutputError(
            f"{workdir}: cannot be written ({error.strerror}); choose another folder or free some space"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return target


def _check_times(container: InputContainer, stream: VideoStream, path: Path) -> None:
    """Raise InputVideoError where a gap would be filled with frames without end."""
    stamps: list[int] = []
    with contextlib.suppress(av.FFmpegError, OSError):
        stamps += [packet.pts for packet in container.demux(stream) if packet.pts is not None]
    if stamps and stream.time_base:
        check_span(path, (max(stamps) - min(stamps)) * stream.time_base)


def sdr_filters(tone: ToneMap, tags: dict[str, str], pixel_format: str) -> list[Filter]:
    """The filters that do what `ToneMap.to_sdr` does, by zscale; name and options of each.

    tags: of untagged frames, as zscale takes them.
    """
    white = {"npl": f"{tone.white:g}"}
    found: list[Filter] = [
        ("zscale", {**tags, "transfer": "linear", **white}),
        ("format", {"pix_fmts": "gbrpf32le"}),
        ("zscale", {"primaries": "bt709"}),
    ]
    if tone.is_rolled_off:
        curve = tone.eetf_expression("val/maxval")
        found += [
            ("zscale", {"transfer": "smpte2084", **white}),
            ("format", {"pix_fmts": "gbrp16le"}),
            ("lutrgb", dict.fromkeys("rgb", f"maxval*({curve})")),
        ]
    out = {"transfer": "bt709", "matrix": "bt709", "range": "limited", **white}
    return [*found, ("zscale", out), ("format", {"pix_fmts": pixel_format})]


def _graph(stream: int, filters: tuple[str, ...], to_sdr: list[Filter] | None, is_full: bool) -> list[str]:
    """to_sdr: what `tonemap` does; None for SDR."""
    source = ffmpeg.input(_SOURCE)
    picture: Any = source[str(stream)]
    for entry in filters:
        name, _, value = entry.partition("=")
        if name == "deinterlace":
            picture = picture.filter("bwdif", mode="send_frame", deint="all")
        elif name == "progressive":
            picture = picture.filter("setfield", "prog")
        elif name == "fps":
            picture = picture.filter("fps", fps=value)
        for kind, options in to_sdr or () if name == "tonemap" else ():
            picture = picture.filter(kind, **options)
    # Explicit: FFmpeg would otherwise convert full range to limited, FFV1's default.
    extent = {"color_range": "pc"} if is_full and to_sdr is None else {}
    graph = ffmpeg.output(
        picture,
        source["a?"],
        _TARGET,
        **{"c:v": "ffv1", "level": 3, "c:a": "copy", "fps_mode": "passthrough", "f": "matroska"},
        **extent,
    )
    arguments: list[str] = ffmpeg.get_args(graph)
    return arguments


def _run(arguments: list[str], path: Path) -> None:
    ran = run_ffmpeg(arguments)
    if ran.code and os.strerror(errno.ENOSPC) in ran.errors:
        raise OutputError("the disk filled up while ingesting; free some space or give another cache folder")
    if ran.code:
        raise InputVideoError(f"{path}: the ingest filters failed ({ran.reason}); try without --ingest")
