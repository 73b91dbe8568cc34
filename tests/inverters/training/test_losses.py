"""Losses of the generator in training."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from inverters.training.losses import texture


@pytest.fixture
def truth() -> Tensor:
    """A wall with a faint grain [2,3,64,64] in [-1,1]: two levels of 256."""
    grain = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    return 0.4 + 0.016 * grain


def test_the_truth_has_its_own_texture(truth: Tensor) -> None:
    assert texture(truth, truth).item() == pytest.approx(0, abs=1e-4)
    assert texture(truth + 0.2, truth).item() == pytest.approx(0, abs=1e-2)  # a shade is not a texture


def test_a_faint_grain_counts(truth: Tensor) -> None:
    plain = torch.full_like(truth, 0.4)
    assert texture(plain, truth).item() > 0.3
    assert texture(truth, plain).item() > 0.3
    assert texture(-truth, truth).item() > texture(plain, truth).item()


def test_two_plain_walls_have_the_same_texture() -> None:
    dark, light = torch.full((1, 3, 32, 32), -0.9), torch.full((1, 3, 32, 32), 0.9)
    assert texture(dark, light).item() == pytest.approx(0, abs=2e-2)


def test_its_gradient_is_finite_where_nothing_differs(truth: Tensor) -> None:
    image = truth.clone().requires_grad_()
    texture(image, torch.zeros_like(truth)).backward()
    assert image.grad is not None and torch.isfinite(image.grad).all()
