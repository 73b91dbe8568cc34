"""Measures of reconstructions and edits. Images are [N,3,H,W] in [-1,1]; results are per image.

Each docstring gives range, crop, size, network and better direction. Papers differ in all of these, so that
values of the same measure from two papers are not comparable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inverters.fitting.losses import load_lpips


def psnr(image: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio in dB: -10 log10 of the mean squared error on [0,1]. Higher is better.

    Args:
        image: [N,3,H,W] in [-1,1], clamped.
        target: as `image`.
        mask: [N,1,H,W] or [N,H,W], true or > 0.5 where to measure.

    Returns:
        [N]; inf for equal images, NaN for an empty mask.
    """
    error = ((image.clamp(-1, 1) - target.clamp(-1, 1)) / 2).square().mean(1)
    if mask is None:
        mse = error.flatten(1).mean(1)
    else:
        inside = mask.reshape(error.shape).to(error.dtype).gt(0.5)
        mse = (error * inside).flatten(1).sum(1) / inside.flatten(1).sum(1)
    return -10 * torch.log10(mse)


_WINDOW, _SIGMA = 11, 1.5
"""Side and standard deviation in pixels of SSIM's Gaussian window."""
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of MS-SSIM's scales, the finest first (Wang et al. 2003, section 3.2)."""


def ssim(image: Tensor, target: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004). Higher is better.

    An 11x11 Gaussian window of sigma 1.5, K1 0.01, K2 0.03, range [0,1].

    Args:
        image: [N,3,H,W] in [-1,1], sides from 11 pixels.
        target: as `image`.

    Returns:
        [N] in [-1,1], 1 for equal images: the mean over channels and over windows that lie wholly inside.

    Raises:
        ValueError: the images are too small.
    """
    luminance, structure = _similarity_maps(*_unit_pair(image, target))
    return (luminance * structure).flatten(1).mean(1)


def ms_ssim(image: Tensor, target: Tensor) -> Tensor:
    """Multi-scale structural similarity (Wang et al. 2003, section 3, equation 7). Higher is better.

    Contrast and structure at each scale, luminance at the coarsest, to the paper's powers; SSIM's window and
    constants, range [0,1]; means of 2x2 pixels between scales (an odd last row or column is left out); a
    scale's mean below 0 counts as 0. Five scales need sides of 176 pixels. Smaller images use the scales on
    which the window fits, with powers divided by their sum; such values are not comparable with those of five
    scales.

    Args:
        image: [N,3,H,W] in [-1,1], sides from 11 pixels.
        target: as `image`.

    Returns:
        [N] in [0,1], 1 for equal images: the mean over channels.

    Raises:
        ValueError: the images are too small.
    """
    x, y = _unit_pair(image, target)
    count = min(len(_SCALE_WEIGHTS), int(math.log2(max(min(x.shape[-2:]) / _WINDOW, 1))) + 1)
    weights = _SCALE_WEIGHTS[:count]
    # the paper's five, as printed, add up to 1.0001
    total = 1.0 if count == len(_SCALE_WEIGHTS) else sum(weights)
    value = torch.ones((), dtype=x.dtype, device=x.device)
    for scale, weight in enumerate(weights):
        luminance, structure = _similarity_maps(x, y)
        terms = luminance * structure if scale == count - 1 else structure
        value = value * terms.flatten(2).mean(2).clamp_min(0) ** (weight / total)
        if scale < count - 1:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return value.mean(1)


def _unit_pair(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both images on [0,1]. Raises ValueError if SSIM's window does not fit."""
    if min(image.shape[-2:]) < _WINDOW:
        raise ValueError(
            f"SSIM needs images of at least {_WINDOW} pixels a side, not {list(image.shape[-2:])}"
        )
    return (image.clamp(-1, 1) + 1) / 2, (target.clamp(-1, 1) + 1) / 2


def _similarity_maps(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance l and contrast-structure cs of SSIM, [N,C,H-10,W-10], of images on [0,1]."""
    channels = x.shape[1]
    axis = torch.arange(_WINDOW, dtype=x.dtype, device=x.device) - _WINDOW // 2
    gauss = torch.exp(-axis.square() / (2 * _SIGMA**2))
    gauss = (gauss / gauss.sum()).expand(channels, 1, _WINDOW)

    def blur(t: Tensor) -> Tensor:
        t = F.conv2d(t, gauss.unsqueeze(2), groups=channels)
        return F.conv2d(t, gauss.unsqueeze(3), groups=channels)

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    cov = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance, (2 * cov + c2) / (var_x + var_y + c2)


@cache
def _lpips_network(net: str, device: str) -> Any | None:
    network = load_lpips(net)
    return None if network is None else network.to(device)


@torch.no_grad()
def lpips(image: Tensor, target: Tensor, net: str = "alex") -> Tensor | None:
    """Learned perceptual distance (Zhang et al. 2018, v0.1). 0 for equal images; lower is better.

    Distances of different networks, and of images of different sizes, are not comparable; papers on inversion
    use either "alex" or "vgg".

    Args:
        image: [N,3,H,W] in [-1,1], clamped, at its size.
        target: as `image`.
        net: "alex", "vgg" or "squeeze".

    Returns:
        [N]; None if the weights are not in the local cache (nothing is downloaded).

    Raises:
        UnknownNameError: another net.
    """
    network = _lpips_network(net, str(image.device))
    return None if network is None else network(image.clamp(-1, 1), target.clamp(-1, 1)).flatten()


def temporal_psnr(video: Tensor, truth: Tensor) -> Tensor:
    """Flicker in dB: PSNR of the changes between frames against the truth's changes. Higher is better.

    -10 log10 of the mean square of (x_t+1 - x_t) - (y_t+1 - y_t) on [0,1], with a peak of 1. An error that is
    the same in all frames does not count.

    Args:
        video: [T,3,H,W] in [-1,1], clamped, T from 1.
        truth: as `video`, in the same crops.

    Returns:
        [T-1]; inf for equal changes.
    """
    error = (video.clamp(-1, 1) - truth.clamp(-1, 1)) / 2
    return -10 * torch.log10(error.diff(dim=0).square().flatten(1).mean(1))


def temporal_lpips(video: Tensor, truth: Tensor, net: str = "alex") -> Tensor | None:
    """Flicker by LPIPS: tLP of Chu et al. 2020 (TecoGAN). Lower is better.

    |LPIPS(x_t, x_t+1) - LPIPS(y_t, y_t+1)|, not times 100 as in many tables. It does not see changes that
    differ from the truth's but are as large.

    Args:
        video: [T,3,H,W] in [-1,1], T from 1.
        truth: as `video`, in the same crops.
        net: as in `lpips`.

    Returns:
        [T-1] from 0 up; None without weights.
    """
    ours, theirs = lpips(video[:-1], video[1:], net), lpips(truth[:-1], truth[1:], net)
    return None if ours is None or theirs is None else (ours - theirs).abs()


def identity_similarity(one: Tensor, two: Tensor) -> Tensor:
    """Cosine of embeddings of faces. In [-1,1], 1 for the same; higher is better.

    As in TriPlaneNet's code; its paper prints (1 + cosine) / 2. Values of different networks are not
    comparable.

    Args:
        one: embeddings [N,D] of any length.
        two: as `one`, by the same network.

    Returns:
        [N].
    """
    return F.cosine_similarity(one, two, dim=-1)


def temporal_identity(
    edited: Tensor, source: Tensor, frames: Sequence[int] | None = None
) -> tuple[float | None, float | None]:
    """TL-ID and TG-ID: how steady the identity is in an edited video (STIT, Tzaban et al. 2022, section 5).

    1 if it is as steady as the source; higher is better. TL-ID: mean cosine of neighbouring frames'
    embeddings, divided by the source's mean. TG-ID: the same over all pairs of frames. These are ratios of
    means; in a mean of ratios, one pair of the source with a cosine near 0 would dominate.

    Args:
        edited: embeddings [K,D] of the edited frames.
        source: embeddings [K,D] of the same frames before the edit.
        frames: [K], ascending indices in the clip; None: all frames of it.

    Returns:
        TL-ID and TG-ID; None if there is no pair or the source's mean is not above 0.
    """
    at = torch.arange(len(source)) if frames is None else torch.as_tensor(frames)
    following = torch.nonzero(at.diff() == 1)[:, 0]
    ours, theirs = (F.normalize(e.double(), dim=-1) for e in (edited, source))

    def pairs(e: Tensor) -> tuple[float, float]:
        local = (e[following] * e[following + 1]).sum(-1).mean().item()
        # all pairs at once: |sum e|^2 is the sum over all ordered pairs, K of them a frame with itself
        count = len(e) * (len(e) - 1)
        return local, (e.sum(0).square().sum().item() - len(e)) / count if count else math.nan

    found = [a / b if b > 0 else None for a, b in zip(pairs(ours), pairs(theirs))]
    return found[0], found[1]


def leakage(change: Tensor, asked: Sequence[int]) -> Tensor:
    """Mean absolute change of the parameters that an edit should not change. Lower is better.

    Args:
        change: [N,P], the judge's reading after the edit less that before, in standard deviations of heads;
            NaN without a reading.
        asked: columns that the edit should change.

    Returns:
        [N] from 0 up; NaN without a reading.
    """
    others = [k for k in range(change.shape[1]) if k not in set(asked)]
    return change[:, others].abs().nanmean(1)


def mask_iou(predicted: Tensor, truth: Tensor, pooled: bool = False) -> Tensor:
    """Intersection over union of masks. In [0,1]; 1 if both are empty.

    Args:
        predicted: [N,...], true or > 0.5.
        truth: as `predicted`, with as many elements.
        pooled: over all pixels of all masks together.

    Returns:
        [N], or a scalar if pooled.
    """
    a, b = predicted.to(torch.float32).gt(0.5), truth.to(torch.float32).reshape(predicted.shape).gt(0.5)
    if pooled:
        a, b = a.reshape(1, -1), b.reshape(1, -1)
    both = (a & b).flatten(1).sum(1).float()
    either = (a | b).flatten(1).sum(1).float()
    iou = torch.where(either > 0, both / either.clamp_min(1), torch.ones_like(both))
    return iou[0] if pooled else iou


def rotation_error_deg(rotation: Tensor, truth: Tensor) -> Tensor:
    """Angle of the rotation between two rotations, in degrees in [0,180].

    Args:
        rotation: rotations [N,3,3], or poses [N,4,4], of which the rotation is taken.
        truth: as `rotation`.

    Returns:
        [N].
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
