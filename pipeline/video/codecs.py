"""Output codecs: encoder, pixel format, options and colour tags."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Protocol

import av

from pipeline.errors import UnknownNameError, UserError
from pipeline.video.hdr_metadata import x264_words, x265_words
from pipeline.video.pictures import SUFFIXES as PICTURE_SUFFIXES
from pipeline.video.planes import Layout


class Encoding(Protocol):
    """Codec settings of an output file (`pipeline.request.settings.EncodeSettings`)."""

    @property
    def codec(self) -> str:
        """`h264`, `hevc`, `prores`, `ffv1` or `vp9`; or a format of pictures."""

    @property
    def quality(self) -> int | None:
        """CRF of h264, hevc and vp9; None takes the default here."""

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
    "vp9": (".webm", ".mkv"),
    **{form: (suffix,) for form, suffix in PICTURE_SUFFIXES.items()},
}
FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
DEPTHS = {
    "auto": 12,
    "h264": 10,
    "hevc": 12,
    "prores": 10,
    "ffv1": 16,
    "vp9": 12,
    "png": 16,
    "tiff": 16,
    "jpeg": 8,
    "webp": 8,
    "avif": 8,
}
"""Most bits a channel that each codec is written with."""
_DEEP_CRF = {"libx264": "6", "libx265": "10", "libvpx-vp9": "6"}
"""Default CRF beyond 8 bits: what is not edited differs by about one code of 10 bits on average."""
WITH_ALPHA = ("prores", "ffv1", "vp9", "png", "tiff", "webp", "avif")
"""Codecs that are written with alpha."""
_EIGHT_BIT_ALPHA = ("vp9",)
"""Codecs of more bits that have alpha at 8 only: beyond, FFmpeg writes that of VP9 as an experiment."""
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
    if settings.codec == "vp9":
        return Encoder("libvpx-vp9", "yuv420p", _vp9_options(settings.quality))
    _suffixes(settings.codec)
    return Encoder("ffv1", "bgr0", {"level": "3", "slicecrc": "1"})


def _vp9_options(quality: int | None) -> dict[str, str]:
    """Options of libvpx. The default CRF has the PSNR of CRF 16 of x264 on a sample with grain."""
    crf = 14 if quality is None else quality
    # Bit rate 0: CRF alone decides. Without hidden reference frames, of which colour and alpha would each
    # choose their own.
    options = {"crf": str(crf), "b": "0", "cpu-used": "4", "row-mt": "1", "auto-alt-ref": "0"}
    return options | ({"lossless": "1"} if crf == 0 else {})


def holds_alpha(codec: str, bits: int) -> bool:
    """Whether a codec takes a clip of so many bits a channel and keeps its alpha."""
    if codec not in WITH_ALPHA:
        return False
    return bits <= 8 or (DEPTHS[codec] > 8 and codec not in _EIGHT_BIT_ALPHA)


def check_depth(codec: str, bits: int) -> None:
    """Raise UserError where a codec has 8 bits and the clip has more; the message lists those that do."""
    if bits > 8 >= DEPTHS[codec]:
        others = ", ".join(name for name, most in DEPTHS.items() if most > 8 and name != "auto")
        raise UserError(f"--codec {codec} holds 8 bits a channel, and the clip has {bits}; give {others}")


def deep_layout(codec: str, layout: Layout, width: int, height: int, primaries: int) -> Layout:
    """What a film codec is written with for frames of a layout.

    The same but for what the codec does not hold: bits, alpha, RGB, and halves of odd sizes. primaries: of
    the source, which choose the matrix where RGB becomes luma and chroma.
    """
    if codec == "ffv1":
        return layout
    if layout.is_rgb:
        layout = replace(layout, matrix=9 if primaries == 9 else 1, full=False)
    layout = replace(layout, bits=min(layout.bits, DEPTHS[codec]))
    columns = 1 if width % layout.columns else layout.columns
    if codec == "prores":
        alpha = layout.alpha
        return replace(layout, bits=10, columns=1 if alpha or width % 2 else columns, rows=1, full=False)
    if codec == "vp9":  # which has half samples of chroma at the edge of odd sizes, and alpha at 4:2:0
        if layout.alpha and layout.bits == 8:
            return replace(layout, columns=2, rows=2)
        return replace(layout, alpha=False)
    odd = width % layout.columns or height % layout.rows
    return replace(layout, alpha=False, columns=1 if odd else columns, rows=1 if odd else layout.rows)


def deep_encoder(settings: Encoding, layout: Layout, suffix: str, color: dict[str, Any]) -> Encoder:
    """Encoder for frames of a layout that `deep_layout` gave; color: the source's, for its HDR metadata."""
    found = encoder_for(settings, 2, 2, suffix)
    options = dict(found.options)
    if settings.quality is None and layout.bits > 8 and found.name in _DEEP_CRF:
        options["crf"] = _DEEP_CRF[found.name]
    if found.name == "libx264":
        if words := x264_words(color):
            options["x264-params"] = ":".join(words)
        if settings.quality == 0:
            options["qp"] = options.pop("crf")  # CRF 0 is lossless at 8 bits only
    elif found.name == "libx265":
        words = [options["x265-params"], *x265_words(color)]
        words += ["lossless=1"] if settings.quality == 0 else []
        options["x265-params"] = ":".join(words)
    elif found.name == "prores_ks" and layout.columns == 1:
        options = {"profile": "4444"}
    name = "bgra" if layout.is_rgb and layout.bits == 8 else layout.format
    return replace(found, pixel_format=name, options=options)


def needs_program(encoder: Encoder, aspect: Fraction) -> bool:
    """Whether FFmpeg's own program must encode, since PyAV cannot.

    That is where PyAV's library lacks the pixel format, and for pixels of VP9 that are not square: their
    shape is the container's alone, and PyAV does not set it.
    """
    if encoder.name != "libvpx-vp9":
        return False
    if aspect != 1:
        return True
    known = av.Codec(encoder.name, "w").video_formats or []
    return encoder.pixel_format not in [form.name for form in known]


def holds_mastering(encoder: Encoder) -> bool:
    """Whether an encoder writes the metadata of a mastering display."""
    return encoder.name in ("libx264", "libx265")


def sampling_of(pixel_format: str) -> tuple[int, int]:
    """Pixels across and down for each sample of colour; (1, 1) for RGB."""
    found = av.VideoFormat(pixel_format)
    if _is_rgb({"format": pixel_format}) or len(found.components) < 3:
        return 1, 1
    return 64 // (found.chroma_width(64) or 64), 64 // (found.chroma_height(64) or 64)


def deep_color(source: dict[str, Any], layout: Layout, was_rgb: bool) -> OutputColor:
    """Colour tags for frames of a layout; those of the source, but for what has changed with the layout."""
    primaries = int(source.get("primaries", _UNSPECIFIED))
    transfer = int(source.get("transfer", _UNSPECIFIED))
    bounds = _FULL if layout.full else _LIMITED
    matrix = int(source.get("matrix", _UNSPECIFIED))
    if layout.is_rgb:
        matrix = 0
    elif was_rgb or matrix not in (*_SWS_MATRIX, _UNSPECIFIED):
        matrix = layout.matrix
        primaries = _BT709 if primaries == _UNSPECIFIED else primaries
        transfer = _BT709 if transfer == _UNSPECIFIED else transfer
    return OutputColor(matrix, bounds, primaries, transfer, layout.matrix, bounds)


def full_range_layout(pixel_format: str, color: OutputColor) -> Layout | None:
    """How 8-bit RGB becomes full-range luma and chroma; None for others, which FFmpeg's scaler converts.

    The scaler truncates full range: levels move by up to one.
    """
    if color.sws_range != _FULL or not pixel_format.startswith("yuv"):
        return None
    matrix = {1: 1, 4: 4, 5: 6, 7: 7, 9: 9}[color.sws_matrix]
    return Layout(8, *sampling_of(pixel_format), matrix, True)


def output_color(source: dict[str, Any], pixel_format: str, is_sdr: bool = True) -> OutputColor:
    """Colour tags of 8-bit frames: the source's, so that players show both files alike.

    An untagged source stays untagged and is converted by BT.601, as it was read; RGB sources become BT.709,
    and so does what is shown of high dynamic range (`is_sdr` False).
    """
    if not is_sdr:
        source = {
            "matrix": _BT709,
            "range": _LIMITED,
            "primaries": _BT709,
            "transfer": _BT709,
            "format": "yuv",
        }
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
        raise UnknownNameError(
            f"unknown codec '{codec}'; known: {', '.join(_SUFFIXES)}; {', '.join(WITH_ALPHA)} hold alpha"
        )
    return _SUFFIXES[codec]
