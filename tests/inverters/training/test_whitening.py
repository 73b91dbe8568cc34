"""Whitened codes: the same pictures, and codes of mean zero and variance one at most."""

from __future__ import annotations

import copy

import torch

from inverters.generators.eg3d import Generator
from inverters.generators.load import load_generator
from inverters.training.losses import as_used, planes_of
from inverters.training.people_pictures import SPREAD, sample_scores, to_z
from inverters.training.whitening import Whitening
from tests.inverters.training.conftest import TINY


def test_a_generator_that_reads_whitened_codes_draws_the_same_and_comes_back() -> None:
    torch.manual_seed(0)
    generator = Generator(TINY)
    whitening = Whitening.of(generator, 500)
    scores = SPREAD * sample_scores(500, torch.Generator().manual_seed(1))
    codes = whitening(generator.mapping(to_z(scores, TINY.z_dim))[:, 0])
    assert codes.mean(0).abs().max() < 0.3 and codes.var(0).max() < 1.5

    inside = copy.deepcopy(generator)
    whitening.enter(inside)
    truth, ws = planes_of(generator, scores[:3])
    planes, read = planes_of(inside, scores[:3], whitening=whitening)
    torch.testing.assert_close(planes, truth, atol=1e-3, rtol=1e-3)
    features = torch.randn(3, TINY.feature_channels, 16, 16)
    drawn = inside.superresolution(features, read)
    torch.testing.assert_close(drawn, generator.superresolution(features, ws), atol=1e-3, rtol=1e-3)
    back = planes_of(as_used(inside, whitening), scores[:3])[0]
    torch.testing.assert_close(back, truth, atol=1e-3, rtol=1e-3)
    assert Whitening.stored({}) is None
    again = Whitening.stored(whitening.tensors())
    assert again is not None and torch.equal(again.inverse, whitening.inverse)


def test_what_the_bundled_codes_are_like_is_why() -> None:
    generator = load_generator("bundled")
    ws = generator.mapping(
        to_z(SPREAD * sample_scores(4000, torch.Generator().manual_seed(2)), generator.config.z_dim)
    )[:, 0]
    variances = torch.linalg.eigvalsh(torch.cov(ws.T)).flip(0)
    assert ws.mean(0).square().sum() > variances.sum()
    assert variances[:10].mean() > 10 * variances[50:150].mean()
    whitened = Whitening.of(generator, 4000)(ws)
    assert torch.linalg.eigvalsh(torch.cov(whitened.T)).flip(0)[:150].min() > 0.5
