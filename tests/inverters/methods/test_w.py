"""W inversion: one code for all layers, and the schedule of the public projectors."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from inverters.fitting.codes import CodeFit
from inverters.fitting.targets import Targets
from inverters.methods.table import find_method
from tests.inverters.methods.test_w_plus import crop_psnr
from tests.inverters.tiny import invert, own_clip, tiny, tiny_generator


def fit_of(preset: str, steps: int, frames: int = 3, **changes: object) -> CodeFit:
    generator = tiny_generator()
    codes = replace(find_method("w+").presets[preset].codes, **changes)
    targets = Targets(own_clip(generator, frames), 16, torch.device("cpu"))
    return CodeFit(generator, targets, codes, steps, 0)


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


def test_the_projector_begins_at_the_mean_and_gives_each_frame_a_code_of_its_own() -> None:
    fit = fit_of("paper", 8, space="w")
    mean = fit.space.w_avg.expand(3, fit.generator.num_ws, -1)
    torch.testing.assert_close(fit.all_ws(), mean)
    fit.step(0)
    moved = (fit.all_ws() != mean).flatten(1).any(1)
    assert moved.sum() == 1, "one frame a step, and no code that it shares"


def test_noise_of_the_right_size_ends_before_the_codes_come_to_rest() -> None:
    fit = fit_of("paper", 100, frames=1, space="w")
    ws = fit.all_ws()
    drawn = torch.stack([fit._noisy(0, ws) - ws for _ in range(400)])
    assert torch.equal(drawn, drawn[:, :, :1].expand_as(drawn)), "one draw for all layers of W"
    assert float(drawn.std()) == pytest.approx(0.05 * float(fit.space.w_std.norm()), rel=0.05)
    assert fit._noisy(75, ws) is ws
    free = fit_of("paper", 100, frames=1)
    noise = free._noisy(0, ws) - ws
    assert not torch.equal(noise[:, 0], noise[:, 1])


def test_cameras_and_codes_take_turns() -> None:
    fit = fit_of("paper", 12, frames=1, space="w", pose_rate=0.1, pose_frames=True, pose_turns=3)
    for i in range(12):
        before = fit.pose.values.clone(), fit.residual.values.clone()
        fit.step(i)
        still = [
            torch.equal(a, b) for a, b in zip(before, (fit.pose.values, fit.residual.values), strict=True)
        ]
        assert still == ([False, True] if (i // 3) % 2 == 0 else [True, False]), i
