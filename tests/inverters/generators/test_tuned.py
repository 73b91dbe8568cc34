"""Tuned generators: copies that change what they are told to, and nothing else."""

from __future__ import annotations

import pytest
import torch

from inverters.errors import InverterError
from inverters.generators.tuned import trainable_copy, with_tensors
from inverters.rendering.cameras import default_intrinsics, look_at
from tests.inverters.tiny import tiny_generator


def test_replaced_tensors_stay_in_the_copy() -> None:
    generator = tiny_generator()
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    name = "backbone.synthesis.b16.conv1.weight"
    tuned = with_tensors(generator, {name: before[name] + 1})
    assert all(torch.equal(tensor, before[k]) for k, tensor in generator.state_dict().items())
    changed = [k for k, tensor in tuned.state_dict().items() if not torch.equal(tensor, before[k])]
    assert changed == [name]
    assert tuned.card is generator.card and with_tensors(generator, {}) is generator
    # What is not tuned is not in memory twice.
    assert tuned.get_parameter("decoder.net.0.weight") is generator.get_parameter("decoder.net.0.weight")


def test_what_does_not_fit_is_refused() -> None:
    generator = tiny_generator()
    with pytest.raises(InverterError, match="no parameter 'decoder\\.net\\.9\\.weight'"):
        with_tensors(generator, {"decoder.net.9.weight": torch.zeros(1)})
    with pytest.raises(InverterError, match="has shape \\[3\\]; the generator's has \\[16\\]"):
        with_tensors(generator, {"decoder.net.0.bias": torch.zeros(3)})


def test_gradients_reach_every_part_of_a_trainable_copy() -> None:
    generator = tiny_generator()
    copied, parameters = trainable_copy(generator)
    ws = generator.mapping(torch.randn(2, 16, generator=torch.Generator().manual_seed(0)))
    image = copied.synthesis(ws, look_at([0.1, -0.2], [0.0, 0.1]), default_intrinsics(2)).image
    image.square().mean().backward()
    without = {name for name, p in parameters.items() if p.grad is None}
    # Super-resolution has no noise, whatever the planes have.
    assert without == {name for name in parameters if name.startswith("superresolution.") and "noise" in name}
    assert all(p.grad.abs().sum() > 0 for p in parameters.values() if p.grad is not None and p.ndim > 1)
    assert not any(p.requires_grad for p in generator.parameters())
    assert not any(name.startswith("backbone.mapping.") for name in parameters)
