"""Renders laid over 8-bit frames as tests ask for it: a clip's, and a single one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.clip import F64, I64, U8, Clip, Crops
from pipeline.request.settings import CompositeSettings
from pipeline.stages.composite import Hold, Overlays, overlay_of
from pipeline.stages.pixels import Rows


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
    """Yield the full frames [start, stop), uint8 [H,W,3], with each render; arguments as for `Overlays`.

    A frame without a row or a crop is passed on as it is.
    """
    overlays = Overlays(crops, rendered, rows, masks, settings, (clip.width, clip.height), plain, held)
    for index, frame in enumerate(clip.frames(start, stop), start):
        overlay = overlays.at(index, partial(np.asarray, frame))
        yield frame if overlay is None else overlay.over(frame)


def blend(
    frame: U8,
    picture: U8,
    mask: npt.NDArray[Any],
    affine: F64,
    size: int,
    plain: U8 | None = None,
    hold: Hold | None = None,
) -> U8:
    """One frame [H,W,3] with one rendered crop; arguments as for `overlay_of`.

    Returns `frame` itself where the mask shows nothing of the render.
    """
    overlay = overlay_of(picture, mask, affine, size, (frame.shape[1], frame.shape[0]), plain, hold)
    return frame if overlay is None else overlay.over(frame)
