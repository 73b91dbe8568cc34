"""Losses: closed forms of the paper's equations, and what each must prefer."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inverters.fitting import losses


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_latent_distance_is_equation_1() -> None:
    w_avg = normal(8)
    ws = w_avg + torch.ones(2, 3, 8) * torch.tensor([1.0, 2.0])[:, None, None]
    assert losses.latent_distance(ws, w_avg).item() == pytest.approx((24 + 96) / 2, rel=1e-5)
    unsquared = (math.sqrt(24) + math.sqrt(96)) / 2
    assert losses.latent_distance(ws, w_avg, squared=False).item() == pytest.approx(unsquared, rel=1e-5)


def test_layer_spread_ignores_the_shared_part_and_may_skip_the_last_layer() -> None:
    ws = normal(2, 1, 8).expand(2, 4, 8).clone()
    assert losses.layer_spread(ws).item() == 0
    ws[:, 3] += 1
    assert losses.layer_spread(ws).item() == pytest.approx(8.0, rel=1e-5)
    assert losses.layer_spread(ws, squared=False, skip_last=True).item() == pytest.approx(0, abs=1e-5)
    assert losses.layer_spread(ws + normal(2, 1, 8, seed=3)).item() == pytest.approx(8.0, rel=1e-4)


def test_entropy_is_equation_6() -> None:
    half = torch.full((5, 7), 0.5)
    assert losses.blend_entropy(half, reduction="sum").item() == pytest.approx(7 * math.log(2), rel=1e-5)
    assert losses.blend_entropy(half, reduction="mean").item() == pytest.approx(math.log(2), rel=1e-5)
    # With skew 2 the peak moves to sqrt(1/2), so undecided blends are pushed down rather than up.
    peak = torch.full((1, 1), math.sqrt(0.5))
    assert losses.blend_entropy(peak, skew=2.0).item() == pytest.approx(math.log(2), rel=1e-5)


@settings(max_examples=30)
@given(st.floats(0.0, 1.0), st.sampled_from([1.0, 2.0]))
def test_entropy_is_finite_and_least_at_the_ends(b: float, skew: float) -> None:
    blend = torch.tensor([[b]], requires_grad=True)
    value = losses.blend_entropy(blend, skew)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(blend.grad).all()
    for end in (0.0, 1.0):
        assert losses.blend_entropy(torch.tensor([[end]]), skew) <= value + 1e-4


def test_blend_area_counts_the_largest_on_each_ray() -> None:
    blend = torch.tensor([[0.1, 1.0, 0.0], [0.0, 0.0, 0.5]])
    assert losses.blend_area(blend).item() == pytest.approx((1 + 0.25) / 2)


def test_depth_term_does_not_see_scale_and_shift_of_disparity() -> None:
    depth = 2.4 + 0.5 * torch.rand(200, generator=torch.Generator().manual_seed(1))
    relative = 1 / (3.0 * (1 / depth) + 0.7)
    assert losses.aligned_depth_error(depth, relative).item() == pytest.approx(0, abs=1e-5)
    other = 2.4 + 0.5 * torch.rand(200, generator=torch.Generator().manual_seed(2))
    assert losses.aligned_depth_error(depth, other).item() > 0.05


def test_robust_weights_fall_with_the_residual() -> None:
    weights = losses.robust_weights(torch.tensor([0.0, 0.1, 1.0, 10.0]), 0.2)
    assert weights[0] == 1 and (weights.diff() < 0).all() and weights[-1] < 1e-6


def test_multiscale_loss_prefers_the_sharp_over_the_blurred_and_sees_colour() -> None:
    target = torch.nn.functional.interpolate(normal(1, 3, 16, 16), size=(32, 32))
    blurred = torch.nn.functional.avg_pool2d(target, 5, 1, 2, count_include_pad=False)
    assert losses.multiscale_loss(target, target).item() == pytest.approx(0, abs=1e-5)
    assert losses.multiscale_loss(blurred, target) > 0.1
    assert losses.multiscale_loss(target + 0.3, target) > 0.05
    with pytest.raises(ValueError, match="at least 8"):
        losses.multiscale_loss(target[..., :6, :6], target[..., :6, :6])


def test_perceptual_loss_says_which_one_it_is(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    loss, name = losses.perceptual_loss()
    assert loss is losses.multiscale_loss
    assert "multiscale" in name
