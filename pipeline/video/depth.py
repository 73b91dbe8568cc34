"""What decoded frames hold: colour tags, depth and alpha, dynamic range."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from av.video.frame import VideoFrame

from pipeline.errors import InputVideoError
from pipeline.video.container import decoded, open_video, video_stream
from pipeline.video.hdr_metadata import hdr_metadata
from pipeline.video.planes import Layout, layout_of, white_of_rgb48
from pipeline.video.tone_map import HDR, PeakMeter, ToneMap

_PEAK_STEP = 4
"""Of so many rows and columns, one is looked at for the clip's peak."""
_WIDE = (2, 9)
"""Primaries of BT.2020, and untagged ones, ITU-T H.273."""


def color_tags(frame: VideoFrame) -> dict[str, Any]:
    """Colour tags of a frame, as numbers of ITU-T H.273."""
    return {
        "matrix": int(frame.colorspace),
        "range": int(frame.color_range),
        "primaries": int(frame.color_primaries),
        "transfer": int(frame.color_trc),
        "format": frame.format.name,
        **hdr_metadata(frame),
    }


def tone_map(color: dict[str, Any], meter: PeakMeter | None) -> ToneMap | None:
    """The tone map of a clip of high dynamic range. Untagged primaries are those of BT.2020."""
    if meter is None or color["transfer"] not in HDR:
        return None
    return ToneMap(color["transfer"], color["primaries"] in _WIDE, meter.light(color["transfer"]))


def first_layout(path: Path, tone_mapped: bool = False) -> Layout | None:
    """The layout of a film's first frame, None where 8-bit RGB holds it or it cannot be read.

    tone_mapped: high dynamic range is read as SDR of 8 bits.
    """
    try:
        with open_video(path) as container:
            stream = video_stream(container, path)
            frame = next(decoded(container, stream, threads=False), None)
            if frame is None or (tone_mapped and int(frame.color_trc) in HDR):
                return None
            return own_layout(frame, False, stream.codec.canonical_name)
    except InputVideoError:
        return None


def own_layout(frame: VideoFrame, transposed: bool, codec: str) -> Layout | None:
    """How frames are kept beside their 8-bit view; None where that holds all that they have."""
    layout = layout_of(frame, transposed)
    if codec == "gif":  # always has alpha
        return None
    is_more = layout.bits > 8 or layout.alpha or (layout.full and not layout.is_rgb)
    return layout if is_more or int(frame.color_trc) in HDR else None


def see_light(frame: VideoFrame, meter: PeakMeter | None) -> PeakMeter | None:
    """Count the light of a frame of high dynamic range, one pixel of 16; returns the meter."""
    if int(frame.color_trc) not in HDR:
        return meter
    width, height = (max(1, side // _PEAK_STEP) for side in (frame.width, frame.height))
    small = frame.reformat(width, height, "rgb48le", interpolation="POINT", threads=1)
    meter = meter or PeakMeter()
    pixels: Any = small.to_ndarray()
    meter.add(pixels, white_of_rgb48(frame.format.name))
    return meter


def measured_tone(path: Path) -> ToneMap | None:
    """The tone map of a film, for which all frames are decoded; None for SDR. Raises InputVideoError."""
    color: dict[str, Any] = {}
    meter: PeakMeter | None = None
    with open_video(path) as container:
        for frame in decoded(container, video_stream(container, path)):
            color = color or color_tags(frame)
            if color["transfer"] not in HDR:
                return None
            meter = see_light(frame, meter)
    return tone_map(color, meter) if color else None
