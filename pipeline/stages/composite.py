"""Rendered crops go back into their frames, through the exact inverse of the crop, inside a soft mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, F64, I64, U8, Clip, Crops
from pipeline.request.settings import CompositeSettings
from pipeline.video.masks import crop_mask, visible_change
from pipeline.video.temporal_stabilization import TemporalStabilizer
from pipeline.video.warp import Box, back_box, warp_back

Hold = Callable[[F32, npt.NDArray[np.bool_], Box], F32]
"""Called as hold(layer [h,w,4], where it is shown [h,w], box); returns the averaged layer."""


class Rows(Protocol):
    """Images by row: an array, a cached array on disk, or anything that computes them when asked."""

    def __getitem__(self, row: int, /) -> Any: ...


def composite(
    clip: Clip,
    crops: Crops,
    rendered: Rows,
    rows: Mapping[int, int] | I64,
    masks: Rows | None,
    settings: CompositeSettings,
    start: int = 0,
    stop: int | None = None,
    plain: Rows | None = None,
    held: npt.NDArray[np.bool_] | None = None,
) -> Iterator[U8]:
    """Yield the full frames [start, stop), uint8 [H,W,3], with each rendered crop blended in, one by one.

    rendered: by row, uint8 [S,S,3]. masks: by row, [S,S] uint8 (0 to 255) or float (0 to 1), how much of the
    render to show; None takes the whole crop with a border `settings.feather` crop widths wide. plain: by
    row, the render of the frame as it was found; then only what differs from it is taken over (see `blend`).
    held: by row, whether the overlay is averaged with the previous one (`TemporalStabilizer`); None: never.
    rows: the row of each source frame, as a mapping or an array [T] (-1 for none). S may differ from the size
    of `crops`. A frame without a row or a crop is passed on as it is; where the mask is 0 the pixels are the
    source's to the bit.
    """
    whole: U8 | None = None
    stabilizer = TemporalStabilizer()
    for index, frame in enumerate(clip.frames(start, stop), start):
        row = _row(rows, index)
        affine = crops.affine[index]
        if row < 0 or not np.isfinite(affine).all():
            yield frame
            continue
        picture = np.asarray(rendered[row])
        if masks is None:
            if whole is None or whole.shape[0] != picture.shape[0]:
                whole = crop_mask(picture.shape[0], settings.feather)
            mask: npt.NDArray[Any] = whole
        else:
            mask = np.asarray(masks[row])
        without = None if plain is None else np.asarray(plain[row])
        hold = None if held is None else partial(stabilizer, index, frame, held=bool(held[row]))
        yield blend(frame, picture, mask, affine, crops.size, without, hold)


def blend(
    frame: U8,
    picture: U8,
    mask: npt.NDArray[Any],
    affine: F64,
    size: int,
    plain: U8 | None = None,
    hold: Hold | None = None,
) -> U8:
    """One frame [H,W,3] with one rendered crop [S,S,3] in its mask [S,S]; `affine` made a crop of `size` px.

    With `plain`, the crop as it was found, the frame takes the render where an edit or a removal visibly
    changes it, and elsewhere only the difference that it makes: it keeps detail that no render has. `hold`
    may put another layer in the place of that, before the mask.
    Returns `frame` itself where the mask shows nothing of the render.
    """
    weights = mask.astype(np.float32) / 255.0 if mask.dtype == np.uint8 else mask.astype(np.float32)
    height, width = frame.shape[:2]
    region = _support(weights)
    if region is None:
        return frame
    to_mask = affine * (weights.shape[0] / size)
    box = back_box(to_mask, region, width, height)
    if box is None:
        return frame
    alpha = warp_back(weights, to_mask, box, padding="zeros")
    # The low pass before a minification spreads the mask a little; it must not grow by that.
    shown = warp_back((weights > 0).astype(np.float32), to_mask, box, padding="zeros", antialias=False)
    inside = (alpha > 0) & (shown > 0)
    pixels = warp_back(picture, affine * (picture.shape[0] / size), box)
    x0, y0, x1, y1 = box
    part = frame[y0:y1, x0:x1]
    replaced, taken = part.astype(np.float32), np.ones((*part.shape[:2], 1), np.float32)
    if plain is not None:
        without = warp_back(plain, affine * (plain.shape[0] / size), box)
        taken = warp_back(visible_change(picture, plain), affine * (picture.shape[0] / size), box)[..., None]
        replaced = without + taken * (replaced - without)
    difference = pixels - replaced
    if hold is not None:
        layer = np.concatenate([difference + taken * part, taken], axis=-1)
        moved = hold(layer, inside, box) - layer
        difference = difference + moved[..., :3] - moved[..., 3:] * part
    mixed = part + alpha[..., None] * difference
    out = frame.copy()
    out[y0:y1, x0:x1][inside] = np.clip(np.rint(mixed[inside]), 0, 255).astype(np.uint8)
    return out


def _row(rows: Mapping[int, int] | I64, index: int) -> int:
    if isinstance(rows, Mapping):
        return int(rows.get(index, -1))
    return int(rows[index]) if index < len(rows) else -1


def _support(weights: npt.NDArray[np.float32]) -> tuple[float, float, float, float] | None:
    """Bounds (x0, y0, x1, y1) of what a bilinear sample of the mask can see, or None for an empty mask."""
    columns, lines = np.flatnonzero(weights.any(axis=0)), np.flatnonzero(weights.any(axis=1))
    if len(columns) == 0:
        return None
    return columns[0] - 0.5, lines[0] - 0.5, columns[-1] + 1.5, lines[-1] + 1.5
