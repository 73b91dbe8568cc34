"""W+ inversion: codes of faces that the generator knows are found."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from inverters.fields.synthesis import InversionRenderer
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
