"""Comparison videos: frames side by side under labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.clip import U8

_BACKGROUND, _INK = 24, 235


def side_by_side(streams: Sequence[Iterable[U8]], labels: Sequence[str]) -> Iterator[U8]:
    """Yield the streams' frames (uint8 [H,W,3]) in a row under a bar of labels.

    Frames are scaled to the height of the first. Width and height are padded to even numbers, which every
    codec takes. Ends with the shortest stream. Raises ValueError unless each stream has a label.
    """
    if not streams or len(streams) != len(labels):
        raise ValueError(f"{len(streams)} streams but {len(labels)} labels")
    bar: U8 | None = None
    for row in zip(*streams):
        height = row[0].shape[0]
        panels = [_scaled(panel, height) for panel in row]
        if bar is None:
            bar = _label_bar([panel.shape[1] for panel in panels], labels, height)
        yield _even(np.concatenate([bar, np.concatenate(panels, axis=1)], axis=0))


def _scaled(panel: U8, height: int) -> U8:
    if panel.shape[0] == height:
        return panel
    width = max(1, round(panel.shape[1] * height / panel.shape[0]))
    way = cv2.INTER_AREA if height < panel.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(panel, (width, height), interpolation=way), np.uint8)


def _label_bar(widths: list[int], labels: Sequence[str], height: int) -> U8:
    size = max(11, min(28, height // 24))
    font = ImageFont.load_default(size)  # outlines inside Pillow; no font file
    bar = Image.new("RGB", (sum(widths), 2 * size), (_BACKGROUND,) * 3)
    draw = ImageDraw.Draw(bar)
    left = 0
    for width, label in zip(widths, labels):
        text = label
        while len(text) > 1 and draw.textlength(text, font=font) > width - size:
            text = text[:-2].rstrip() + "…"
        draw.text((left + width / 2, size), text, fill=(_INK,) * 3, font=font, anchor="mm")
        left += width
    return np.asarray(bar, np.uint8)


def _even(frame: U8) -> U8:
    height, width = frame.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return frame
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), constant_values=_BACKGROUND)
