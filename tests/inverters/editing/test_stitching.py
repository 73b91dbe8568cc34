"""Stitching: the border approaches the source, the inside stays edited, the generator is not changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from inverters.base import Inversion, InversionProblem
from inverters.editing import stitching
from inverters.editing.stitching import STITCHING, Stitcher, StitchSettings, stitching_of
from inverters.errors import UnknownNameError
from inverters.fields.synthesis import InversionRenderer
from inverters.fitting.losses import multiscale_loss
from inverters.methods.table import find_method, method_names
from pipeline.request.fields import fields_of
from pipeline.request.settings import CompositeSettings
from tests.inverters.tiny import invert, own_clip, tiny_generator

ALL = StitchSettings(steps=12, rate=5e-3)
SHORT = replace(ALL, parts=("superresolution.",))
CODES = replace(ALL, parts=(), rate=2e-2)


def masks() -> tuple[torch.Tensor, torch.Tensor]:
    """The middle of a crop of 32 pixels, and a ring of five about it."""
    inside, border = torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    border[..., 5:27, 5:27] = 1
    inside[..., 10:22, 10:22] = 1
    return inside, border - inside


def scene(method: str = "w+") -> tuple[InversionRenderer, InversionProblem, Inversion]:
    generator = tiny_generator()
    problem = own_clip(generator, 2, occluder=method == "in-n-out")
    found = invert(method, generator, problem, steps=12)
    return InversionRenderer(generator, found), problem, found


def error(one: torch.Tensor, other: torch.Tensor, mask: torch.Tensor) -> float:
    return float(((one - other) * mask).square().sum() / mask.sum() / 3)


@pytest.mark.parametrize("preset", [ALL, SHORT, CODES])
@pytest.mark.parametrize("method", ["w+", "in-n-out"])
def test_the_border_meets_the_source_and_the_inside_stays(method: str, preset: StitchSettings) -> None:
    renderer, problem, found = scene(method)
    before = {k: v.clone() for k, v in renderer.generator.state_dict().items()}
    at = np.array([1])
    cameras = problem.cam2world[at], problem.intrinsics[at]
    ws = found.ws[at] + 0.4
    edited = renderer.render(at, *cameras, ws=ws).image
    source = torch.from_numpy(problem.crops[at]).permute(0, 3, 1, 2).float() / 127.5 - 1
    inside, border = masks()
    what = (1, *cameras, ws, edited, source, inside, border)
    image = Stitcher(renderer, preset).stitch(*what)
    assert image.shape == edited.shape and float(image.abs().max()) <= 1
    assert error(image, source, border) < error(edited, source, border)
    content = replace(preset, lambda_content=10.0)
    kept = Stitcher(renderer, content).stitch(*what)
    assert error(kept, edited, inside) < error(image, edited, inside)
    assert all(torch.equal(v, before[k]) for k, v in renderer.generator.state_dict().items())
    assert torch.equal(found.ws[at] + 0.4, ws), "codes that move are a copy"
    again = Stitcher(renderer, preset)
    again.stitch(*what)
    assert torch.equal(again.stitch(*what), image), "a frame knows of none but the one before it"


def test_codes_begin_where_the_frame_before_ended_and_are_held_to_it() -> None:
    renderer, problem, found = scene()
    cameras = problem.cam2world[:1], problem.intrinsics[:1]
    ws = found.ws[:1] + 0.4
    edited = renderer.render(np.array([0]), *cameras, ws=ws).image
    source = torch.from_numpy(problem.crops[:1]).permute(0, 3, 1, 2).float() / 127.5 - 1
    inside, border = masks()
    what = (*cameras, ws, edited, source, inside, border)
    preset = replace(CODES, first=25, steps=1)
    stitcher = Stitcher(renderer, preset)
    first = stitcher.stitch(0, *what)
    torch.testing.assert_close(stitcher.stitch(1, *what), first, atol=1e-4, rtol=0)
    alone = Stitcher(renderer, replace(preset, first=1)).stitch(1, *what)
    assert error(first, source, border) < error(alone, source, border)

    held = Stitcher(renderer, replace(preset, steps=25, lambda_previous=1e3))
    free = Stitcher(renderer, replace(preset, steps=25))
    others = 1 - source
    moved = []
    for one in (held, free):
        start = one.stitch(0, *what)
        moved.append(float((one.stitch(1, *what[:4], others, inside, border) - start).abs().mean()))
    assert moved[0] < 0.5 * moved[1]


def test_without_lpips_its_threshold_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    renderer, problem, found = scene()
    cameras = problem.cam2world[:1], problem.intrinsics[:1]
    ws = found.ws[:1] + 0.4
    edited = renderer.render(np.array([0]), *cameras, ws=ws).image
    what = (0, *cameras, ws, edited, torch.zeros_like(edited), *masks())
    near = replace(CODES, squared=False, lambda_perceptual=0.5, stop=1e9)
    for name, same in (("lpips-alex", True), ("multiscale (no weights)", False)):
        monkeypatch.setattr(stitching, "perceptual_loss", lambda *_, name=name: (multiscale_loss, name))
        image = Stitcher(renderer, near).stitch(*what)
        assert torch.allclose(image, edited, atol=1e-5) == same


def test_a_border_that_is_near_is_left_alone() -> None:
    renderer, problem, found = scene()
    at = np.array([0])
    cameras = problem.cam2world[at], problem.intrinsics[at]
    ws = found.ws[at] + 0.4
    edited = renderer.render(at, *cameras, ws=ws).image
    near = replace(ALL, stop=1e9)
    image = Stitcher(renderer, near).stitch(0, *cameras, ws, edited, torch.zeros_like(edited), *masks())
    torch.testing.assert_close(image, edited, atol=1e-5, rtol=0)


def test_every_preset_has_numbers_for_stitching() -> None:
    presets = {name for method in method_names() for name in find_method(method).presets}
    for moves, numbers in STITCHING.items():
        assert set(numbers) <= presets
        for name in presets:
            preset = stitching_of(moves, name)
            assert preset.steps > 0 and bool(preset.parts) == (moves == "weights")
        assert stitching_of(moves, "released-masked") == numbers["paper"]
    with pytest.raises(UnknownNameError, match="'poisson'; known: weights, codes"):
        stitching_of("poisson", "draft")


def test_the_pipeline_knows_the_same_ways_to_stitch() -> None:
    (stitch,) = (field for field in fields_of(CompositeSettings) if field.name == "stitch")
    assert set(stitch.mark.choices) == set(STITCHING)
