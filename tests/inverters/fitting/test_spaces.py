"""The table of latent spaces, retraction to the sphere, and the normalised space P_N."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inverters.errors import FingerprintError, UnknownNameError
from inverters.fitting.p_space import generator_statistics, statistics_of
from inverters.fitting.spaces import SPACES, LayerCodes, along_arc, find_space, mapped_rows, moved, retracted
from tests.inverters.tiny import tiny_generator


def norms_off(z: torch.Tensor) -> float:
    """Greatest distance of the norms of codes [...,D] from sqrt(D)."""
    return float((z.double().norm(dim=-1) - z.shape[-1] ** 0.5).abs().max())


@pytest.mark.parametrize("size", [1, 16, 512])
@pytest.mark.parametrize("scale", [1e-30, 1e-4, 1.0, 50.0, 1e30])
def test_retracted_codes_lie_on_the_sphere_in_their_old_direction(size: int, scale: float) -> None:
    z = scale * torch.randn(7, 3, size, generator=torch.Generator().manual_seed(size))
    found = retracted(z)
    assert norms_off(found) < 1e-4
    torch.testing.assert_close(retracted(found), found)
    torch.testing.assert_close(retracted(3 * z), found)
    wide = z.double()
    torch.testing.assert_close(found, (wide / wide.norm(dim=-1, keepdim=True) * size**0.5).float())


def test_a_zero_code_stays_zero_with_a_finite_gradient() -> None:
    z = torch.zeros(2, 16, requires_grad=True)
    found = retracted(z)
    found.sum().backward()
    assert torch.equal(found, torch.zeros(2, 16)) and torch.isfinite(z.grad).all()


def test_gradients_of_retraction_lie_in_the_sphere() -> None:
    z = torch.randn(5, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(retracted, z)
    (retracted(z) * torch.randn(5, 8, dtype=torch.float64)).sum().backward()
    assert float((z.grad * z.detach()).sum(-1).abs().max()) < 1e-12


@pytest.mark.parametrize("strength", [1.0, 20.0, 50.0, -50.0])
def test_an_edit_of_any_strength_stays_on_the_sphere(strength: float) -> None:
    rng = torch.Generator().manual_seed(2)
    z = retracted(torch.randn(2, 14, 512, generator=rng))
    direction = 0.2 * torch.randn(512, generator=rng)  # the paper's random edits: variance 0.04
    found = moved(z, strength * direction)
    assert norms_off(found) < 1e-4
    assert ((found - z) @ direction * strength > 0).all()


@pytest.mark.parametrize("strength", [0.0, 0.5, 5.0, 50.0, -50.0, 1e4])
def test_the_arc_is_that_of_a_thousand_small_retracted_steps(strength: float) -> None:
    rng = torch.Generator().manual_seed(3)
    z = retracted(torch.randn(2, 3, 512, generator=rng, dtype=torch.float64))
    step = 0.2 * torch.randn(512, generator=rng, dtype=torch.float64)
    stepped = z
    for _ in range(1000):
        stepped = retracted(stepped + strength / 1000 * step)
    found = along_arc(z, strength * step)
    assert float((found - stepped).norm() / stepped.norm()) < 5e-4
    assert norms_off(found.float()) < 1e-4


@given(st.integers(0, 10_000), st.floats(-1e6, 1e6), st.sampled_from([2, 16, 512]))
def test_an_arc_of_any_length_stays_on_the_sphere_between_code_and_direction(
    seed: int, strength: float, size: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    z, step = retracted(torch.randn(3, size, generator=rng)), torch.randn(size, generator=rng)
    whole, part = along_arc(z, strength * step), strength / 2 * step
    half = along_arc(along_arc(z, part), part)
    assert norms_off(whole) < 1e-4
    torch.testing.assert_close(whole, half, atol=1e-3, rtol=1e-3)
    nearer = (whole - z) @ step * strength
    assert (nearer >= -1e-3 * abs(strength)).all()


def test_codes_at_and_opposite_to_an_arcs_direction_stay_where_they_are() -> None:
    z = retracted(torch.eye(4)[:1])
    for sign in (1.0, -1.0):
        torch.testing.assert_close(along_arc(z, sign * 1e5 * torch.eye(4)[0]), z)


def test_each_row_is_mapped_by_itself() -> None:
    generator = tiny_generator()
    z = torch.randn(2, generator.num_ws, 16)
    ws = mapped_rows(generator, z)
    for n in range(2):
        torch.testing.assert_close(ws[n], generator.mapping(z[n])[:, 0])
    torch.testing.assert_close(mapped_rows(generator, 7 * z), ws, atol=1e-5, rtol=1e-4)


def test_rows_are_conditioned_by_their_own_label() -> None:
    generator = tiny_generator(c_dim=25)
    z, labels = torch.randn(2, 3, 16), torch.randn(2, 25)
    ws = mapped_rows(generator, z, labels)
    torch.testing.assert_close(ws[1], generator.mapping(z[1], labels[1:].expand(3, -1))[:, 0])


def test_the_table_of_spaces() -> None:
    assert set(SPACES) == {f + name for f in ("", "f/") for name in ("z", "z+", "w", "w+", "p_n+", "s")}
    assert all(find_space(name).name == name == find_space(name).family for name in SPACES)
    deep = find_space("f16/z+")
    assert (deep.block, deep.family, deep.bounded, deep.layered) == (16, "f/z+", True, True)
    generator = tiny_generator()
    assert find_space("f4/z+").block_of(generator) == 4 and find_space("f/z+").block_of(generator) == 8
    assert find_space("f/s").block_of(tiny_generator(plane_resolution=128)) == 32


@pytest.mark.parametrize("name", ["", "Z", "f/", "/z", "g/z", "f0/z", "f16z", "f16/f/z", "z++", "f/z" * 90])
def test_no_such_space(name: str) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown latent space .*; known: z, z\+, w") as caught:
        find_space(name)
    assert len(str(caught.value)) < 250 and "\n" not in str(caught.value)


# Layers


def test_offsets_of_styles_are_those_of_the_affine_layers() -> None:
    """A change of a bias of an affine layer is the same offset of its styles."""
    generator = tiny_generator()
    ws = torch.randn(2, generator.num_ws, 16)
    styles = torch.randn(1, generator.num_styles)
    found = LayerCodes(styles=styles.expand(2, -1)).planes(generator, ws)
    at = 0
    for name in generator.backbone.synthesis.names:
        block = getattr(generator.backbone.synthesis, name)
        for layer in (block.conv1, block.torgb) if block.first else (block.conv0, block.conv1, block.torgb):
            bias = layer.affine.bias
            bias += styles[0, at : at + len(bias)]
            at += len(bias)
    assert at == generator.num_styles
    torch.testing.assert_close(found, generator.planes(ws))


@pytest.mark.parametrize("skip", ["kept", "dropped"])
def test_a_base_code_with_offsets_of_styles(skip: str) -> None:
    generator = tiny_generator()
    ws, styles = torch.randn(2, generator.num_ws, 16), torch.randn(2, generator.num_styles)
    features = generator.features_at(ws, 8, styles=styles)[0]
    found = LayerCodes(features, styles, skip).planes(generator, ws)  # type: ignore[arg-type]
    same = torch.allclose(found, generator.planes(ws, styles=styles), atol=1e-5)
    assert same == (skip == "kept")


@pytest.mark.parametrize("skip", ["kept", "dropped"])
def test_a_base_code_follows_an_edit_by_the_difference_of_features(skip: str) -> None:
    """A base code that is w's own becomes the edited w's."""
    generator = tiny_generator()
    ws, edited = torch.randn(2, 2, generator.num_ws, 16)
    own = generator.features_at(ws, 8)[0]
    found = LayerCodes(own, skip=skip).following(generator, ws, edited)  # type: ignore[arg-type]
    torch.testing.assert_close(found.features, generator.features_at(edited, 8)[0])
    if skip == "kept":
        torch.testing.assert_close(found.planes(generator, edited), generator.planes(edited))
    other = LayerCodes(own + 1).following(generator, ws, edited)
    torch.testing.assert_close(other.features, generator.features_at(edited, 8)[0] + 1)
    assert torch.equal(LayerCodes(own).following(generator, ws, ws).features, own)
    assert LayerCodes().following(generator, ws, edited).features is None


# P_N


def test_random_codes_are_white_in_p() -> None:
    generator = tiny_generator()
    statistics = generator_statistics(generator, 20_000)
    w = generator.mapping(torch.randn(20_000, 16, generator=torch.Generator().manual_seed(9)))[:, 0]
    white = statistics.whitened(w)
    assert float(white.mean(0).abs().max()) < 0.05
    torch.testing.assert_close(torch.cov(white.T), torch.eye(16).double(), atol=0.08, rtol=0)
    assert float(statistics.penalty(w)) == pytest.approx(1.0, abs=0.02)
    assert float(statistics.squared_norms(w).mean()) == pytest.approx(16, rel=0.02)
    assert float(statistics.penalty(w + 3)) > 2


def test_statistics_do_not_depend_on_the_batches() -> None:
    w = torch.randn(500, 6, generator=torch.Generator().manual_seed(1)) * torch.tensor([1, 10, 0.1, 1, 1, 1])
    whole, parts = (statistics_of(w.split(n), "") for n in (500, 37))
    torch.testing.assert_close(whole.mean, parts.mean)
    torch.testing.assert_close(whole.variances, parts.variances)
    torch.testing.assert_close(whole.squared_norms(w), parts.squared_norms(w))


def test_axes_in_which_codes_do_not_differ_keep_the_penalty_finite() -> None:
    w = torch.randn(100, 6, generator=torch.Generator().manual_seed(1))
    w[:, 2] = 1.5
    statistics = statistics_of([w], "")
    assert torch.isfinite(statistics.squared_norms(w)).all()
    assert float(statistics.penalty(w)) < 1.0
    constant = statistics_of([torch.ones(9, 4)], "")
    assert float(constant.penalty(torch.ones(9, 4))) == 0


def test_statistics_of_another_generator_are_refused() -> None:
    generator = tiny_generator()
    statistics = generator_statistics(generator, 100)
    statistics.check_generator("tiny")
    other = dataclasses.replace(statistics, fingerprint="0123456789abcdef")
    with pytest.raises(FingerprintError, match="of generator 0123456789ab, but the generator in use is tiny"):
        other.check_generator("tiny")
