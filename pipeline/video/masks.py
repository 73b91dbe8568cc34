"""Soft masks of the face in crop space: the weight of the render over the source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, F64, U8
from pipeline.errors import UnknownNameError
from pipeline.video.warp import warp_points

REGIONS = ("face", "crop")
_CHIN, _BROWS, _NOSE_BASE = 8, slice(17, 27), 33
# The 68 points end at the brows. By the canon of thirds the forehead is as high as the distance from brows to
# nose base, which an open mouth does not change. A little less here, to stay below the hair, and rounded
# towards the temples.
_FOREHEAD = 0.88 * np.array([0.55, 0.75, 0.9, 0.98, 1.0, 1.0, 0.98, 0.9, 0.75, 0.55])
_VISIBLE_CHANGE = 48.0
"""Difference in levels of 255 that counts as a full change by an edit."""


class MaskShape(Protocol):
    """Shape of a face mask, in crop widths (`pipeline.request.settings.CompositeSettings`)."""

    @property
    def grow(self) -> float:
        """Distance by which the mask extends beyond the face's outline."""

    @property
    def feather(self) -> float:
        """Width of the soft border."""


class Maps(Protocol):
    """Maps [S,S] by row, in memory or on disk."""

    def __getitem__(self, row: int, /) -> Any: ...


def face_masks(
    landmarks: npt.NDArray[Any],
    affines: F64,
    size: int,
    settings: MaskShape,
    extra: Maps | None = None,
    region: str = "face",
) -> Iterator[U8]:
    """Yield one soft mask per row, uint8 [size,size], 255 inside and 0 on the crop's border.

    landmarks [K,68,2] in source pixels (iBUG order), affines [K,2,3] source to crop of `size`. The mask is
    the convex hull of the face with its forehead, grown by `settings.grow` crop widths, with a border of
    `settings.feather`. extra: by row, a map [S,S] in [0,1] whose part above 0.5 is added, such as the blend
    of a removed occluder. region: `face`, or `crop` for the whole crop (hair, novel views). Rows whose
    landmarks are not finite get an empty mask. Raises UnknownNameError for another region.
    """
    if region not in REGIONS:
        raise UnknownNameError(f"unknown mask region '{region}'; known: {', '.join(REGIONS)}")
    frame = crop_mask(size, settings.feather)
    ramp = _border_ramp(size, min(settings.feather, 0.03))
    for row in range(len(landmarks)):
        if not (np.isfinite(landmarks[row]).all() and np.isfinite(affines[row]).all()):
            yield np.zeros((size, size), np.uint8)
            continue
        if region == "crop":
            yield frame
            continue
        points = warp_points(landmarks[row], affines[row])
        mask = _hull_mask(with_forehead(points), size, settings)
        if extra is not None:
            mask = np.maximum(mask, _region_mask(np.asarray(extra[row]), size, settings))
        yield _to_uint8(np.minimum(mask, ramp))


def crop_mask(size: int, feather: float) -> U8:
    """Mask of the whole crop, uint8 [size,size], falling to 0 at its border over `feather` crop widths."""
    return _to_uint8(_border_ramp(size, feather))


def with_forehead(points: F64) -> F64:
    """Append ten forehead points, the brows moved up by a third of the face: [68,2] -> [78,2]."""
    brows = points[_BROWS].mean(0)
    up = (brows - points[_CHIN]) / max(float(np.linalg.norm(brows - points[_CHIN])), 1e-6)
    height = max(float((brows - points[_NOSE_BASE]) @ up), 0.0)
    return np.concatenate([points, points[_BROWS] + (height * _FOREHEAD)[:, None] * up])


def _hull_mask(points: F64, size: int, settings: MaskShape) -> F32:
    """1 inside the hull, falling to 0 at `grow` beyond it; float32 [size,size]."""
    from scipy.spatial import ConvexHull, QhullError  # takes as long to load as all else of a plan

    try:
        planes = ConvexHull(points).equations.astype(np.float32)
    except QhullError:  # all points on one line
        return np.zeros((size, size), np.float32)
    centres = np.arange(size, dtype=np.float32) + 0.5
    distance = np.full((size, size), -np.inf, np.float32)
    # Signed distance to a convex outline, exact inside. It is not rasterised, so the edge moves smoothly in
    # time.
    for normal_x, normal_y, offset in planes:
        np.maximum(distance, normal_x * centres + (normal_y * centres[:, None] + offset), out=distance)
    return _falloff(distance / size, settings.grow, settings.feather)


def _region_mask(values: npt.NDArray[Any], size: int, settings: MaskShape) -> F32:
    """1 where the map is above one half, falling to 0 over `feather` outside; float32 [size,size]."""
    if values.dtype == np.uint8:
        values = values / np.float32(255.0)
    inside = (values > 0.5).astype(np.uint8)
    # Opening: single bright pixels are noise of the field, not an occluder.
    inside = np.asarray(cv2.morphologyEx(inside, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)))
    if inside.shape != (size, size):
        inside = np.asarray(cv2.resize(inside, (size, size), interpolation=cv2.INTER_NEAREST))
    if not inside.any():
        return np.zeros((size, size), np.float32)
    distance = cv2.distanceTransform(1 - inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) / size
    return _falloff(np.asarray(distance, np.float32), max(settings.grow, settings.feather), settings.feather)


def _falloff(distance: F32, reach: float, feather: float) -> F32:
    """Smooth step from 1 at `reach - feather` to 0 at `reach`."""
    x = np.clip((reach - distance) / max(feather, 1e-6), 0.0, 1.0)
    return (x * x * (3.0 - 2.0 * x)).astype(np.float32)


def _border_ramp(size: int, feather: float) -> F32:
    """0 on the outermost pixels, 1 from `feather` crop widths inwards; float32 [size,size]."""
    steps = np.minimum(np.arange(size), np.arange(size)[::-1]).astype(np.float32) / size
    nearest = np.minimum(steps, steps[:, None])
    return _falloff(-nearest, 0.0, max(feather, 1.0 / size))


def _to_uint8(mask: F32) -> U8:
    levels: U8 = np.rint(255.0 * mask).astype(np.uint8)
    return levels


def visible_change(edited: U8, plain: U8) -> F32:
    """Visible change by an edit, [S,S] in [0,1], from crops uint8 [S,S,3] with it and without."""
    change = np.abs(edited.astype(np.float32) - plain).max(axis=-1)
    # blurred: a single bright pixel is noise
    change = cv2.GaussianBlur(change, (0, 0), 2.0)
    return np.asarray(np.clip(change / _VISIBLE_CHANGE, 0, 1), np.float32)
