"""W+ inversion: it finds codes of faces that the generator knows, and touches only what it saw."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from inverters.fields.synthesis import InversionRenderer
from inverters.fitting.codes import CodeFit
from inverters.fitting.targets import Targets
from inverters.methods.table import find_method
from inverters.metrics import psnr
from tests.inverters.tiny import invert, own_clip, tiny, tiny_generator


def crop_psnr(generator, problem, inversion) -> float:
    rows, problem = np.arange(len(problem.frames)), problem.seen_by(inversion.cameras)
    seen = InversionRenderer(generator, inversion).render(rows, problem.cam2world, problem.intrinsics)
    target = torch.from_numpy(problem.crops).permute(0, 3, 1, 2).float() / 127.5 - 1
    return float(psnr(seen.image, target).mean())


def test_codes_of_a_known_face_are_found() -> None:
    generator = tiny_generator()
    problem = own_clip(generator, 4)
    found = invert("w+", generator, problem, steps=120)
    at_start = replace(found, ws=generator.card.w_avg.expand_as(found.ws), cameras={})
    assert found.ws.shape == (4, generator.num_ws, 16)
    assert found.frames.tolist() == [1, 3, 5, 7]
    assert found.fingerprint == "tiny" and not found.ood
    assert crop_psnr(generator, problem, found) > crop_psnr(generator, problem, at_start) + 6
    assert len(found.history["codes/colour"]) == 120
    assert all(math.isfinite(v) for values in found.history.values() for v in values)


@pytest.mark.parametrize(
    ("method", "preset"), [("w+", "in-n-out-baselines"), ("in-n-out", "released-masked")]
)
def test_presets_of_whole_frames_use_both_sizes_and_say_what_they_measured_with(
    method: str, preset: str
) -> None:
    generator = tiny_generator()
    problem = own_clip(generator, 2)
    codes = replace(find_method(method).presets[preset].codes, candidates=6)
    found = invert("w+", generator, problem, replace(tiny("w+"), codes=codes), steps=3)
    assert {"codes/image", "codes/perceptual", "codes/image_perceptual", "codes/delta"} <= set(found.history)
    assert found.history["codes/colour"][-1] < found.history["codes/colour"][0] * 1.5
    assert found.info["perceptual_loss"] != "none"


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
