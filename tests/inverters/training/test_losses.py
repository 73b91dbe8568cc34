"""Losses of the generator in training."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from inverters.training.losses import robust, texture


@pytest.fixture
def truth() -> Tensor:
    """A rough wall [2,3,64,64] in [-1,1]."""
    grain = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    return 0.4 + 0.06 * grain


def stripes(across: bool) -> Tensor:
    """Fine stripes [1,3,64,64], along the rows or across them."""
    wave = torch.sin(torch.arange(64) * 2.0).expand(1, 3, 64, 64) * 0.2
    return wave if across else wave.mT


def test_the_truth_has_its_own_texture(truth: Tensor) -> None:
    assert texture(truth, truth).item() == 0
    assert texture(truth + 0.2, truth).item() == pytest.approx(0, abs=1e-6)  # a shade is not a texture


def test_where_the_grains_lie_does_not_count(truth: Tensor) -> None:
    plain = torch.full_like(truth, 0.4)
    moved = texture(truth.roll((3, 5), (2, 3)), truth).item()
    assert moved < 0.03 < 1 < texture(plain, truth).item()
    assert texture(0.4 + 0.5 * (truth - 0.4), truth).item() == pytest.approx(math.log(2) ** 2, rel=0.1)


def test_the_direction_counts() -> None:
    same, other = texture(stripes(True), stripes(True).roll(3, 3)), texture(stripes(True), stripes(False))
    assert other.item() > 1 > 0.1 > same.item()


def test_two_plain_walls_have_the_same_texture() -> None:
    dark, light = torch.full((1, 3, 32, 32), -0.9), torch.full((1, 3, 32, 32), 0.9)
    assert texture(dark, light).item() == pytest.approx(0, abs=1e-6)


def test_its_gradient_asks_for_more_where_there_is_too_little(truth: Tensor) -> None:
    image = (0.4 + 0.5 * (truth - 0.4)).requires_grad_()
    texture(image, truth).backward()
    assert image.grad is not None and torch.isfinite(image.grad).all()
    better = image.detach() - image.grad
    assert texture(better, truth) < texture(image, truth)


def test_small_errors_of_depth_count_as_they_are_and_large_ones_still_pull() -> None:
    error = torch.tensor([1e-4, 0.05, 0.5], requires_grad=True)
    counted = robust(error)
    counted.sum().backward()
    assert error.grad is not None
    assert counted[0].item() == pytest.approx(1e-4, rel=2e-3)
    assert 0.05 < error.grad[2] < error.grad[1] < error.grad[0]
