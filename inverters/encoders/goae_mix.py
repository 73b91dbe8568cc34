"""GOAE's occlusion-aware mix of tri-planes: refined planes where the input view saw the surface, else w+.

The visible surface is splatted on a plane, and the mask is blurred, cut and blurred again.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from inverters.rendering.planes import COORDINATES, PlaneAxes

Form = Literal["released", "paper"]
"""Where the released code does not follow the paper: which of the two."""
Sigma = float | torch.Generator
"""Standard deviation of the blurs in texels; a torch.Generator draws it from (1, 2) for each blur."""

_KERNEL = 9
_CUT = 0.35
_DRAWN = (1.0, 2.0)


def blur(masks: Tensor, sigma: Sigma) -> Tensor:
    """Blur masks [N,R,R] by a Gaussian of 9 x 9 texels, reflecting at the border."""
    if isinstance(sigma, torch.Generator):
        low, high = _DRAWN
        sigma = low + (high - low) * float(torch.rand((), generator=sigma, device=sigma.device))
    half = _KERNEL // 2
    steps = torch.arange(-half, half + 1).to(masks) / sigma
    taps = (-0.5 * steps.square()).exp()
    taps = taps / taps.sum()
    padded = F.pad(masks[:, None], (half,) * 4, mode="reflect")
    return F.conv2d(padded, torch.outer(taps, taps)[None, None])[:, 0]


def splat(points: Tensor, size: int, box_warp: float) -> Tensor:
    """Mark the texels [N,R,R] of a plane (0 or 1) that points [N,M,2] (column, row; world units) fall into.

    Points outside the plane mark its border.
    """
    texels = ((points / box_warp + 0.5) * size).long().clamp(0, size - 1)
    masks = points.new_zeros(len(points), size * size)
    return masks.scatter_(1, texels[..., 1] * size + texels[..., 0], 1.0).reshape(-1, size, size)


def visible_masks(
    points: Tensor,
    size: int,
    box_warp: float = 1.0,
    axes: PlaneAxes = "original",
    sigma: Sigma = 1.5,
    form: Form = "released",
) -> Tensor:
    """Return soft masks [N,3,R,R] of the surface that the input view sees.

    Args:
        points: [N,M,3], surface points in world units.
        size: side R of the planes in texels.
        box_warp: side of the cube that the planes cover, in world units.
        axes: projection of points to the planes.
        sigma: see `Sigma`.
        form: `released` masks the xy plane alone, and the others are 1; `paper` masks all planes (eq. 8).
    """
    masks = points.new_ones(len(points), 3, size, size)
    for plane in range(1 if form == "released" else 3):
        marked = splat(points[..., COORDINATES[axes][plane]], size, box_warp)
        masks[:, plane] = blur((blur(marked, sigma) > _CUT).to(points), sigma)
    return masks


def mix_planes(refined: Tensor, base: Tensor, masks: Tensor) -> Tensor:
    """Return masks * refined + (1 - masks) * base for planes [N,3,C,R,R] and masks [N,3,R,R]."""
    return base.lerp(refined, masks[:, :, None])
