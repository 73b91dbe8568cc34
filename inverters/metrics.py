"""Measures of a reconstruction. Images are [N,3,H,W] in [-1,1], brought to [0,1] before measuring; results
are per image.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inverters.losses import load_lpips


def psnr(image: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio in dB: -10 log10 of the mean squared error on [0,1]. Higher is better.

    Args: images [N,3,H,W] in [-1,1], clamped; mask [N,1,H,W] or [N,H,W], true or > 0.5 where to measure.
    Returns [N], inf for equal images, NaN where the mask is empty.
    """
    error = ((image.clamp(-1, 1) - target.clamp(-1, 1)) / 2).square().mean(1)
    if mask is None:
        mse = error.flatten(1).mean(1)
    else:
        inside = mask.reshape(error.shape).to(error.dtype).gt(0.5)
        mse = (error * inside).flatten(1).sum(1) / inside.flatten(1).sum(1)
    return -10 * torch.log10(mse)


def ssim(image: Tensor, target: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004): 11x11 Gaussian window, sigma 1.5, K1 0.01, K2 0.03, range
    [0,1].

    Args: images [N,3,H,W] in [-1,1], sides from 11 pixels. Returns [N] in [-1,1], 1 for equal images: the
    mean over channels and over the windows that lie wholly inside.
    """
    if min(image.shape[-2:]) < 11:
        raise ValueError(f"SSIM needs images of at least 11 pixels a side, not {list(image.shape[-2:])}")
    channels = image.shape[1]
    x, y = (image.clamp(-1, 1) + 1) / 2, (target.clamp(-1, 1) + 1) / 2
    axis = torch.arange(11, dtype=x.dtype, device=x.device) - 5
    gauss = torch.exp(-axis.square() / (2 * 1.5**2))
    gauss = (gauss / gauss.sum()).expand(channels, 1, 11)

    def blur(t: Tensor) -> Tensor:
        t = F.conv2d(t, gauss.unsqueeze(2), groups=channels)
        return F.conv2d(t, gauss.unsqueeze(3), groups=channels)

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    cov = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    value = (
        (2 * mean_x * mean_y + c1) * (2 * cov + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    )
    return value.flatten(1).mean(1)


@cache
def _lpips_network(net: str, device: str) -> Any | None:
    network = load_lpips(net)
    return None if network is None else network.to(device)


@torch.no_grad()
def lpips(image: Tensor, target: Tensor, net: str = "alex") -> Tensor | None:
    """Learned perceptual distance (Zhang et al. 2018, v0.1). 0 for equal images; lower is better.

    Images [N,3,H,W] in [-1,1]. Returns [N], or None where the weights are not in the local cache (nothing is
    fetched).
    """
    network = _lpips_network(net, str(image.device))
    return None if network is None else network(image.clamp(-1, 1), target.clamp(-1, 1)).flatten()


def mask_iou(predicted: Tensor, truth: Tensor, pooled: bool = False) -> Tensor:
    """Intersection over union of masks [N,...] (true or > 0.5). In [0,1]; 1 where both are empty.

    Returns [N], or a scalar over all pixels of all masks together when `pooled`.
    """
    a, b = predicted.to(torch.float32).gt(0.5), truth.to(torch.float32).reshape(predicted.shape).gt(0.5)
    if pooled:
        a, b = a.reshape(1, -1), b.reshape(1, -1)
    both = (a & b).flatten(1).sum(1).float()
    either = (a | b).flatten(1).sum(1).float()
    iou = torch.where(either > 0, both / either.clamp_min(1), torch.ones_like(both))
    return iou[0] if pooled else iou


def rotation_error_deg(rotation: Tensor, truth: Tensor) -> Tensor:
    """Angle in degrees of the rotation that takes one to the other. In [0,180].

    Args: [N,3,3] rotations or [N,4,4] poses, of which the rotation is taken. Returns [N].
    """
    a, b = rotation[..., :3, :3].double(), truth[..., :3, :3].double()
    relative = a.transpose(-1, -2) @ b
    skew = torch.stack(
        [
            relative[..., 2, 1] - relative[..., 1, 2],
            relative[..., 0, 2] - relative[..., 2, 0],
            relative[..., 1, 0] - relative[..., 0, 1],
        ],
        dim=-1,
    )
    # atan2 keeps full precision near zero, where the arc cosine of the trace loses half of it.
    cosine = (relative.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    return torch.atan2(skew.norm(dim=-1) / 2, cosine) * (180 / math.pi)
