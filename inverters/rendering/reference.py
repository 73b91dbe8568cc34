"""The reference renderer in plain torch: one radiance field, or two over one shared set of sorted depths.

EG3D's two-pass rendering with In-N-Out's composite (section 4.3), in any floating dtype, differentiable but
for the depths of the samples.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from inverters.rendering import marching
from inverters.rendering.fields import Field
from inverters.rendering.marching import Transmittance, Weights
from inverters.rendering.planes import mean_features
from inverters.rendering.sampling import Sampling

_CPU_SAMPLES = 1 << 16
_GPU_SAMPLES = 1 << 22


@dataclass(frozen=True)
class RayResult:
    """Result for a bundle of rays: K intervals over K+1 sorted samples.

    None for what was not requested or needs a second field.
    """

    features: Tensor  # [N,R,C] in about [-1,1]
    depth: Tensor  # [N,R] along the unit ray, within the range of the samples
    opacity: Tensor  # [N,R] sum of the weights
    blend: Tensor | None = None  # [N,R] sum of weights times blend
    ood_opacity: Tensor | None = None  # [N,R] sum of the OOD field's share of the weights
    weights: Tensor | None = None  # [N,R,K] of both fields together (on request)
    depths: Tensor | None = None  # [N,R,K+1] sorted, no gradient (on request)
    sample_blend: Tensor | None = None  # [N,R,K+1] in the order of `depths` (on request)
    ood_features: Tensor | None = None  # [N,R,C] the OOD field rendered alone, without its blend (on request)


@dataclass(frozen=True)
class _Samples:
    """Both fields at samples [N,R,S] (colours [N,R,S,C]); the second field's entries are None without one."""

    sigma: Tensor
    color: Tensor
    ood_sigma: Tensor | None = None
    ood_color: Tensor | None = None
    blend: Tensor | None = None


def render_rays(
    field: Field,
    origins: Tensor,
    directions: Tensor,
    sampling: Sampling,
    ood: Field | None = None,
    transmittance: Transmittance = "product",
    want_samples: bool = False,
    want_ood_features: bool = False,
    chunk: int | None = None,
) -> RayResult:
    """Specification of `fused.render_rays`, with its arguments, in any floating precision.

    `chunk` is the number of rays at a time; None takes a number that suits the device. The result does not
    depend on it, because random numbers are drawn before.

    Returns:
        RayResult. Depths of samples carry no gradient; colours, densities and blends of both passes do.
    """
    n, rays, _ = origins.shape
    coarse, limits = sampling.coarse_depths(n, rays, origins)
    u = sampling.fine_positions(n, rays, origins)
    low, high = limits.unbind()  # fine depths lie between coarse ones
    job = _Job(field, sampling, ood, transmittance, want_samples, want_ood_features, low, high)
    step = chunk or _ray_piece(n, sampling, origins.device)
    parts = [
        job.render(*(t[:, a : a + step] for t in (origins, directions, coarse, u)))
        for a in range(0, max(rays, 1), step)
    ]
    return parts[0] if len(parts) == 1 else _joined(parts)


def _ray_piece(n: int, sampling: Sampling, device: torch.device) -> int:
    """Rays of each frame at a time: on a CPU about 65,000 samples a pass, which was measured as fastest."""
    most = _CPU_SAMPLES if device.type == "cpu" else _GPU_SAMPLES
    return max(1, most // (max(n, 1) * max(sampling.coarse, sampling.fine)))


@dataclass(frozen=True)
class _Job:
    """The arguments of one call that do not depend on the chunk of rays."""

    field: Field
    sampling: Sampling
    ood: Field | None
    transmittance: Transmittance
    want_samples: bool
    want_ood_features: bool
    low: Tensor
    high: Tensor

    def render(self, origins: Tensor, directions: Tensor, coarse: Tensor, u: Tensor) -> RayResult:
        first = self._evaluate(origins, directions, coarse)
        if not self.sampling.fine:
            return self._composite([first], coarse, None)
        with torch.no_grad():
            fine = marching.importance_depths(coarse, self._weights(first, coarse).total, u)
        second = self._evaluate(origins, directions, fine)
        depths, order = torch.sort(torch.cat([coarse, fine], dim=-1), dim=-1, stable=True)
        return self._composite([first, second], depths, order)

    def _evaluate(self, origins: Tensor, directions: Tensor, depths: Tensor) -> _Samples:
        """Both fields at the samples, each point projected once."""
        n, rays, count = depths.shape
        points = (origins[:, :, None] + depths[..., None] * directions[:, :, None]).reshape(
            n, rays * count, 3
        )
        s, shape = self.sampling, (n, rays, count)
        sigma, color = self.field.decoder(mean_features(self.field.planes, points, s.box_warp, s.plane_axes))
        sigma, color = sigma.reshape(shape), color.reshape(*shape, color.shape[-1])
        if self.ood is None:
            return _Samples(sigma, color)
        features = mean_features(self.ood.planes, points, s.box_warp, s.plane_axes)
        ood_sigma, ood_color, blend = self.ood.decoder.with_blend(features)
        return _Samples(
            sigma,
            color,
            ood_sigma.reshape(shape),
            ood_color.reshape(*shape, ood_color.shape[-1]),
            blend.reshape(shape),
        )

    def _weights(self, at: _Samples, depths: Tensor) -> Weights:
        if at.ood_sigma is None or at.blend is None:
            return marching.single_weights(at.sigma, depths)
        return marching.composite_weights(at.sigma, at.ood_sigma, at.blend, depths, self.transmittance)

    def _composite(self, passes: list[_Samples], depths: Tensor, order: Tensor | None) -> RayResult:
        """March both passes together. Only scalars are sorted; colours keep their order of evaluation."""
        scalars = _sorted_scalars(passes, order)
        weights = self._weights(scalars, depths)
        total = weights.total
        opacity = total.sum(dim=-1)
        features = _weighted_colors(weights.ind, [p.color for p in passes], order)
        if weights.ood is not None:
            features = features + _weighted_colors(weights.ood, [p.ood_color for p in passes], order)
        if self.sampling.white_back:
            features = features + (1 - opacity)[..., None]
        result = RayResult(
            features=2 * features - 1,
            depth=marching.depth_of(total, depths, self.low, self.high),
            opacity=opacity,
            weights=total if self.want_samples else None,
            depths=depths if self.want_samples else None,
        )
        if weights.ood is None or scalars.blend is None or scalars.ood_sigma is None:
            return result
        ood_features = None
        if self.want_ood_features:
            alone = marching.single_weights(scalars.ood_sigma, depths).total
            ood_features = 2 * _weighted_colors(alone, [p.ood_color for p in passes], order) - 1
        return replace(
            result,
            blend=(total * marching.midpoints(scalars.blend)).sum(dim=-1),
            sample_blend=scalars.blend if self.want_samples else None,
            ood_opacity=weights.ood.sum(dim=-1),
            ood_features=ood_features,
        )


def _sorted_scalars(passes: list[_Samples], order: Tensor | None) -> _Samples:
    """Densities and blends of all passes in the order of depth; the colours are the first pass's."""

    def merged(parts: list[Tensor | None]) -> Tensor | None:
        present = [p for p in parts if p is not None]
        if not present:
            return None
        return present[0] if order is None else torch.cat(present, dim=-1).gather(-1, order)

    sigma = merged([p.sigma for p in passes])
    return replace(
        passes[0],
        sigma=passes[0].sigma if sigma is None else sigma,
        ood_sigma=merged([p.ood_sigma for p in passes]),
        blend=merged([p.blend for p in passes]),
    )


def _weighted_colors(weights: Tensor, colors: list[Tensor | None], order: Tensor | None) -> Tensor:
    """Sum over intervals of weight times mean colour: [N,R,K] and per pass [N,R,S,C] -> [N,R,C].

    The weights are moved to the samples and to the order of evaluation, which is cheaper than sorting
    colours.
    """
    of_samples = marching.to_samples(weights)
    if order is not None:
        of_samples = torch.zeros_like(of_samples).scatter(-1, order, of_samples)
    present = [c for c in colors if c is not None]
    parts = of_samples.split([c.shape[2] for c in present], dim=-1)
    products = [(w[..., None, :] @ c)[..., 0, :] for w, c in zip(parts, present, strict=True)]
    return products[0] if len(products) == 1 else products[0] + products[1]


def _joined(parts: list[RayResult]) -> RayResult:
    """Chunks of rays as one result."""
    values: dict[str, Any] = {}
    for f in fields(RayResult):
        column = [getattr(p, f.name) for p in parts]
        values[f.name] = None if column[0] is None else torch.cat(column, dim=1)
    return RayResult(**values)
