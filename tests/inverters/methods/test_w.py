"""W inversion: one code for all layers, and the schedule of the public projectors."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from inverters.methods.table import find_method
from tests.inverters.methods.test_w_plus import crop_psnr
from tests.inverters.tiny import invert, own_clip, tiny, tiny_generator


@pytest.mark.parametrize("preset", ["tiny", "paper"])
def test_layers_of_w_are_one_code_and_those_of_w_plus_are_not(preset: str) -> None:
    generator = tiny_generator()
    problem = own_clip(generator, 2)
    for method, one in (("w", True), ("w+", False)):
        settings = tiny(method) if preset == "tiny" else find_method(method).presets[preset]
        found = invert(method, generator, problem, settings, steps=20)
        assert found.ws.shape == (2, generator.num_ws, 16) and found.method == method
        assert torch.equal(found.ws, found.ws[:, :1].expand_as(found.ws)) is one
        assert found.fingerprint == "tiny" and not found.cameras and not found.generator


@pytest.mark.parametrize("frames", [1, 4])
def test_a_known_face_is_found(frames: int) -> None:
    generator = tiny_generator()
    problem = own_clip(generator, frames)
    found = invert("w", generator, problem, steps=60)
    at_start = replace(found, ws=generator.card.w_avg.expand_as(found.ws))
    assert crop_psnr(generator, problem, found) > crop_psnr(generator, problem, at_start) + 5


def test_the_projector_compares_features_alone_and_improves_them() -> None:
    generator = tiny_generator()
    found = invert("w", generator, own_clip(generator, 1), find_method("w").presets["paper"], steps=40)
    assert set(found.history) == {"codes/features"}
    losses = found.history["codes/features"]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
