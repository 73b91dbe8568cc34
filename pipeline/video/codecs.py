"""Output codecs: encoder, pixel format, options and colour tags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.errors import UnknownNameError, UserError
from pipeline.video.pictures import SUFFIXES as PICTURE_SUFFIXES


class Encoding(Protocol):
    """Codec settings of an output file (`pipeline.request.settings.EncodeSettings`)."""

    @property
    def codec(self) -> str:
        """`h264`, `hevc`, `prores` or `ffv1`; or a format of pictures."""

    @property
    def quality(self) -> int | None:
        """CRF of h264 and hevc; None takes the default here."""

    @property
    def keep_location(self) -> bool:
        """Whether the output may say where the source was recorded."""


@dataclass(frozen=True)
class OutputColor:
    """Tags of the stream (ITU-T H.273 numbers) and the conversion from RGB (swscale's numbers)."""

    matrix: int
    range: int
    primaries: int
    transfer: int
    sws_matrix: int
    sws_range: int


@dataclass(frozen=True)
class Encoder:
    """FFmpeg encoder with its pixel format and options."""

    name: str
    pixel_format: str
    options: dict[str, str]
    tag: str | None = None


_SUFFIXES = {
    "auto": (".mp4", ".mov", ".mkv"),
    "h264": (".mp4", ".mov", ".mkv"),
    "hevc": (".mp4", ".mov", ".mkv"),
    "prores": (".mov", ".mkv"),
    "ffv1": (".mkv",),
    **{form: (suffix,) for form, suffix in PICTURE_SUFFIXES.items()},
}
FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
_SWS_MATRIX = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
# Without B-frames: MP4 stores durations in decoding order, so with them the duration of the last picture is
# lost, and the start needs an edit list, which some readers ignore.
_NO_REORDERING = {"bf": "0"}
_BT709, _UNSPECIFIED, _LIMITED, _FULL, _SWS_BT601 = 1, 2, 1, 2, 5


def suffix_for(codec: str) -> str:
    """Default file suffix of a codec; raises UnknownNameError, which lists the known codecs."""
    return _suffixes(codec)[0]


def check_suffix(codec: str, suffix: str) -> None:
    """Raise UserError unless files with this suffix can hold the codec."""
    if suffix.lower() not in _suffixes(codec):
        raise UserError(
            f"{codec} cannot be written to a '{suffix}' file; name it {' or '.join(_suffixes(codec))}"
        )


def encoder_for(settings: Encoding, width: int, height: int, suffix: str) -> Encoder:
    """Encoder for these settings and frame size; odd sizes take 4:4:4, which needs no half chroma sample."""
    odd_width, odd_height = width % 2 == 1, height % 2 == 1
    yuv = "yuv444p" if odd_width or odd_height else "yuv420p"
    tag = "hvc1" if suffix in (".mp4", ".mov") else None
    if settings.codec in ("auto", "h264"):
        crf = 16 if settings.quality is None else settings.quality
        return Encoder("libx264", yuv, {"crf": str(crf), "preset": "veryfast", **_NO_REORDERING})
    if settings.codec == "hevc":
        crf = 18 if settings.quality is None else settings.quality
        quiet = {"x265-params": "log-level=error:bframes=0"}
        return Encoder("libx265", yuv, {"crf": str(crf), "preset": "fast", **quiet}, tag)
    if settings.codec == "prores":
        if odd_width:
            return Encoder("prores_ks", "yuv444p10le", {"profile": "4444"})
        return Encoder("prores_ks", "yuv422p10le", {"profile": "hq"})
    _suffixes(settings.codec)
    return Encoder("ffv1", "bgr0", {"level": "3", "slicecrc": "1"})


def output_color(source: dict[str, Any], pixel_format: str) -> OutputColor:
    """Colour tags of the output: the source's, so that players show both files alike.

    An untagged source stays untagged and is converted by BT.601, as it was read; RGB sources become BT.709.
    """
    matrix = int(source.get("matrix", _UNSPECIFIED))
    # ProRes (the 10-bit formats here) has no range tag; decoders take it as limited.
    full = not pixel_format.endswith("10le") and _is_full(source)
    primaries = int(source.get("primaries", _UNSPECIFIED))
    transfer = int(source.get("transfer", _UNSPECIFIED))
    if pixel_format == "bgr0":
        return OutputColor(0, _FULL, primaries, transfer, _SWS_BT601, _FULL)
    if _is_rgb(source):
        return OutputColor(_BT709, _LIMITED, _BT709, _BT709, 1, _LIMITED)
    bounds = _FULL if full else _LIMITED
    if matrix == _UNSPECIFIED:
        return OutputColor(_UNSPECIFIED, bounds, primaries, transfer, _SWS_BT601, bounds)
    if matrix not in _SWS_MATRIX:
        return OutputColor(_BT709, bounds, primaries, transfer, 1, bounds)
    return OutputColor(matrix, bounds, primaries, transfer, _SWS_MATRIX[matrix], bounds)


def _is_full(source: dict[str, Any]) -> bool:
    return int(source.get("range", 0)) == _FULL or str(source.get("format", "")).startswith("yuvj")


def _is_rgb(source: dict[str, Any]) -> bool:
    name = str(source.get("format", ""))
    return not name or any(part in name for part in ("rgb", "bgr", "gbr", "pal8"))


def _suffixes(codec: str) -> tuple[str, ...]:
    if codec not in _SUFFIXES:
        raise UnknownNameError(f"unknown codec '{codec}'; known: {', '.join(_SUFFIXES)}")
    return _SUFFIXES[codec]
