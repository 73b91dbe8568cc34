"""InterfaceGAN, GANSpace and SeFa against cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inverters.editing.ganspace import principal_components
from inverters.editing.interfacegan import PENALTY, conditional, fit_boundary, linear_svm
from inverters.editing.sampling import mapped, sample_codes, z_of_seeds
from inverters.editing.sefa import factorize, style_weights
from inverters.errors import InverterError
from tests.inverters.tiny import tiny_generator


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_two_points_have_the_plane_of_the_textbook() -> None:
    # x = +-a on one axis: minimise 1/2 n^2 + 2 C (1 - n a)^2, so n = 4 C a / (1 + 4 C a^2), b = 0.
    for a in (0.1, 1.0, 7.0):
        codes = torch.tensor([[a, 0.0], [-a, 0.0]])
        normal, bias = linear_svm(codes, torch.tensor([1.0, -1.0]), penalty=2.0)
        assert normal[0].item() == pytest.approx(8 * a / (1 + 8 * a * a), rel=1e-5)
        assert abs(normal[1].item()) < 1e-8 and abs(bias.item()) < 1e-6


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.floats(0.01, 100), st.floats(-50, 50))
def test_the_plane_is_the_minimum(seed: int, scale: float, shift: float) -> None:
    codes = torch.randn(60, 5, generator=rng(seed), dtype=torch.float64) * scale + shift * scale
    sign = (codes[:, 0] / scale + torch.randn(60, generator=rng(seed + 1)) > shift).double() * 2 - 1
    if sign.abs().sum() == sign.sum().abs():
        return
    normal, bias = linear_svm(codes, sign)
    slack = (1 - sign * (codes @ normal + bias)).clamp_min(0)
    # The gradient at the minimum is zero: n = 2 C sum y slack x, 0 = sum y slack.
    pull = 2 * PENALTY * (sign * slack) @ codes
    assert torch.allclose(
        normal, pull, rtol=1e-3, atol=1e-3 * float(pull.abs().max() + slack.sum() * scale * 1e-2)
    )
    assert abs(float((sign * slack).sum())) < 1e-3 * float(slack.sum())


def test_interfacegan_finds_the_normal_of_a_linear_attribute() -> None:
    true = torch.nn.functional.normalize(torch.randn(32, generator=rng(0)), dim=0)
    codes = torch.randn(3000, 32, generator=rng(1)) + 5
    plane = fit_boundary(codes, codes @ true + 0.1 * torch.randn(3000, generator=rng(2)))
    assert plane.accuracy > 0.99 and plane.normal.norm().item() == pytest.approx(1, abs=1e-5)
    assert (plane.normal @ true).item() > 0.98
    chance = fit_boundary(codes, torch.randn(3000, generator=rng(3)))
    assert 0.3 < chance.accuracy < 0.7


def test_unknown_scores_are_left_out_and_too_few_are_told() -> None:
    codes = torch.randn(500, 8, generator=rng(0))
    scores = codes[:, 2].clone()
    known = fit_boundary(codes[:400], scores[:400])
    scores[400:] = torch.nan
    assert torch.equal(fit_boundary(codes, scores).normal, known.normal)
    with pytest.raises(InverterError, match="too few; 40 is the least"):
        fit_boundary(codes[:39], scores[:39])
    with pytest.raises(InverterError, match="nothing to tell apart"):
        fit_boundary(codes, torch.ones(500))


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.integers(0, 6))
def test_a_conditional_direction_leaves_the_others_alone(seed: int, count: int) -> None:
    one, others = torch.randn(8, generator=rng(seed)), torch.randn(count, 8, generator=rng(seed + 1))
    left = conditional(one, torch.cat([others, others[:1]]))  # one of them twice
    assert left.norm().item() == pytest.approx(1, abs=1e-5)
    assert torch.allclose(others @ left, torch.zeros(count), atol=1e-4)
    assert (left @ one).item() > 0
    if count == 1:  # n1 - (n1 . n2) n2 of the paper
        unit = others[0] / others[0].norm()
        plain = one - (one @ unit) * unit
        assert torch.allclose(left, plain / plain.norm(), atol=1e-4)


def test_nothing_is_left_of_a_direction_in_the_plane_of_the_others() -> None:
    with pytest.raises(InverterError, match="nothing is left"):
        conditional(torch.tensor([1.0, 1.0, 0.0]), torch.eye(3)[:2])


def test_ganspace_finds_the_axes_and_their_spread() -> None:
    basis = torch.linalg.qr(torch.randn(12, 12, generator=rng(0)))[0]
    spread = torch.tensor([8.0, 5.0, 3.0, 2.0] + [0.1] * 8)
    codes = torch.randn(20_000, 12, generator=rng(1)) * spread @ basis.T + 3
    rows, found = principal_components(codes, 4)
    assert torch.allclose(found, spread[:4], rtol=0.03)
    assert torch.allclose((rows @ basis[:, :4]).abs(), torch.eye(4), atol=0.05)
    assert (rows.gather(1, rows.abs().argmax(1, keepdim=True)) > 0).all()
    again, _ = principal_components(codes.flip(0), 4)
    assert torch.allclose(rows, again, atol=1e-4)


def test_sefa_finds_what_moves_the_styles_most() -> None:
    weights = torch.randn(40, 10, generator=rng(0))
    rows, values = factorize(weights, 10, unit_rows=False)
    assert torch.allclose(rows @ rows.T, torch.eye(10), atol=1e-5)
    assert (values.diff() <= 0).all()
    assert torch.allclose((weights @ rows.T).square().sum(0), values, rtol=1e-4)
    best = max(float((weights @ v).norm() / v.norm()) for v in torch.randn(500, 10, generator=rng(1)))
    assert best <= float((weights @ rows[0]).norm()) * (1 + 1e-6)
    scaled = weights * torch.rand(40, 1, generator=rng(2)).add(0.1)
    for one, other in zip(factorize(weights, 3), factorize(scaled, 3), strict=True):
        assert torch.allclose(one, other, atol=1e-4)  # the release's form does not see the rows' lengths


def test_style_weights_are_those_of_the_layers_that_take_the_rows() -> None:
    generator = tiny_generator()
    all_rows = style_weights(generator, range(6))
    by_layer = [style_weights(generator, range(k, k + 1)) for k in range(6)]
    assert torch.equal(torch.cat(by_layer), all_rows)
    w = torch.randn(1, 6, 16, generator=rng(0))
    with torch.no_grad():
        before = generator.planes(w)
        moved = w.clone()
        moved[:, 5] += torch.linalg.svd(by_layer[5])[2][-1]  # 8 channels see no more than 8 of 16 directions
        assert torch.allclose(generator.planes(moved), before, atol=1e-4)
        moved[:, 5] = w[:, 5] + torch.linalg.svd(by_layer[5])[2][0]
        assert not torch.allclose(generator.planes(moved), before, atol=1e-2)
    with pytest.raises(InverterError, match="from 0 to 5"):
        style_weights(generator, range(5, 7))


def test_random_faces_carry_their_true_scores() -> None:
    generator = tiny_generator(parameters=("smile", "age"))
    codes, scores = sample_codes(generator, 7, rng(3))
    z = torch.cat([scores, torch.ones(7, 14)], 1)
    assert torch.equal(codes, generator.mapping(z)[:, 0])
    nameless, none = sample_codes(tiny_generator(), 5, rng(3))
    assert nameless.shape == (5, 16) and none.shape == (5, 0)


def test_seeds_are_those_of_the_official_script() -> None:
    generator = tiny_generator()
    codes = mapped(generator, z_of_seeds(generator, [3, 85]))
    for code, seed in zip(codes, (3, 85), strict=True):
        z = torch.from_numpy(np.random.RandomState(seed).randn(1, 16)).float()
        assert torch.allclose(code, generator.mapping(z)[0, 0], atol=1e-6)
