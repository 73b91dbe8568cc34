"""A widened generator draws what the narrow one drew, and learns with all of its channels."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from inverters.errors import CheckpointError
from inverters.generators.eg3d import Generator
from inverters.training.losses import planes_of
from inverters.training.people_pictures import NUM_PARAMETERS
from inverters.training.widening import load_widened
from tests.inverters.training.conftest import TINY

WIDE = replace(TINY, channel_base=400, channel_max=24)


def test_planes_stay_and_every_new_channel_learns() -> None:
    torch.manual_seed(0)
    narrow, wide = Generator(TINY), Generator(WIDE)
    for module in narrow.modules():
        if hasattr(module, "noise_strength"):
            torch.nn.init.constant_(module.noise_strength, 0.3)
    load_widened(wide, narrow.state_dict(), TINY)
    scores = torch.randn(3, NUM_PARAMETERS)
    torch.testing.assert_close(planes_of(wide, scores)[0], planes_of(narrow, scores)[0], atol=1e-5, rtol=1e-4)
    for _ in range(2):  # the zeros first, then what they hold back
        planes_of(wide, scores)[0].square().mean().backward()
        with torch.no_grad():
            for parameter in wide.backbone.synthesis.parameters():
                parameter -= 0.1 * parameter.grad if parameter.grad is not None else 0
                parameter.grad = None
    planes_of(wide, scores)[0].square().mean().backward()
    slope = wide.backbone.synthesis.b16.conv1.weight.grad
    assert slope is not None and slope.shape == (24, 24, 3, 3)
    assert (slope.abs().amax((1, 2, 3)) > 0).all()


def test_a_generator_that_is_not_narrower_is_refused() -> None:
    with pytest.raises(CheckpointError, match="more channels: backbone"):
        load_widened(Generator(TINY), Generator(WIDE).state_dict(), WIDE)
    other = replace(TINY, decoder_hidden=8)
    with pytest.raises(CheckpointError, match="another decoder_hidden"):
        load_widened(Generator(TINY), Generator(other).state_dict(), other)
