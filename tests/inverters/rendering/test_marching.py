"""The marcher, the importance sampler and the two-field composite: invariants."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from inverters.rendering import marching

seeds = st.integers(0, 2**31 - 1)


def rays(seed: int, n: int = 5, count: int = 12) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Raw densities of two fields, blends and sorted depths [n,count] in float64; from empty to opaque."""
    rng = torch.Generator().manual_seed(seed)
    draw = [torch.randn(n, count, generator=rng, dtype=torch.float64) for _ in range(2)]
    scale = 10 ** (torch.rand(n, 1, generator=rng, dtype=torch.float64) * 3 - 1)
    blend = torch.rand(n, count, generator=rng, dtype=torch.float64)
    depths = (2.25 + 1.05 * torch.rand(n, count, generator=rng, dtype=torch.float64)).sort(dim=-1).values
    return draw[0] * scale, draw[1] * scale, blend, depths


@given(seeds)
def test_weights_are_shares_of_the_light(seed: int) -> None:
    sigma, other, blend, depths = rays(seed)
    weights = marching.single_weights(sigma, depths).total
    assert weights.min() >= 0
    assert weights.sum(dim=-1).max() <= 1 + 1e-6
    summed = marching.composite_weights(sigma, other, blend, depths, "sum").total
    assert summed.min() >= 0 and summed.sum(dim=-1).max() <= 1 + 1e-6
    product = marching.composite_weights(sigma, other, blend, depths, "product").total
    assert product.min() >= 0 and product.sum(dim=-1).max() <= 4 / 3 + 1e-6


@given(seeds)
def test_weights_of_one_field_are_what_the_light_loses(seed: int) -> None:
    sigma, _, _, depths = rays(seed)
    weights = marching.single_weights(sigma, depths).total
    left = torch.exp(-marching.optical_depth(sigma, depths).sum(dim=-1))
    assert torch.allclose(weights.sum(dim=-1), 1 - left, atol=1e-6)


@given(seeds)
def test_blend_of_zero_or_one_leaves_a_single_field(seed: int) -> None:
    sigma, other, blend, depths = rays(seed)
    ind = marching.single_weights(sigma, depths).total
    ood = marching.single_weights(other, depths).total
    zero = marching.composite_weights(sigma, other, torch.zeros_like(blend), depths, "product")
    one = marching.composite_weights(sigma, other, torch.ones_like(blend), depths, "product")
    assert torch.allclose(zero.ind, ind) and not zero.ood.any()
    assert torch.allclose(one.ood, ood) and not one.ind.any()
    shadowed = marching.composite_weights(sigma, other, torch.zeros_like(blend), depths, "sum").total
    assert (shadowed <= ind + 1e-6).all()


def test_the_papers_transmittance_lets_a_removed_field_shadow() -> None:
    depths = torch.linspace(2.25, 3.3, 9)[None]
    face, wall = torch.full((1, 9), 20.0), torch.full((1, 9), 20.0)
    zero = torch.zeros(1, 9)
    product = marching.composite_weights(face, wall, zero, depths, "product").total.sum()
    paper = marching.composite_weights(face, wall, zero, depths, "sum").total.sum()
    assert product > 0.99 and paper < 0.97


def test_empty_and_opaque_rays() -> None:
    colors = torch.rand(2, 10, 4)
    depths = torch.linspace(2, 3, 10).expand(2, 10)
    sigma = torch.stack([torch.full((10,), -100.0), torch.full((10,), 1e4)])
    rgb, depth, weights = marching.march(colors, sigma, depths)
    assert (rgb[0] == -1).all() and depth[0] == 3 and weights[0].sum() == 0
    assert torch.allclose(rgb[1], colors[1, :2].mean(dim=0) * 2 - 1)
    assert depth[1] == pytest.approx(float(depths[0, :2].mean()))
    assert (marching.march(colors, sigma, depths, white_back=True)[0][0] == 1).all()


@given(seeds)
def test_sample_weights_give_the_marchers_colours(seed: int) -> None:
    sigma, _, _, depths = rays(seed)
    colors = torch.rand(*sigma.shape, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rgb, _, weights = marching.march(colors, sigma, depths)
    folded = (marching.to_samples(weights)[..., None] * colors).sum(dim=-2)
    assert torch.allclose(2 * folded - 1, rgb)


@settings(max_examples=50)
@given(seeds, st.integers(1, 9))
def test_fine_depths_are_monotone_and_stay_between_the_coarse_midpoints(seed: int, count: int) -> None:
    sigma, _, _, depths = rays(seed)
    weights = marching.single_weights(sigma, depths).total
    u = (
        torch.rand(5, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        .sort(dim=-1)
        .values
    )
    fine = marching.importance_depths(depths, weights, u)
    middle = marching.midpoints(depths)
    assert (fine.diff(dim=-1) >= -1e-12).all()
    assert (fine >= middle[:, :1] - 1e-9).all() and (fine <= middle[:, -1:] + 1e-9).all()


def test_fine_depths_gather_at_a_spike() -> None:
    depths = torch.linspace(2, 3, 11)[None]
    weights = torch.zeros(1, 10)
    weights[0, 5] = 1.0
    fine = marching.importance_depths(depths, weights, torch.linspace(0, 1, 101)[None, :-1])
    assert ((fine > 2.3) & (fine < 2.8)).float().mean() > 0.85


def test_gradients() -> None:
    sigma, other, blend, depths = rays(3, n=2, count=4)
    sigma, other, blend = (t.clamp(-3, 6).requires_grad_() for t in (sigma, other, blend))

    for rule in ("product", "sum"):
        assert torch.autograd.gradcheck(
            lambda s, o, b, rule=rule: marching.composite_weights(s, o, b, depths, rule).total,
            (sigma, other, blend),
        )
    low, high = depths.min(), depths.max()
    assert torch.autograd.gradcheck(
        lambda s: marching.depth_of(marching.single_weights(s, depths).total, depths, low, high), (sigma,)
    )


def test_depth_of_an_empty_ray_has_a_finite_gradient() -> None:
    weights = torch.zeros(1, 3, requires_grad=True)
    depths = torch.linspace(2, 3, 4)[None]
    marching.depth_of(weights, depths, depths.min(), depths.max()).sum().backward()
    assert weights.grad is not None and torch.isfinite(weights.grad).all()
