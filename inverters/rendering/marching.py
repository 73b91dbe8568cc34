"""Volume rendering along sorted samples: EG3D's midpoint marcher and sampler, and the two-field composite.

n sorted samples make n-1 intervals. Raw densities (and colours, depths, blends) of an interval are the means
of its two ends; density = softplus(raw - 1); alpha = 1 - exp(-density * length).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Transmittance = Literal["product", "sum"]

_EPS = 1e-10
"""Added to every factor of the transmittance, as in the released marchers."""


def midpoints(x: Tensor) -> Tensor:
    """Means of neighbours along the last dimension: [...,n] -> [...,n-1]."""
    return (x[..., 1:] + x[..., :-1]) / 2


def optical_depth(sigma: Tensor, depths: Tensor) -> Tensor:
    """Density times length of every interval [...,n-1] from raw densities and sorted depths [...,n]."""
    return F.softplus(midpoints(sigma) - 1) * (depths[..., 1:] - depths[..., :-1])


def alpha_of(optical: Tensor) -> Tensor:
    """Opacity of an interval: 1 - exp(-optical depth)."""
    return 1 - torch.exp(-optical)


def product_transmittance(clear: Tensor) -> Tensor:
    """T_k = product over j < k of (clear_j + 1e-10), for the transparencies [...,m] of the intervals."""
    ones = torch.ones_like(clear[..., :1])
    return torch.cumprod(torch.cat([ones, clear[..., :-1] + _EPS], dim=-1), dim=-1)


@dataclass(frozen=True)
class Weights:
    """Weight of each interval in its ray, [...,n-1] each.

    `ind` is the share of the generator's field, `ood` that of the second field (None without one), `total`
    their sum.
    """

    ind: Tensor
    ood: Tensor | None
    total: Tensor


def single_weights(sigma: Tensor, depths: Tensor) -> Weights:
    """Weights alpha_k T_k of one field; they add up to at most 1 (but for the 1e-10)."""
    alpha = alpha_of(optical_depth(sigma, depths))
    weights = alpha * product_transmittance(1 - alpha)
    return Weights(ind=weights, ood=None, total=weights)


def composite_weights(
    sigma_ind: Tensor,
    sigma_ood: Tensor,
    blend: Tensor,
    depths: Tensor,
    transmittance: Transmittance = "product",
) -> Weights:
    """Weights of two fields over one shared set of sorted depths (In-N-Out, section 4.3, equation 4).

    The interval's weight is (b aO + (1-b) aI) T. `sum` is the paper's T = exp(-sum (sO + sI) delta): where
    the blend is zero the second field's density still occludes the face. `product`, as released, is T = prod
    (1 - b aO)(1 - (1-b) aI): where the blend is zero the generator's field is unchanged. The weights of a ray
    add up to at most 4/3 with `product` (both fields opaque and b = 1/2), to at most 1 with `sum`.

    Args:
        sigma_ind: raw densities [...,n] of the generator's field.
        sigma_ood: raw densities [...,n] of the second field.
        blend: b [...,n] in [0,1].
        depths: [...,n], sorted.
        transmittance: `product` or `sum`.
    """
    optical_ind, optical_ood = optical_depth(sigma_ind, depths), optical_depth(sigma_ood, depths)
    b = midpoints(blend)
    ind, ood = (1 - b) * alpha_of(optical_ind), b * alpha_of(optical_ood)
    if transmittance == "product":
        passed = product_transmittance((1 - ood) * (1 - ind))
    else:
        both = optical_ind + optical_ood
        passed = torch.exp(-(both.cumsum(dim=-1) - both))
    ind, ood = ind * passed, ood * passed
    return Weights(ind=ind, ood=ood, total=ind + ood)


def to_samples(weights: Tensor) -> Tensor:
    """Interval weights [...,n-1] as sample weights [...,n]: an interval's colour is the mean of its ends."""
    half = weights / 2
    return F.pad(half, (0, 1)) + F.pad(half, (1, 0))


def depth_of(weights: Tensor, depths: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Weighted depth of each ray, clamped to [low, high]; rays without a hit get `high`, as in EG3D.

    `weights` [...,n-1] belong to the intervals of sorted `depths` [...,n]; `low` and `high` are the least and
    greatest depth of the whole batch.
    """
    total = weights.sum(dim=-1)
    hit = total > 0
    mean = (weights * midpoints(depths)).sum(dim=-1) / torch.where(hit, total, 1.0)
    return torch.where(hit, mean, high).clamp(low, high)


def march(
    colors: Tensor, sigma: Tensor, depths: Tensor, white_back: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """EG3D's marcher of one field over sorted samples: the specification of the renderer.

    Args:
        colors: [...,n,C] in [0,1].
        sigma: raw densities [...,n].
        depths: [...,n], sorted.
        white_back: white background in place of black.

    Returns:
        colours [...,C] in [-1,1], depth [...], weights [...,n-1].
    """
    weights = single_weights(sigma, depths).total
    color = (weights[..., None] * (colors[..., 1:, :] + colors[..., :-1, :]) / 2).sum(dim=-2)
    if white_back:
        color = color + 1 - weights.sum(dim=-1, keepdim=True)
    return 2 * color - 1, depth_of(weights, depths, depths.min(), depths.max()), weights


@torch.no_grad()
def importance_depths(depths: Tensor, weights: Tensor, u: Tensor) -> Tensor:
    """Fine depths by EG3D's inverse CDF, with its half-sample offset; its last bin is never sampled.

    Args:
        depths: sorted coarse depths [...,S].
        weights: of their intervals, [...,S-1].
        u: [...,F] in [0,1).

    Returns:
        [...,F], in the order of u. No gradient.
    """
    padded = F.pad(weights, (1, 1), value=0.0)
    widest = torch.maximum(padded[..., 1:], padded[..., :-1])
    smooth = midpoints(widest) + 0.01
    # The bins are the midpoints of the coarse depths; bin k takes the smoothed weight of interval k+1.
    mass = smooth[..., 1:-1] + 1e-5
    cdf = torch.cumsum(mass / mass.sum(dim=-1, keepdim=True), dim=-1)
    cdf = F.pad(cdf, (1, 0))
    last = cdf.shape[-1] - 1
    above = torch.searchsorted(cdf.contiguous(), u.contiguous(), right=True)
    below = (above - 1).clamp_min(0)
    above = above.clamp_max(last)
    bins = midpoints(depths)
    cdf_low, cdf_high = cdf.gather(-1, below), cdf.gather(-1, above)
    bin_low, bin_high = bins.gather(-1, below), bins.gather(-1, above)
    span = cdf_high - cdf_low
    span = torch.where(span < 1e-5, torch.ones_like(span), span)
    return bin_low + (u - cdf_low) / span * (bin_high - bin_low)
