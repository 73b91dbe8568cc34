"""What of an occluder is finer than the field that tells of it: straps of a mask, its edge, a thin rim."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, U8

REACH = 0.25
"""Crop widths around the occluder that are looked at."""
_PALETTE = 0.05
"""Crop widths over which the occluder's colour is averaged."""
_APART = 60.0
"""Least distance in levels of 255 between the occluder's colour and what is behind it."""
_ASIDE = 0.35
"""Share of a pixel's difference that may point elsewhere than to the occluder's colour."""
_PARTLY, _SURELY = 0.2, 0.5
"""Shares of the occluder's colour: of a pixel that may belong to it, and of one that does."""
_WIDTH = 0.02
"""Crop widths from which on a part beside the occluder is none of its straps or edges."""
_LEAST = 0.002
"""Share of the crop that the occluder covers at least."""
_LIKELY = 0.1
"""Mean of the soft mask over a part of the blend from which on the part is an occluder's."""
_DIFFERS, _UNSURE = 30.0, 4.0
"""Levels of 255 between source and removal from which on the soft mask counts this many times: at the tips of
fingers it is not sure.
"""
_ALIKE = 0.5
"""Size of a part beside the largest from which on it is an occluder's too, where no soft mask tells."""


def occluder_matte(
    source: U8, behind: U8, blend: npt.NDArray[Any], cover: npt.NDArray[Any] | None = None
) -> F32:
    """How far the pixels of a crop are an occluder's, [S,S] in [0,1], by their colour.

    It begins at the parts of the blend that the soft mask confirms, or at the largest ones. Beside these a
    pixel is a mixture of what is behind the occluder and of the occluder's colour near by. It counts if its
    share of that colour is large, or if it is connected to such pixels, and these to the occluder.

    Args:
        source: the crop, uint8 [S,S,3].
        behind: the same without the occluder, as it was rendered.
        blend: [h,w] in [0,1], the share of a second field. It tells of the occluder, and of what else the
            generator does not know, such as curls.
        cover: [h,w] in [0,1], an encoder's soft mask of what is not the face; None: nothing tells.
    """
    size = source.shape[0]
    found, told = _sized(blend, size), None if cover is None else _sized(cover, size)
    if told is not None:
        change = np.abs(source.astype(np.float32) - behind).max(axis=-1)
        differs = cv2.GaussianBlur(change, (0, 0), 1.5) > _DIFFERS
        found = np.maximum(found, np.where(differs, _UNSURE * told, told))
    core = cv2.morphologyEx((found > 0.5).astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    core = _occluders(np.asarray(core), told)
    if core.mean() < _LEAST:
        return np.zeros((size, size), np.float32)
    share = _share(source.astype(np.float32), behind.astype(np.float32), core)
    away = cv2.distanceTransform(1 - core, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    share[away > REACH * size] = 0.0
    # Two pixels of a gap: a strap is thinner than a pixel in places.
    bridged = cv2.dilate(((share > _PARTLY) | (core > 0)).astype(np.uint8), np.ones((5, 5), np.uint8))
    _, parts = cv2.connectedComponents(bridged, connectivity=8)
    own = np.isin(parts, np.unique(parts[core > 0])) & ((share > _PARTLY) | (core > 0))
    _, parts = cv2.connectedComponents(own.astype(np.uint8), connectivity=8)
    sure = np.unique(parts[own & ((share > _SURELY) | (core > 0))])
    fine = (own & np.isin(parts, sure) & (core == 0)).astype(np.uint8)
    # Wide parts are no straps: there the render's hair or shoulder hides a bright background.
    side = max(3, round(_WIDTH * size))
    wide = cv2.morphologyEx(fine, cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
    fine[cv2.dilate(wide, np.ones((side, side), np.uint8)) > 0] = 0
    kept = np.maximum(fine, core).astype(np.float32)
    # The pixel beside it is a mixture too.
    grown = cv2.GaussianBlur(cv2.dilate(kept, np.ones((3, 3), np.uint8)), (0, 0), 0.7)
    return np.asarray(np.clip(grown, 0.0, 1.0), np.float32)


def _sized(values: npt.NDArray[Any], size: int) -> F32:
    """A map at the crop's size [S,S]."""
    resized = cv2.resize(np.asarray(values, np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32)


def _occluders(core: U8, told: F32 | None) -> U8:
    """The connected parts of a map of 0 and 1 [S,S] that are an occluder's: two lenses, but no curls.

    told: an encoder's soft mask [S,S].
    """
    count, parts, stats, _ = cv2.connectedComponentsWithStats(core, connectivity=8)
    if count < 2:
        return core
    if told is None:
        area = stats[:, cv2.CC_STAT_AREA]
        own = area >= _ALIKE * area[1:].max()
    else:
        own = np.bincount(parts.ravel(), told.ravel()) >= _LIKELY * stats[:, cv2.CC_STAT_AREA]
    own[0] = False
    return np.asarray(own[parts], np.uint8)


def _share(source: F32, behind: F32, core: U8) -> F32:
    """The occluder's share [S,S] in a mixture of its colour near by and `behind`; 0 for other mixtures."""
    sigma = _PALETTE * len(core)
    weight = np.maximum(cv2.GaussianBlur(core.astype(np.float32), (0, 0), sigma), 1e-6)[..., None]
    colour = cv2.GaussianBlur(source * core[..., None], (0, 0), sigma) / weight
    towards, moved = colour - behind, source - behind
    length = np.linalg.norm(towards, axis=-1)
    share = (towards * moved).sum(-1) / np.maximum(length, 1.0) ** 2
    aside = np.linalg.norm(moved - share[..., None] * towards, axis=-1)
    is_mixture = (length > _APART) & (aside < _ASIDE * np.linalg.norm(moved, axis=-1))
    return np.asarray(np.where(is_mixture, share, 0.0), np.float32)
