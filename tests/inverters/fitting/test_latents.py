"""Coordinates of a latent space: unit spread, and meaning where z has it."""

from __future__ import annotations

import torch

from inverters.fitting.latents import latent_space
from tests.inverters.tiny import tiny_generator


def test_random_coordinates_give_the_spread_of_random_faces() -> None:
    generator = tiny_generator()
    space = latent_space(generator, components=16)
    rng = torch.Generator().manual_seed(9)
    ours = space.to_w(space.sample(4000, rng))
    theirs = generator.mapping(torch.randn(4000, 16, generator=rng))[:, 0]
    assert torch.allclose(ours.mean(0), theirs.mean(0), atol=0.2 * float(theirs.std()))
    assert torch.allclose(torch.cov(ours.T), torch.cov(theirs.T), atol=0.2 * float(theirs.var()))
    assert torch.equal(space.to_w(torch.zeros(1, space.dim))[0], space.w_avg)


def test_fewer_components_keep_the_widest_axes() -> None:
    generator = tiny_generator()
    wide, all_ = latent_space(generator, 4), latent_space(generator, 16)
    assert (wide.dim, all_.dim) == (4, 16)
    one = torch.eye(16)[:4]
    assert torch.allclose(wide.to_w(one[:, :4]), all_.to_w(one), atol=1e-6)


def test_named_parameters_are_the_coordinates() -> None:
    generator = tiny_generator(parameters=("smile", "age", "hair"))
    space = latent_space(generator)
    assert space.dim == 3
    scores = torch.randn(5, 3)
    z = torch.cat([scores, torch.ones(5, 13)], 1)
    assert torch.equal(space.to_w(scores), generator.mapping(z)[:, 0])
    assert space.moving.tolist() == [1.0, 0.0, 0.0]  # a person smiles, but does not age within a clip
    assert latent_space(tiny_generator(), 4).moving.tolist() == [1.0] * 4
