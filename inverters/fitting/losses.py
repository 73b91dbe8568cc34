"""Losses of the inversion methods. Images are float32 [N,3,H,W] and colours [...,3], both in [-1,1]."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inverters.errors import CheckpointError, UnknownNameError

ImageLoss = Callable[[Tensor, Tensor], Tensor]


def latent_distance(ws: Tensor, w_avg: Tensor, squared: bool = True) -> Tensor:
    """Squared distance of codes from the mean code (In-N-Out, section 4.1, equation 1).

    Args:
        ws: [N,L,D].
        w_avg: mean code, [D] or [L,D].
        squared: False takes the root, as the release does.

    Returns:
        Scalar: sum over L and D, mean over N.
    """
    square = (ws - w_avg).square().sum((1, 2))
    return (square if squared else (square + 1e-12).sqrt()).mean()


def layer_spread(ws: Tensor, squared: bool = True, skip_last: bool = False) -> Tensor:
    """Squared distance of a W+ code's layers from its first (L_delta of In-N-Out, section 4.1).

    Args:
        ws: [N,L,D].
        squared: False takes plain norms, as the release does.
        skip_last: leave out the last layer, as the release does.

    Returns:
        Scalar: sum over layers, mean over N.
    """
    stop = ws.shape[1] - 1 if skip_last else ws.shape[1]
    square = (ws[:, 1:stop] - ws[:, :1]).square().sum(-1)
    return (square if squared else (square + 1e-12).sqrt()).sum(1).mean()


def norms(codes: Tensor) -> Tensor:
    """Return the norms [n] of codes [n,L,D], smooth at zero."""
    return (codes.square().sum((1, 2)) + 1e-12).sqrt()


def blend_entropy(blend: Tensor, skew: float = 1.0, reduction: str = "sum") -> Tensor:
    """Binary entropy H(b^skew) of blend weights (In-N-Out, section 4.3, equation 6; skew from D2NeRF).

    Args:
        blend: [...,K] in [0,1], K samples a ray.
        skew: exponent of the blend; above 1 it favours the generator's field.
        reduction: over the samples, "sum" (paper) or "mean" (release).

    Returns:
        Scalar, mean over rays.
    """
    b = blend.clamp(1e-6, 1 - 1e-6) ** skew
    entropy = -(b * b.log() + (1 - b) * (1 - b).clamp_min(1e-12).log())
    return (entropy.sum(-1) if reduction == "sum" else entropy.mean(-1)).mean()


def blend_area(blend: Tensor) -> Tensor:
    """Mean over rays of the squared largest blend of a ray (D2NeRF; in In-N-Out's release alone)."""
    return blend.amax(-1).square().mean()


def charbonnier(difference: Tensor, epsilon: float = 1e-3) -> Tensor:
    """sqrt(d^2 + epsilon^2), elementwise: an absolute value that is smooth at zero."""
    return (difference.square() + epsilon * epsilon).sqrt()


def robust_weights(residual: Tensor, scale: float | Tensor) -> Tensor:
    """Geman-McClure weights in (0,1] of residual norms: near 1 far below `scale`, near 0 far above it."""
    return (1 + (residual / scale).square()).reciprocal().square()


def aligned_depth_error(depth: Tensor, reference: Tensor) -> Tensor:
    """L1 between depth and a reference known up to scale and shift in disparity (In-N-Out, equation 7).

    Each disparity is normalised by its median and mean absolute deviation (MiDaS); the reference is brought
    to the scale of `depth` without gradient.

    Args:
        depth: [R] > 0.
        reference: [R] > 0, on the same rays.

    Returns:
        Scalar.
    """
    with torch.no_grad():
        disparity, wanted = 1 / depth, 1 / reference
        shift, wanted_shift = disparity.median(), wanted.median()
        scale = (disparity - shift).abs().mean()
        wanted_scale = (wanted - wanted_shift).abs().mean().clamp_min(1e-8)
        target = ((wanted - wanted_shift) / wanted_scale * scale + shift).clamp_min(1e-3).reciprocal()
    return (depth - target).abs().mean()


def multiscale_loss(image: Tensor, target: Tensor) -> Tensor:
    """Perceptual loss without network weights: L1, gradients and local structure at up to four scales.

    Args:
        image: [N,3,H,W] in [-1,1], sides from 8 pixels.
        target: as `image`.

    Returns:
        Scalar: 0 for equal images, about 1 for unrelated ones.

    Raises:
        ValueError: the images are too small.
    """
    image, target = image.contiguous(), target.contiguous()  # pooling is far slower with three channels last
    total = image.new_zeros(())
    scales = 0
    while scales < 4 and min(image.shape[-2:]) >= 8:
        error = image - target
        slope = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        total = total + error.abs().mean() + slope + 0.5 * (1 - _structure(image, target))
        scales += 1
        image, target = F.avg_pool2d(image, 2), F.avg_pool2d(target, 2)
    if scales == 0:
        raise ValueError(
            f"images of {list(image.shape[-2:])} pixels are too small; the sides must be at least 8"
        )
    return total / (3 * scales)


def _structure(image: Tensor, target: Tensor, window: int = 5) -> Tensor:
    """Mean contrast-structure term of SSIM over box windows."""
    pool = window, 1
    mean_a, mean_b = F.avg_pool2d(image, *pool), F.avg_pool2d(target, *pool)
    var_a = F.avg_pool2d(image.square(), *pool) - mean_a.square()
    var_b = F.avg_pool2d(target.square(), *pool) - mean_b.square()
    cov = F.avg_pool2d(image * target, *pool) - mean_a * mean_b
    return ((2 * cov + 3.6e-3) / (var_a + var_b + 3.6e-3)).mean()  # C2 of SSIM, (0.03 x range 2)^2


_BACKBONES = {
    "vgg": "vgg16-397923af.pth",
    "alex": "alexnet-owt-7be5be79.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
}


def lpips_weights(net: str) -> Path | None:
    """Return the path of LPIPS's backbone in torch's local cache, or None if it is not there.

    Raises:
        UnknownNameError: the net is not "vgg", "alex" or "squeeze".
    """
    if net not in _BACKBONES:
        raise UnknownNameError(f"unknown LPIPS network '{net}'; known: {', '.join(_BACKBONES)}")
    path = Path(torch.hub.get_dir()) / "checkpoints" / _BACKBONES[net]
    return path if path.exists() else None


def load_lpips(net: str, spatial: bool = False) -> Any | None:
    """Return the frozen LPIPS network "vgg", "alex" or "squeeze"; None without the package or its weights.

    Raises:
        CheckpointError: the file in torch's cache is broken, or of another network.
    """
    if (path := lpips_weights(net)) is None:
        return None
    try:
        import lpips
    except ImportError:
        return None
    try:
        found = lpips.LPIPS(net=net, spatial=spatial, verbose=False)
    except (RuntimeError, EOFError, UnpicklingError) as error:
        raise CheckpointError(f"'{path}' has no weights of {net} for LPIPS; remove it") from error
    return found.eval().requires_grad_(False)


def perceptual_loss(net: str = "vgg", device: torch.device | str = "cpu") -> tuple[ImageLoss, str]:
    """Return the perceptual loss and its name: LPIPS if its weights are cached, else `multiscale_loss`.

    Nothing is downloaded. LPIPS maps are spatial and averaged, as in In-N-Out's release.
    """
    network = load_lpips(net, spatial=True)
    if network is None:
        return multiscale_loss, "multiscale (no LPIPS weights in the local cache)"
    network = network.to(device)

    def loss(image: Tensor, target: Tensor) -> Tensor:
        return network(image, target).mean()

    return loss, f"lpips-{net}"
