"""Rays through pixels. Pixel (row i, column j) of an h x w image is centred at ((j+0.5)/w, (i+0.5)/h)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def pixel_centres(
    size: tuple[int, int], dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Tensor:
    """Return normalised centres (u right, v down, in [0,1]) of an (h, w) image as [h*w,2], row by row."""
    h, w = size
    v = (torch.arange(h, dtype=dtype, device=device) + 0.5) / h
    u = (torch.arange(w, dtype=dtype, device=device) + 0.5) / w
    rows, columns = torch.meshgrid(v, u, indexing="ij")
    return torch.stack([columns.reshape(-1), rows.reshape(-1)], dim=-1)


def rays_at(cam2world: Tensor, intrinsics: Tensor, uv: Tensor) -> tuple[Tensor, Tensor]:
    """Return rays through positions of the image plane in world coordinates, as EG3D, skew included.

    Args:
        cam2world: [N,4,4].
        intrinsics: [N,3,3] or [3,3].
        uv: [N,R,2] or [R,2], image positions normalised by the image size.

    Returns:
        origins [N,R,3] and unit directions [N,R,3]. Differentiable in all arguments.
    """
    n = len(cam2world)
    k = intrinsics.to(cam2world).expand(n, 3, 3)
    u, v = uv.to(cam2world).expand(n, *uv.shape[-2:]).unbind(-1)
    y = (v - k[:, 1, 2, None]) / k[:, 1, 1, None]
    x = (u - k[:, 0, 2, None] - k[:, 0, 1, None] * y) / k[:, 0, 0, None]
    in_camera = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    directions = F.normalize(in_camera @ cam2world[:, :3, :3].mT, dim=-1)
    return cam2world[:, None, :3, 3].expand_as(directions), directions


def make_rays(cam2world: Tensor, intrinsics: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return rays through the pixel centres of an (h, w) image: origins, directions [N,h*w,3], row by row."""
    return rays_at(cam2world, intrinsics, pixel_centres(size, cam2world.dtype, cam2world.device))


def project(points: Tensor, cam2world: Tensor, intrinsics: Tensor) -> Tensor:
    """Project world points [L,3] or [N,L,3] to image positions [N,L,2]; the inverse of `rays_at`.

    The cameras are `cam2world` [N,4,4] and `intrinsics` [N,3,3]; image positions are normalised by the image
    size.
    """
    in_camera = (points - cam2world[:, None, :3, 3]) @ cam2world[:, :3, :3]
    on_image = in_camera @ intrinsics.to(cam2world).mT
    return on_image[..., :2] / on_image[..., 2:]
