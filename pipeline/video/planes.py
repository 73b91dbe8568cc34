"""Frames as planes of samples at the depth, sampling and range of their file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from pipeline.clip import F32

Samples = npt.NDArray[Any]
"""uint8, or uint16 beyond 8 bits."""
Box = tuple[int, int, int, int]
"""x0, y0, x1, y1."""

_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
"""Kr and Kb of each matrix of ITU-T H.273, table 4."""
_UNTAGGED, _FULL = 6, 2
_DEPTHS = (8, 10, 12, 16)
_ROUNDING = 262144 | 4  # swscale: accurate rounding, bicubic


@dataclass(frozen=True)
class Layout:
    """What the planes of a frame are. matrix: ITU-T H.273; 0 for RGB, whose planes are R, G and B."""

    bits: int
    columns: int = 1  # pixels across and down for each sample of colour
    rows: int = 1
    matrix: int = 0
    full: bool = True  # False: limited range
    alpha: bool = False

    @property
    def is_rgb(self) -> bool:
        """True where there is no luma."""
        return self.matrix == 0

    @property
    def format(self) -> str:
        """FFmpeg's name of the pixel format."""
        deep = "" if self.bits == 8 else f"{self.bits}le"
        if self.is_rgb:
            return f"gbr{'a' if self.alpha else ''}p{deep}"
        sampling = {(1, 1): "444", (2, 1): "422", (2, 2): "420"}[self.columns, self.rows]
        return f"yuv{'a' if self.alpha else ''}{sampling}p{deep}"

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """Type of a sample."""
        return np.uint8 if self.bits == 8 else np.uint16

    @property
    def top(self) -> int:
        """The largest sample."""
        return (1 << self.bits) - 1

    @property
    def luma(self) -> tuple[float, float]:
        """Samples of black and from there to white, of luma or of R, G and B."""
        unit = 1 << (self.bits - 8)
        return (0.0, float(self.top)) if self.full else (16.0 * unit, 219.0 * unit)

    @property
    def chroma(self) -> tuple[float, float]:
        """Samples of no colour, and the span of -0.5 to 0.5."""
        return float(1 << (self.bits - 1)), self.luma[1] if self.full else 224.0 * (1 << (self.bits - 8))


@dataclass(frozen=True)
class Planes:
    """One frame, upright: luma and two of chroma, or R, G and B; alpha is straight and full range."""

    samples: tuple[Samples, Samples, Samples]  # [H,W], then [h,w] twice, or three times [H,W]
    layout: Layout
    alpha: Samples | None = None  # [H,W]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        height, width = self.samples[0].shape
        return width, height


def layout_of(frame: VideoFrame, turned: bool = False) -> Layout:
    """The layout in which a decoded frame is kept. turned: rows become columns.

    Kinds that are none of 4:2:0, 4:2:2, 4:4:4 and RGB, or have another depth, take the next larger one.
    """
    parts, name = frame.format.components, frame.format.name
    bits = min((depth for depth in _DEPTHS if depth >= max(part.bits for part in parts)), default=16)
    alpha = any(part.is_alpha for part in parts)
    if is_rgb(name) or len(parts) < 3:
        return Layout(bits, alpha=alpha)
    ratio = 64 // (frame.format.chroma_width(64) or 64), 64 // (frame.format.chroma_height(64) or 64)
    if ratio not in ((1, 1), (2, 1), (2, 2)) or (turned and ratio == (2, 1)):
        ratio = (1, 1)
    if alpha and bits == 12 and ratio == (2, 2):
        bits = 16
    matrix = int(frame.colorspace)
    full = int(frame.color_range) == _FULL or name.startswith("yuvj")
    return Layout(bits, *ratio, matrix if matrix in _WEIGHTS else _UNTAGGED, full, alpha)


def white_of_rgb48(name: str) -> int:
    """White in FFmpeg's conversion to 16-bit RGB; for luma and chroma it is 255 x 256 + 3."""
    return 65535 if is_rgb(name) else 65283


def is_rgb(name: str) -> bool:
    """Whether a pixel format of FFmpeg has red, green and blue."""
    return any(part in name for part in ("rgb", "bgr", "gbr", "pal8", "bayer", "xyz", "x2"))


def planes_of(frame: VideoFrame, layout: Layout, size: tuple[int, int]) -> Planes:
    """The samples of a decoded frame; one of another size is fitted in, with black bars."""
    width, height = size
    if (frame.width, frame.height) == size:
        return _read(frame, layout, width, height)
    scale = min(width / frame.width, height / frame.height)
    # Whole samples of chroma, so that the bars are of one colour.
    inner_width = max(2, min(width, 2 * round(frame.width * scale / 2)))
    inner_height = max(2, min(height, 2 * round(frame.height * scale / 2)))
    inner = _read(frame, layout, inner_width, inner_height)
    left, top = (width - inner_width) // 4 * 2, (height - inner_height) // 4 * 2
    whole = black(layout, size)
    return placed(whole, inner, left, top)


def placed(whole: Planes, part: Planes, left: int, top: int) -> Planes:
    """The frame with `part` at (left, top), which are multiples of its chroma's steps."""
    samples = [plane.copy() for plane in whole.samples]
    for number, (plane, new) in enumerate(zip(samples, part.samples)):
        x, y = (left, top) if number == 0 else (left // whole.layout.columns, top // whole.layout.rows)
        plane[y : y + new.shape[0], x : x + new.shape[1]] = new
    alpha = whole.alpha
    if alpha is not None and part.alpha is not None:
        alpha = alpha.copy()
        alpha[top : top + part.alpha.shape[0], left : left + part.alpha.shape[1]] = part.alpha
    return Planes((samples[0], samples[1], samples[2]), whole.layout, alpha)


def black(layout: Layout, size: tuple[int, int]) -> Planes:
    """A black frame, opaque."""
    width, height = size
    small = (-(-height // layout.rows), -(-width // layout.columns))
    dark, neutral = round(layout.luma[0]), round(layout.chroma[0])
    first = np.full((height, width), dark, layout.dtype)
    others = [np.full(small, dark if layout.is_rgb else neutral, layout.dtype) for _ in range(2)]
    alpha = np.full((height, width), layout.top, layout.dtype) if layout.alpha else None
    return Planes((first, others[0], others[1]), layout, alpha)


def _read(frame: VideoFrame, layout: Layout, width: int, height: int) -> Planes:
    same = frame.format.name.replace("yuvj", "yuv") == layout.format
    if not same or (frame.width, frame.height) != (width, height):
        bounds = None if layout.is_rgb else (2 if layout.full else 1)
        frame = frame.reformat(
            width=width,
            height=height,
            format=layout.format,
            interpolation=_ROUNDING,
            src_color_range=bounds,
            dst_color_range=bounds,
            threads=1,
        )
    found = []
    for plane in frame.planes:
        data: Any = plane
        rows = np.frombuffer(data, layout.dtype).reshape(plane.height, -1)
        found.append(rows[:, : plane.width].copy())
    if layout.is_rgb:  # FFmpeg's order is G, B, R
        found[:3] = [found[2], found[0], found[1]]
    return Planes((found[0], found[1], found[2]), layout, found[3] if layout.alpha else None)


def frame_of(planes: Planes) -> VideoFrame:
    """The samples as a frame of FFmpeg, with its range and matrix as tags."""
    layout = planes.layout
    frame = VideoFrame(*planes.size, layout.format)
    samples: list[Samples] = list(planes.samples)
    if layout.is_rgb:
        samples = [samples[1], samples[2], samples[0]]
    if planes.alpha is not None:
        samples.append(planes.alpha)
    for plane, source in zip(frame.planes, samples, strict=True):
        rows = np.zeros((plane.height, plane.line_size // source.itemsize), source.dtype)
        rows[:, : plane.width] = source
        plane.update(rows.tobytes())
    frame.color_range = 2 if layout.full else 1
    frame.colorspace = layout.matrix
    return frame


def turned(planes: Planes, orientation: tuple[bool, bool, bool]) -> Planes:
    """The frame turned: transposed, then columns mirrored, then rows."""
    transpose, columns, rows = orientation

    def turn(plane: Samples) -> Samples:
        plane = plane.T if transpose else plane
        return np.ascontiguousarray(plane[:: -1 if rows else 1, :: -1 if columns else 1])

    first, second, third = (turn(plane) for plane in planes.samples)
    return replace(
        planes, samples=(first, second, third), alpha=None if planes.alpha is None else turn(planes.alpha)
    )


def aligned(box: Box, layout: Layout, size: tuple[int, int]) -> Box:
    """The box grown to whole samples of chroma, within the frame."""
    x0, y0, x1, y1 = box
    across, down = layout.columns, layout.rows
    return (
        x0 // across * across,
        y0 // down * down,
        min(-(-x1 // across) * across, size[0]),
        min(-(-y1 // down) * down, size[1]),
    )


def cut(planes: Planes, box: Box) -> Planes:
    """The part of a frame in a box that is `aligned`; a view."""
    x0, y0, x1, y1 = box
    across, down = planes.layout.columns, planes.layout.rows
    chroma = slice(y0 // down, -(-y1 // down)), slice(x0 // across, -(-x1 // across))
    first, second, third = planes.samples
    alpha = None if planes.alpha is None else planes.alpha[y0:y1, x0:x1]
    return Planes((first[y0:y1, x0:x1], second[chroma], third[chroma]), planes.layout, alpha)


def rgb_of(planes: Planes) -> F32:
    """R', G', B' as float32 [H,W,3], black 0 and white 1, not clipped; chroma repeated over its pixels."""
    layout = planes.layout
    offset, span = layout.luma
    if layout.is_rgb:
        stacked: F32 = np.stack(planes.samples, axis=-1).astype(np.float32)
        return (stacked - np.float32(offset)) / np.float32(span)
    height, width = planes.samples[0].shape
    neutral, wide = layout.chroma
    luma = (planes.samples[0].astype(np.float32) - np.float32(offset)) / np.float32(span)
    blue, red = (
        np.repeat(np.repeat(plane, layout.rows, 0), layout.columns, 1)[:height, :width].astype(np.float32)
        for plane in planes.samples[1:]
    )
    values = np.stack([luma, (blue - neutral) / wide, (red - neutral) / wide], axis=-1).astype(np.float32)
    return np.asarray(cv2.transform(values, np.linalg.inv(_forward(layout.matrix))), np.float32)


def planes_of_rgb(rgb: F32, layout: Layout, alpha: npt.NDArray[np.float32] | None = None) -> Planes:
    """The samples of R', G', B' [H,W,3]; chroma is the mean over its pixels. alpha: [H,W] in [0,1]."""
    offset, span = layout.luma
    if layout.is_rgb:
        first, second, third = (_samples(offset + span * rgb[..., part], layout) for part in range(3))
    else:
        values = np.asarray(cv2.transform(np.ascontiguousarray(rgb), _forward(layout.matrix)))
        neutral, wide = layout.chroma
        first = _samples(offset + span * values[..., 0], layout)
        second, third = (
            _samples(neutral + wide * block_mean(values[..., part], layout), layout) for part in (1, 2)
        )
    deep = None if alpha is None else _samples(layout.top * alpha, layout)
    return Planes((first, second, third), layout, deep)


def changed_by(planes: Planes, change: F32) -> Planes:
    """The frame with `change` [H,W,3] added to its R', G', B'. Where that is zero no sample changes."""
    layout = planes.layout
    span = layout.luma[1]
    if layout.is_rgb:
        parts = [(plane, span * change[..., at]) for at, plane in enumerate(planes.samples)]
    else:
        values = np.asarray(cv2.transform(np.ascontiguousarray(change), _forward(layout.matrix)))
        parts = [(planes.samples[0], span * values[..., 0])]
        parts += [
            (planes.samples[at], layout.chroma[1] * block_mean(values[..., at], layout)) for at in (1, 2)
        ]
    first, second, third = (_samples(plane + moved, layout) for plane, moved in parts)
    return replace(planes, samples=(first, second, third))


def block_mean(values: npt.NDArray[Any], layout: Layout) -> F32:
    """The mean [h,w] of values [H,W] over the pixels of each sample of chroma."""
    across, down = layout.columns, layout.rows
    if (across, down) == (1, 1):
        return values
    height, width = values.shape
    padded = np.pad(values, ((0, -height % down), (0, -width % across)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // down, down, padded.shape[1] // across, across)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)


def to_layout(planes: Planes, layout: Layout) -> Planes:
    """The frame in another layout: depth, range, sampling, RGB or luma and chroma, with alpha or on black.

    Samples that both have in common stay the same, but for the depth.
    """
    if planes.alpha is not None and not layout.alpha:
        planes = over_black(planes)
    if planes.alpha is None and layout.alpha:
        opaque = np.full(planes.size[::-1], planes.layout.top, planes.layout.dtype)
        planes = replace(planes, layout=replace(planes.layout, alpha=True), alpha=opaque)
    if planes.layout.is_rgb != layout.is_rgb or planes.layout.matrix != layout.matrix:
        alpha = None if planes.alpha is None else planes.alpha.astype(np.float32) / planes.layout.top
        return planes_of_rgb(rgb_of(planes), layout, alpha)
    samples = [
        _rescaled(plane, planes.layout, layout, number > 0 and not layout.is_rgb)
        for number, plane in enumerate(planes.samples)
    ]
    width, height = planes.size
    steps = (planes.layout.columns, planes.layout.rows)
    if steps != (layout.columns, layout.rows):
        samples[1:] = [_resampled(plane, steps, layout, (width, height)) for plane in samples[1:]]
    ratio = np.float32(layout.top / planes.layout.top)
    moved = None if planes.alpha is None else _samples(planes.alpha * ratio, layout)
    return Planes((samples[0], samples[1], samples[2]), layout, moved)


def over_black(planes: Planes) -> Planes:
    """The frame without alpha, as it looks on black."""
    if planes.alpha is None:
        return planes
    layout = replace(planes.layout, alpha=False)
    alpha = planes.alpha.astype(np.float32) / planes.layout.top
    dark = layout.luma[0]
    small = alpha if layout.is_rgb else block_mean(alpha, layout)
    rest = dark if layout.is_rgb else layout.chroma[0]
    first, second, third = planes.samples
    return Planes(
        (
            _samples(dark + alpha * (first - np.float32(dark)), layout),
            _samples(rest + small * (second - np.float32(rest)), layout),
            _samples(rest + small * (third - np.float32(rest)), layout),
        ),
        layout,
    )


def _rescaled(plane: Samples, old: Layout, new: Layout, is_chroma: bool) -> Samples:
    (zero, span), (offset, wide) = (old.chroma, new.chroma) if is_chroma else (old.luma, new.luma)
    if (zero, span) == (offset, wide):
        return plane
    return _samples((plane - np.float32(zero)) * np.float32(wide / span) + np.float32(offset), new)


def _resampled(plane: Samples, steps: Sequence[int], layout: Layout, size: tuple[int, int]) -> Samples:
    """A plane of chroma at the sampling of `layout`; centres of samples stay where they are."""
    width, height = size
    if steps[0] > layout.columns or steps[1] > layout.rows:
        across, down = steps[0] // layout.columns, steps[1] // layout.rows
        wide = (plane.shape[1] * across, plane.shape[0] * down)
        large = np.asarray(cv2.resize(plane, wide, interpolation=cv2.INTER_LINEAR))
        return large[: -(-height // layout.rows), : -(-width // layout.columns)]
    return _samples(block_mean(plane.astype(np.float32), layout), layout)


def _forward(matrix: int) -> npt.NDArray[np.float64]:
    """[3,3] from R', G', B' to Y', Cb, Cr (ITU-T H.273, equations 38 to 40)."""
    red, blue = _WEIGHTS[matrix]
    luma = np.array([red, 1.0 - red - blue, blue])
    cb = (np.array([0.0, 0.0, 1.0]) - luma) / (2.0 * (1.0 - blue))
    cr = (np.array([1.0, 0.0, 0.0]) - luma) / (2.0 * (1.0 - red))
    return np.stack([luma, cb, cr])


def _samples(values: npt.NDArray[Any], layout: Layout) -> Samples:
    rounded: Samples = np.clip(np.rint(values), 0, layout.top).astype(layout.dtype)
    return rounded
