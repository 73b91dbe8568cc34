"""Stitching: the border comes to meet the source, the inside stays edited, the generator is not changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from inverters.base import Inversion, InversionProblem, get_inverter
from inverters.presets import PRESETS
from inverters.stitching import STITCHING, StitchPreset, stitched, stitching_of
from inverters.synthesis import InversionRenderer
from tests.inverters.tiny import own_clip, tiny_generator

ALL = StitchPreset(steps=12, rate=5e-3)
SHORT = replace(ALL, parts=("superresolution.",))


def masks() -> tuple[torch.Tensor, torch.Tensor]:
    """The middle of a crop of 32 pixels, and a ring of five about it."""
    inside, border = torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    border[..., 5:27, 5:27] = 1
    inside[..., 10:22, 10:22] = 1
    return inside, border - inside


def scene(method: str = "w+") -> tuple[InversionRenderer, InversionProblem, Inversion]:
    generator = tiny_generator()
    problem = own_clip(generator, 2, occluder=method == "in-n-out")
    found = get_inverter(method)(generator, problem, preset="tiny", steps=12)
    return InversionRenderer(generator, found), problem, found


def error(one: torch.Tensor, other: torch.Tensor, mask: torch.Tensor) -> float:
    return float(((one - other) * mask).square().sum() / mask.sum() / 3)


@pytest.mark.parametrize("preset", [ALL, SHORT])
@pytest.mark.parametrize("method", ["w+", "in-n-out"])
def test_the_border_meets_the_source_and_the_inside_stays(method: str, preset: StitchPreset) -> None:
    renderer, problem, found = scene(method)
    before = {k: v.clone() for k, v in renderer.generator.state_dict().items()}
    at = np.array([1])
    cameras = problem.cam2world[at], problem.intrinsics[at]
    ws = found.ws[at] + 0.4
    edited = renderer.render(at, *cameras, ws=ws).image
    source = torch.from_numpy(problem.crops[at]).permute(0, 3, 1, 2).float() / 127.5 - 1
    inside, border = masks()
    image = stitched(renderer, 1, *cameras, ws, edited, source, inside, border, preset)
    assert image.shape == edited.shape and float(image.abs().max()) <= 1
    assert error(image, source, border) < error(edited, source, border)
    content = replace(preset, lambda_content=10.0)
    kept = stitched(renderer, 1, *cameras, ws, edited, source, inside, border, content)
    assert error(kept, edited, inside) < error(image, edited, inside)
    assert all(torch.equal(v, before[k]) for k, v in renderer.generator.state_dict().items())
    again = stitched(renderer, 1, *cameras, ws, edited, source, inside, border, preset)
    assert torch.equal(again, image), "frames know nothing of each other"


def test_a_border_that_is_near_is_left_alone() -> None:
    renderer, problem, found = scene()
    at = np.array([0])
    cameras = problem.cam2world[at], problem.intrinsics[at]
    ws = found.ws[at] + 0.4
    edited = renderer.render(at, *cameras, ws=ws).image
    near = replace(ALL, stop=1e9)
    image = stitched(renderer, 0, *cameras, ws, edited, torch.zeros_like(edited), *masks(), near)
    torch.testing.assert_close(image, edited, atol=1e-5, rtol=0)


def test_every_preset_has_numbers_for_stitching() -> None:
    assert set(STITCHING) <= set(PRESETS)
    for name in PRESETS:
        assert stitching_of(name).steps > 0
    assert stitching_of("released-masked") == STITCHING["paper"]
