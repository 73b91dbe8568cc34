"""Warp of a picture to another camera by known depths, and a mask of where the result is reliable.

The warp is backward and depth-tested: each pixel of the other camera looks up what the first one saw. Unlike
splatted points it leaves no holes and has no point size to choose.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from inverters.rendering.rays import make_rays, project

Camera = tuple[Tensor, Tensor]
"""cam2world [N,4,4] and intrinsics [N,3,3]."""

REFERENCE = 512
"""Width in pixels of the pictures for which window sizes are given."""


def warp(
    image: Tensor, depth: Tensor, camera: Camera, other_depth: Tensor, other: Camera, tolerance: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Warp a picture to other cameras. Differentiable in `image`.

    A pixel of the other camera is a surface point at that camera's depth. It is visible if the first camera
    sees a surface at the same distance, within `tolerance`, and then takes the colour there.

    Args:
        image: [N,C,H,W], any unit.
        depth: [N,1,h,w] along the unit rays of `camera`, in world units, of any size.
        camera: camera of the picture.
        other_depth: [N,1,h,w] along the unit rays of `other`, as `depth`.
        other: camera to warp to.
        tolerance: greatest difference of the two distances, in world units.

    Returns:
        The picture [N,C,H,W] from `other`, undefined where nothing is visible; visible [N,1,H,W] and inside
        (within the first camera's image, seen or hidden) [N,1,H,W], both bool.
    """
    n, _, h, w = image.shape
    origins, directions = make_rays(*other, (h, w))
    along = F.interpolate(other_depth, size=(h, w), mode="bilinear", align_corners=False)
    points = origins + along.reshape(n, -1, 1) * directions
    cam2world = camera[0]
    offsets = points - cam2world[:, None, :3, 3]
    ahead = (offsets @ cam2world[:, :3, 2:3])[..., 0] > 0
    uv = project(points, *camera)
    inside = ahead & ((uv >= 0) & (uv <= 1)).all(-1)
    grid = (2 * uv - 1).reshape(n, h, w, 2)
    seen = _look_up(depth, grid).reshape(n, -1)
    visible = inside & ((offsets.norm(dim=-1) - seen).abs() <= tolerance)
    return _look_up(image, grid), visible.reshape(n, 1, h, w), inside.reshape(n, 1, h, w)


def trusted(visible: Tensor, inside: Tensor, erosion: int, border: int, feather: int) -> Tensor:
    """Return the weight of a warped picture, [N,1,H,W] in [0,1]: 1 well inside what is visible, 0 outside it.

    As in HFGI3D's release: the eroded visible mask, times the more strongly eroded mask of the first camera's
    image, blurred by a Gaussian. There the blur reaches past the edge; here it ends at the edge.

    Args:
        visible: bool [N,1,H,W], from `warp`.
        inside: bool [N,1,H,W], from `warp`.
        erosion: window that erodes `visible`, as all windows in pixels of a picture 512 wide.
        border: window that erodes `inside`.
        feather: window of the blur.
    """
    width = visible.shape[-1]
    mask = _eroded(visible.float(), _window(erosion, width)) * _eroded(inside.float(), _window(border, width))
    return mask * (2 * _blurred(mask, _window(feather, width)) - 1).clamp_min(0)


def _look_up(image: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _window(side: int, width: int) -> int:
    """Odd side, at least 3, of a window in a picture `width` wide."""
    return max(3, 2 * round((side * width / REFERENCE - 1) / 2) + 1)


def _eroded(mask: Tensor, side: int) -> Tensor:
    """Minimum over a square window; the picture's own edge erodes nothing."""
    return -F.max_pool2d(-mask, side, 1, side // 2)


def _blurred(mask: Tensor, side: int) -> Tensor:
    """Gaussian blur with OpenCV's deviation for a window of this side, mirrored at the edge."""
    sigma = 0.3 * ((side - 1) * 0.5 - 1) + 0.8
    at = torch.arange(side, dtype=mask.dtype, device=mask.device) - side // 2
    weights = torch.exp(-at.square() / (2 * sigma**2))
    weights = weights / weights.sum()
    half = side // 2
    padded = F.pad(mask, (half, half, half, half), mode="reflect")
    return F.conv2d(F.conv2d(padded, weights.reshape(1, 1, 1, -1)), weights.reshape(1, 1, -1, 1))
