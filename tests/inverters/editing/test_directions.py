"""Directions: found against a mapping whose truth is known; what is known of one, and what one does."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from inverters.editing.directions import Direction, Directions, fit_directions, own_directions
from inverters.editing.styleclip import LevelsMapper
from inverters.errors import CheckpointError, FingerprintError, InverterError
from tests.inverters.tiny import tiny_generator

NAMES = ("smile", "age", "hair")


def to_z(scores: torch.Tensor) -> torch.Tensor:
    return torch.cat([scores, scores.new_ones(len(scores), 16 - scores.shape[1])], 1)


def test_moving_along_a_direction_is_moving_its_parameter() -> None:
    generator = tiny_generator()
    found = fit_directions(generator, NAMES, to_z, n=128, generator_rng=torch.Generator().manual_seed(1))
    assert set(found) == set(NAMES)
    scores = torch.randn(50, 3, generator=torch.Generator().manual_seed(2))
    for k, name in enumerate(NAMES):
        raised = scores.clone()
        raised[:, k] += 1
        with torch.no_grad():
            true = generator.mapping(to_z(raised))[:, 0] - generator.mapping(to_z(scores))[:, 0]
        assert torch.cosine_similarity(true.mean(0), found[name], dim=0) > 0.95
        others = [torch.cosine_similarity(true.mean(0), found[o], dim=0) for o in NAMES if o != name]
        assert max(others) < 0.9


def test_a_linear_mapping_gives_its_columns_exactly() -> None:
    class Linear:
        matrix = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
        backbone = tiny_generator().backbone
        config = tiny_generator().config

        def mapping(self, z: torch.Tensor) -> torch.Tensor:
            return (z @ self.matrix)[:, None]

    found = fit_directions(Linear(), NAMES, to_z, n=16)
    for k, name in enumerate(NAMES):
        assert torch.allclose(found[name], Linear.matrix[k], atol=1e-4)


def test_space_and_norm_are_those_of_the_step() -> None:
    w = Direction(torch.tensor([3.0, 0.0, 4.0]), "u", "m")
    assert (w.space, w.norm) == ("w", 5.0)
    plus = w.in_layers(range(1, 3), 4)
    assert plus.space == "w+" and plus.norm == 5.0  # of the layers that move
    assert plus.step.tolist() == [[0] * 3, [3, 0, 4], [3, 0, 4], [0] * 3]
    mapper = Direction(LevelsMapper(16), "u", "m")
    assert (mapper.space, mapper.norm) == ("w+", None)
    for layers in (range(3, 5), range(0)):
        with pytest.raises(InverterError, match="from 0 to 3"):
            w.in_layers(layers, 4)


def test_a_digest_is_of_what_a_direction_does() -> None:
    step = torch.arange(8.0)
    one = Direction(step, "a", "b").digest()
    assert one == Direction(step.clone(), "c", "d").digest()
    assert one != Direction(step + 1e-6, "a", "b").digest()
    assert one != Direction(step.reshape(2, 4), "a", "b").digest()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mapper = LevelsMapper(8)
    before = Direction(mapper, "a", "b").digest()
    mapper.fine_mapping[3].bias.data[0] += 1
    assert before != Direction(mapper, "a", "b").digest()


def test_directions_fit_one_generator() -> None:
    generator = tiny_generator()
    generator.card = replace(generator.card, directions={"smile": torch.ones(16)})
    own = own_directions(generator)
    own.check_fits(generator, "its card")
    assert own.named["smile"].unit == "one standard deviation of the parameter"
    with pytest.raises(FingerprintError, match=r"'other' \(0123456789ab\).*'untrained' \(tiny\)"):
        Directions(own.named, "0123456789abcdef", "other").check_fits(generator, "a file")
    for shape, told in (
        ((8,), r"\[8\].*\[16\] or \[6,16\]$"),
        ((18, 16), "18 rows are made for a 2D StyleGAN2"),
    ):
        with pytest.raises(CheckpointError, match=told):
            Directions({"x": Direction(torch.ones(shape), "", "")}).check_fits(generator, "a file")
