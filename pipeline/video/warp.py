"""Sub-pixel warps from a frame to its crop and back by exact inverses.

Coordinates are continuous: the centre of pixel (i, j) is (j + 0.5, i + 0.5). Sampling is torch's bilinear
`grid_sample`; OpenCV's warps quantise positions to 1/32 pixel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, F64, U8, Clip, Crops

Box = tuple[int, int, int, int]
"""Pixel bounds (x0, y0, x1, y1) in a frame; x1 and y1 are exclusive."""


def invert_affine(affine: F64) -> F64:
    """Invert affine maps [...,2,3] exactly; raises ValueError where one is singular or not finite."""
    affine = np.asarray(affine, np.float64)
    linear, shift = affine[..., :2], affine[..., 2:]
    determinant = linear[..., 0, 0] * linear[..., 1, 1] - linear[..., 0, 1] * linear[..., 1, 0]
    if not np.isfinite(affine).all() or (determinant == 0.0).any():
        raise ValueError(f"this affine map has no inverse: {affine.tolist()}")
    adjugate = np.stack(
        [linear[..., 1, 1], -linear[..., 0, 1], -linear[..., 1, 0], linear[..., 0, 0]], axis=-1
    ).reshape(linear.shape)
    inverse = adjugate / determinant[..., None, None]
    return np.concatenate([inverse, -inverse @ shift], axis=-1)


def warp_points(points: npt.NDArray[Any], affine: F64) -> F64:
    """Map points [...,N,2] by one affine [2,3], or by one for each leading index, affine [...,2,3]."""
    affine = np.asarray(affine, np.float64)
    moved: F64 = (
        np.asarray(points, np.float64) @ np.swapaxes(affine[..., :2], -1, -2) + affine[..., None, :, 2]
    )
    return moved


def warp_crop(frame: U8, affine: F64, size: int) -> U8:
    """Warp a frame uint8 [H,W,C] to a crop uint8 [size,size,C], repeating the frame's edge outside it.

    affine [2,3] maps source pixels to crop pixels. For minification the frame is first low-passed by a
    Gaussian whose width goes to zero as the scale goes to one, so sharpness does not jump in time.
    """
    inverse = invert_affine(affine)
    sigma = _prefilter_sigma(inverse)
    margin = math.ceil(3.0 * max(sigma)) + 2
    box = _covering_box(inverse, (0.0, 0.0, size, size), margin, frame.shape[1], frame.shape[0])
    if box is None:
        return np.zeros((size, size, *frame.shape[2:]), np.uint8)
    x0, y0, x1, y1 = box
    part = _low_pass(frame[y0:y1, x0:x1], sigma)
    local = inverse.copy()
    local[:, 2] -= (x0, y0)
    # Edge repeated: no generator renders a black bar, so an inversion would take it for an occluder.
    return _to_uint8(_sample(part, local, (0, 0, size, size), "border"))


def back_box(affine: F64, region: tuple[float, float, float, float], width: int, height: int) -> Box | None:
    """Box of the frame that covers a region (x0, y0, x1, y1) of the crop; None where it lies outside."""
    return _covering_box(invert_affine(affine), region, 1, width, height)


def warp_back(
    crop: npt.NDArray[Any], affine: F64, box: Box, padding: str = "border", antialias: bool = True
) -> F32:
    """Warp a crop [S,S(,C)] back to the frame pixels of `box`: float32 [h,w(,C)].

    affine [2,3] is the one that made the crop. padding: `border` repeats the crop's edge beyond it, `zeros`
    is black. antialias: low-pass first where the frame has fewer pixels than the crop.
    """
    affine = np.asarray(affine, np.float64)
    sigma = _prefilter_sigma(affine) if antialias else (0.0, 0.0)
    return _sample(_low_pass(crop, sigma), affine, box, padding)


def crop_frames(
    clip: Clip, crops: Crops, start: int = 0, stop: int | None = None
) -> Iterator[tuple[int, U8]]:
    """Yield (frame index, crop uint8 [S,S,3]) for the frames in [start, stop) that have a crop."""
    for index, frame in enumerate(clip.frames(start, stop), start):
        affine = crops.affine[index]
        if np.isfinite(affine).all():
            yield index, warp_crop(frame, affine, crops.size)


def _prefilter_sigma(affine: F64) -> tuple[float, float]:
    """Gaussian sigmas in input pixels, across and down, for a map from output to input.

    0.5 sqrt(r^2 - 1), where r is the length along that axis that an output pixel covers: pixels of a frame
    need not be square.
    """
    across, down = (0.5 * math.sqrt(max(float(row @ row) - 1.0, 0.0)) for row in affine[:, :2])
    return across, down


def _low_pass(image: npt.NDArray[Any], sigmas: tuple[float, float]) -> npt.NDArray[Any]:
    if max(sigmas) < 0.05:
        return image
    across, down = (2 * math.ceil(3.0 * sigma) + 1 for sigma in sigmas)
    source = np.ascontiguousarray(image, np.float32)
    # A sigma of zero would be chosen by OpenCV; a kernel of one tap changes nothing.
    least = [max(sigma, 1e-3) for sigma in sigmas]
    blurred = cv2.GaussianBlur(
        source, (across, down), least[0], sigmaY=least[1], borderType=cv2.BORDER_REPLICATE
    )
    return np.asarray(blurred)


def _covering_box(
    affine: F64, region: tuple[float, float, float, float], margin: int, width: int, height: int
) -> Box | None:
    """Pixel box around affine(region), grown by `margin`, clipped to width x height; None where empty."""
    x0, y0, x1, y1 = region
    corners = warp_points(np.array([[x0, y0], [x1, y0], [x0, y1], [x1, y1]]), affine)
    low = np.clip(np.floor(corners.min(0)) - margin, 0, (width, height)).astype(int)
    high = np.clip(np.ceil(corners.max(0)) + margin, 0, (width, height)).astype(int)
    if (high <= low).any():
        return None
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _sample(image: npt.NDArray[Any], affine: F64, box: Box, padding: str) -> F32:
    """Bilinear samples of image [H,W(,C)] at affine(pixel centres of `box`), float32 [h,w(,C)]."""
    import torch
    import torch.nn.functional as F

    height, width = image.shape[:2]
    x0, y0, x1, y1 = box
    columns = torch.arange(x0, x1, dtype=torch.float64) + 0.5
    rows = torch.arange(y0, y1, dtype=torch.float64)[:, None] + 0.5
    (a, b, tx), (c, d, ty) = affine.tolist()
    # grid_sample with align_corners=False has our convention, with [0, size] scaled to [-1, 1].
    grid = torch.stack(
        [
            (a * columns + b * rows + tx) * (2.0 / width) - 1.0,
            (c * columns + d * rows + ty) * (2.0 / height) - 1.0,
        ],
        dim=-1,
    ).to(torch.float32)
    planes = torch.from_numpy(np.ascontiguousarray(image)).to(torch.float32).reshape(height, width, -1)
    out = F.grid_sample(
        planes.permute(2, 0, 1)[None], grid[None], mode="bilinear", padding_mode=padding, align_corners=False
    )
    samples: F32 = out[0].permute(1, 2, 0).numpy()
    return samples.reshape(*samples.shape[:2], *image.shape[2:])


def _to_uint8(values: F32) -> U8:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
