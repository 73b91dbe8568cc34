"""The fit of codes: which tables a step moves, noise, turns of cameras and codes, robustness."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from inverters.fitting.codes import CodeFit
from inverters.fitting.targets import Targets
from inverters.methods.table import find_method
from tests.inverters.tiny import own_clip, tiny, tiny_generator


def test_frames_that_were_not_seen_keep_their_residual() -> None:
    generator = tiny_generator()
    preset = replace(
        find_method("in-n-out").presets["paper"].codes, candidates=0, at_image=False, lambda_perceptual=0.0
    )
    fit = CodeFit(generator, Targets(own_clip(generator, 4), 16, torch.device("cpu")), preset, 8, 0)
    seen = set()
    for i in range(2):
        before = fit.residual.values.clone()
        fit.step(i)
        moved = (fit.residual.values != before).flatten(1).any(1).nonzero().flatten().tolist()
        assert len(moved) == 1 and moved[0] not in seen
        seen.add(moved[0])


def test_frames_differ_in_expression_and_share_the_person() -> None:
    generator = tiny_generator(parameters=("smile", "age", "glasses", "light_x"))
    preset = replace(
        find_method("in-n-out").presets["draft"].codes, rays=100, frames_per_step=2, coarse=8, fine=8
    )
    fit = CodeFit(generator, Targets(own_clip(generator, 4), 16, torch.device("cpu")), preset, 30, 0)
    for i in range(30):
        fit.step(i)
    moved = fit.frame.values.abs().amax(0) > 0
    assert moved.tolist() == [True, False, False, True]
    assert (fit.all_ws().std(0) > 0).any() and (fit.shared.values[0] != 0).all()


@pytest.mark.parametrize(("share", "first"), [(0.5, 5), (0.75, 8), (1.0, None)])
def test_offsets_move_in_the_last_share_of_a_run_in_coordinates(share: float, first: int | None) -> None:
    generator = tiny_generator()
    preset = replace(tiny("in-n-out").codes, offset_from=share, sweep=0.0)
    fit = CodeFit(generator, Targets(own_clip(generator, 2), 16, torch.device("cpu")), preset, 10, 0)
    moved = []
    for i in range(10):
        before = fit.offset.values.clone()
        fit.step(i)
        moved += [i] if not torch.equal(fit.offset.values, before) else []
    assert moved == ([] if first is None else list(range(first, 10)))


@pytest.mark.parametrize("multiple", [0.0, 1.0, 3.0])
def test_the_robust_scale_does_not_fall_below_the_median_error(multiple: float) -> None:
    generator = tiny_generator()
    preset = replace(tiny("in-n-out").codes, robust=(2.0, 0.01), robust_median=multiple)
    fit = CodeFit(generator, Targets(own_clip(generator, 1), 16, torch.device("cpu")), preset, 100, 0)
    pixels, rows = torch.arange(256)[None], torch.zeros(1, dtype=torch.int64)
    features = fit.targets.raw(rows).flatten(2).mT.clone()
    features[..., 0] += 0.4  # half of the pixels are off by 0.4, the others by 1.2
    features[:, :127, 0] += 0.8
    loss = fit.losses._colour(99, rows, pixels, features)
    scale = max(0.4 * multiple, 0.01)
    each = [error**2 / (1 + error**2 / scale**2) for error in (0.4, 1.2)]
    assert float(loss) == pytest.approx((129 * each[0] + 127 * each[1]) / 256, rel=1e-3)


def test_an_occluder_pulls_less_on_robust_codes() -> None:
    """Outside the square the robust fit is nearer to the true face than the plain one."""
    generator = tiny_generator()
    hidden, clean = own_clip(generator, 4, occluder=True), own_clip(generator, 4)
    without_masks = replace(hidden, occluder_masks=None)
    target = torch.from_numpy(clean.crops).permute(0, 3, 1, 2).float() / 127.5 - 1
    errors = []
    robust = tiny("in-n-out").codes
    for preset in (robust, replace(robust, robust=None)):
        fit = CodeFit(generator, Targets(without_masks, 16, torch.device("cpu")), preset, 120, 0)
        for i in range(120):
            fit.step(i)
        with torch.no_grad():
            image = generator.synthesis(fit.all_ws(), clean.cam2world, clean.intrinsics).image
        errors.append(float((image - target).square().mean()))
    assert errors[0] < errors[1]


def fit_of(preset: str, steps: int, frames: int = 3, **changes: object) -> CodeFit:
    generator = tiny_generator()
    codes = replace(find_method("w+").presets[preset].codes, **changes)
    targets = Targets(own_clip(generator, frames), 16, torch.device("cpu"))
    return CodeFit(generator, targets, codes, steps, 0)


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
    fit = fit_of("paper", 12, frames=1, space="w", pose_rate=0.1, pose_every=1, pose_turns=3)
    for i in range(12):
        before = fit.pose.values.clone(), fit.residual.values.clone()
        fit.step(i)
        still = [
            torch.equal(a, b) for a, b in zip(before, (fit.pose.values, fit.residual.values), strict=True)
        ]
        assert still == ([False, True] if (i // 3) % 2 == 0 else [True, False]), i
