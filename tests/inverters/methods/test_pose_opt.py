"""Pose optimisation: wrong cameras are corrected together with codes and weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from inverters.base import InversionProblem
from inverters.fitting.pose import refine_cameras
from inverters.fitting.targets import Targets
from tests.inverters.methods.test_w_plus import crop_psnr
from tests.inverters.tiny import invert, own_clip, tiny, tiny_generator


def degrees(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Angles [N] between rotations of cameras [N,4,4]."""
    trace = (one[:, :3, :3].mT @ other[:, :3, :3]).diagonal(dim1=1, dim2=2).sum(1)
    return torch.rad2deg(torch.arccos(((trace - 1) / 2).clamp(-1, 1)))


def turned_away(problem: InversionProblem, poses: torch.Tensor) -> InversionProblem:
    """The same pictures with cameras that are off by `poses` [7] or [K,7]."""
    pivot = Targets(problem, 16, torch.device("cpu")).pivot
    cam2world, intrinsics = refine_cameras(problem.cam2world, problem.intrinsics, poses, pivot)
    return replace(problem, cam2world=cam2world, intrinsics=intrinsics)


def test_cameras_codes_and_weights_all_move() -> None:
    generator = tiny_generator()
    problem = replace(own_clip(generator, 2, occluder=True), occluder_masks=None)
    before = {k: v.clone() for k, v in generator.state_dict().items()}
    found = invert("pose-opt", generator, problem, steps=40)
    assert set(found.info["steps"]) == {"codes", "generator"} and sum(found.info["steps"].values()) == 40
    assert all(torch.equal(v, before[k]) for k, v in generator.state_dict().items())
    moved = [name for name, tensor in found.generator.items() if not torch.equal(tensor, before[name])]
    assert {name.split(".")[0] for name in moved} == {"backbone", "decoder", "superresolution"}
    assert (degrees(problem.cam2world, found.cameras["cam2world"]) > 0).all()
    for part in ({"generator": {}}, {"cameras": {}}):
        without = replace(found, **part)
        assert crop_psnr(generator, problem, found) > crop_psnr(generator, problem, without), part


@pytest.mark.parametrize("frames", [1, 3])
def test_each_frame_may_have_a_correction_of_its_own(frames: int) -> None:
    settings = tiny("pose-opt")
    settings = replace(
        settings,
        codes=replace(settings.codes, pose_every=1),
        tuning=replace(settings.tuning, pose_every=1),
    )
    generator = tiny_generator()
    problem = own_clip(generator, frames)
    found = invert("pose-opt", generator, problem, settings, steps=12)
    moved = degrees(problem.cam2world, found.cameras["cam2world"])
    assert (moved > 0).all() and found.cameras["cam2world"].shape == (frames, 4, 4)
    assert frames == 1 or float(moved.std()) > 0
