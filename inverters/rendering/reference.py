"""The specification renderer in plain torch: one radiance field, or two over one shared sorted depth set.

Any floating dtype, differentiable (but for the depths of the samples), any subset of rays. EG3D's two-pass
rendering with In-N-Out's composite (section 4.3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from inverters.rendering import marching
from inverters.rendering.marching import Transmittance, Weights
from inverters.rendering.planes import PlaneAxes, mean_features

Decoder = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Features [N,M,C] -> (raw sigma [N,M], colour features [N,M,K] in about [0,1])."""
OODDecoder = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor, Tensor]]
"""(features [N,M,C], phi [N,P] or None) -> (raw sigma [N,M], colours [N,M,K], blend [N,M] in [0,1])."""


_CPU_SAMPLES = 1 << 16


@dataclass(frozen=True)
class Sampling:
    """Where rays are sampled, and in what volume.

    By default deterministic: coarse samples in the middle of their strata, u_k = (k+0.5)/fine. With `rng`
    both are drawn from it; `jitter` [N or 1, R or 1, coarse] and `u` [N or 1, R or 1, fine] in [0,1) fix them
    outright.
    """

    coarse: int = 48
    fine: int = 48
    ray_start: float = 2.25
    ray_end: float = 3.3
    box_warp: float = 1.0
    plane_axes: PlaneAxes = "original"
    white_back: bool = False
    rng: torch.Generator | None = None
    jitter: Tensor | None = None
    u: Tensor | None = None

    def coarse_depths(self, n: int, rays: int, like: Tensor) -> Tensor:
        """Sorted depths [n,rays,coarse]: linspace + jitter * step, up to a step past `ray_end` as EG3D's."""
        start = torch.linspace(
            self.ray_start, self.ray_end, self.coarse, dtype=like.dtype, device=like.device
        )
        step = (self.ray_end - self.ray_start) / (self.coarse - 1)
        return (start + self._draw(self.jitter, n, rays, self.coarse, like) * step).expand(
            n, rays, self.coarse
        )

    def fine_positions(self, n: int, rays: int, like: Tensor) -> Tensor:
        """Positions [n,rays,fine] in [0,1) at which the coarse weights' inverse CDF is read."""
        if self.u is None and self.rng is None:
            grid = (torch.arange(self.fine, dtype=like.dtype, device=like.device) + 0.5) / self.fine
            return grid.expand(n, rays, self.fine)
        return self._draw(self.u, n, rays, self.fine, like).expand(n, rays, self.fine)

    def _draw(self, given: Tensor | None, n: int, rays: int, count: int, like: Tensor) -> Tensor:
        if given is not None:
            return given.to(like)
        if self.rng is not None:
            return torch.rand(n, rays, count, generator=self.rng, device=self.rng.device).to(like)
        return torch.full((1, 1, 1), 0.5, dtype=like.dtype, device=like.device)


@dataclass(frozen=True)
class OODField:
    """A second field over the same samples: planes [1 or N,3,C,R,R] and a decoder that also takes phi."""

    planes: Tensor
    decoder: OODDecoder


@dataclass(frozen=True)
class RayResult:
    """What a bundle of rays met: K intervals over K+1 sorted samples; None where there is no OOD field."""

    features: Tensor  # [N,R,C] in about [-1,1]
    depth: Tensor  # [N,R] along the unit ray, within the range of the samples
    opacity: Tensor  # [N,R] sum of the weights
    weights: Tensor  # [N,R,K] of both fields together
    depths: Tensor  # [N,R,K+1] sorted, no gradient
    blend: Tensor | None = None  # [N,R] sum of weights times blend
    sample_blend: Tensor | None = None  # [N,R,K+1] in the order of `depths`
    ood_opacity: Tensor | None = None  # [N,R] sum of the OOD field's share of the weights
    ood_features: Tensor | None = None  # [N,R,C] the OOD field rendered alone, without its blend (on request)


@dataclass(frozen=True)
class _Samples:
    """Both fields at samples [N,R,S] (colours [N,R,S,C]); OOD entries None without a second field."""

    sigma: Tensor
    color: Tensor
    ood_sigma: Tensor | None = None
    ood_color: Tensor | None = None
    blend: Tensor | None = None


def render_rays(
    ind_planes: Tensor,
    ind_decoder: Decoder,
    origins: Tensor,
    directions: Tensor,
    sampling: Sampling,
    ood: OODField | None = None,
    phi: Tensor | None = None,
    transmittance: Transmittance = "product",
    blend_override: float | None = None,
    blend_scale: Tensor | float | None = None,
    want_ood_features: bool = False,
    chunk: int | None = None,
) -> RayResult:
    """Render rays through one field or two (EG3D section 4 of its paper; In-N-Out equations 2 to 4).

    Args:
        ind_planes: [N or 1,3,C,R,R]; origins, directions: [N,R,3] with unit directions; phi: [N,P] or None.
        transmittance: see `marching.composite_weights`.
        blend_override: a number in place of the blend everywhere (0: OOD removed).
        blend_scale: factor on the blend, a number or one per ray [N,R]; the product is kept within [0,1].
        want_ood_features: also render the OOD field alone.
        chunk: rays at a time; None: pieces that suit a CPU's cache, all at once on other devices. The result
            does not depend on it, because random draws are made before.
    Returns:
        RayResult. Depths of samples carry no gradient; colours, densities and blends of both passes do.
    """
    n, rays, _ = origins.shape
    coarse = sampling.coarse_depths(n, rays, origins)
    u = sampling.fine_positions(n, rays, origins)
    low, high = coarse.min(), coarse.max()  # fine depths lie between coarse ones
    scale = None if blend_scale is None else torch.as_tensor(blend_scale).to(origins).expand(n, rays)
    job = _Job(
        ind_planes,
        ind_decoder,
        sampling,
        ood,
        phi,
        transmittance,
        blend_override,
        want_ood_features,
        low,
        high,
    )
    step = chunk or _ray_piece(n, rays, sampling, origins.device)
    parts = [
        job.render(
            *(None if t is None else t[:, a : a + step] for t in (origins, directions, coarse, u, scale))
        )
        for a in range(0, rays, step)
    ]
    return parts[0] if len(parts) == 1 else _joined(parts)


def _ray_piece(n: int, rays: int, sampling: Sampling, device: torch.device) -> int:
    """Rays of each frame at a time: on a CPU about 65,000 samples a pass, measured as the fastest."""
    if device.type != "cpu":
        return max(rays, 1)
    return max(1, _CPU_SAMPLES // (n * max(sampling.coarse, sampling.fine)))


@dataclass(frozen=True)
class _Job:
    """The arguments of one call that do not depend on the chunk of rays."""

    planes: Tensor
    decoder: Decoder
    sampling: Sampling
    ood: OODField | None
    phi: Tensor | None
    transmittance: Transmittance
    blend_override: float | None
    want_ood_features: bool
    low: Tensor
    high: Tensor

    def render(
        self, origins: Tensor, directions: Tensor, coarse: Tensor, u: Tensor, scale: Tensor | None
    ) -> RayResult:
        first = self._evaluate(origins, directions, coarse, scale)
        if not self.sampling.fine:
            return self._composite([first], coarse, None)
        with torch.no_grad():
            fine = marching.importance_depths(coarse, self._weights(first, coarse).total, u)
        second = self._evaluate(origins, directions, fine, scale)
        depths, order = torch.sort(torch.cat([coarse, fine], dim=-1), dim=-1, stable=True)
        return self._composite([first, second], depths, order)

    def _evaluate(
        self, origins: Tensor, directions: Tensor, depths: Tensor, scale: Tensor | None
    ) -> _Samples:
        """Both fields at the samples, each point projected once."""
        n, rays, count = depths.shape
        points = (origins[:, :, None] + depths[..., None] * directions[:, :, None]).reshape(n, -1, 3)
        s, shape = self.sampling, (n, rays, count)
        sigma, color = self.decoder(mean_features(self.planes, points, s.box_warp, s.plane_axes))
        sigma, color = sigma.reshape(shape), color.reshape(*shape, -1)
        if self.ood is None:
            return _Samples(sigma, color)
        features = mean_features(self.ood.planes, points, s.box_warp, s.plane_axes)
        ood_sigma, ood_color, blend = self.ood.decoder(features, self.phi)
        blend = blend.reshape(shape)
        if self.blend_override is not None:
            blend = torch.full_like(blend, self.blend_override)
        elif scale is not None:
            blend = (blend * scale[..., None]).clamp(0, 1)
        return _Samples(sigma, color, ood_sigma.reshape(shape), ood_color.reshape(*shape, -1), blend)

    def _weights(self, at: _Samples, depths: Tensor) -> Weights:
        if at.ood_sigma is None or at.blend is None:
            return marching.single_weights(at.sigma, depths)
        return marching.composite_weights(at.sigma, at.ood_sigma, at.blend, depths, self.transmittance)

    def _composite(self, passes: list[_Samples], depths: Tensor, order: Tensor | None) -> RayResult:
        """March both passes together. Only scalars are sorted; colours stay where they were evaluated."""
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
            weights=total,
            depths=depths,
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
            sample_blend=scalars.blend,
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

    The weights are moved to the samples and back to the order of evaluation, which is cheaper than sorting
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
    values = {}
    for f in fields(RayResult):
        column = [getattr(p, f.name) for p in parts]
        values[f.name] = None if column[0] is None else torch.cat(column, dim=1)
    return RayResult(**values)
