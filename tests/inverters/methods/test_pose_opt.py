"""Pose optimisation: cameras that are off by a turn come back, with the codes and the weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from inverters.base import InversionProblem
from inverters.fitting.pose import refine_cameras
from inverters.fitting.targets import Targets
from inverters.fitting.weights import GeneratorFit
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


@pytest.mark.parametrize("own", [False, True])
def test_where_face_and_weights_are_right_the_cameras_come_back(own: bool) -> None:
    generator = tiny_generator()
    true = own_clip(generator, 2)
    poses = torch.tensor([[0.0, 1.5, 0, 0, 0, 0, 0], [-1.0 if own else 0.0, 1.5, 0, 0, 0, 0, 0]])
    problem = turned_away(true, poses)
    z = torch.randn(1, 16, generator=torch.Generator().manual_seed(5))  # of own_clip's face
    still = replace(tiny("pose-opt").tuning, rate=0.0, rate_w=0.0)
    preset = replace(still, pose_rate=0.15, pose_frames=own, frames_per_step=2)
    targets = Targets(problem, 16, torch.device("cpu"))
    fit = GeneratorFit(generator, targets, generator.mapping(z).expand(2, -1, -1), preset, 40, 0)
    for i in range(40):
        fit.step(i)
    before, after = (degrees(true.cam2world, c) for c in (problem.cam2world, fit.cameras()["cam2world"]))
    assert (after < 0.4 * before).all()
    assert (fit.pose.values.shape[0] == 2) is own


def test_cameras_codes_and_weights_all_move() -> None:
    generator = tiny_generator()
    problem = replace(own_clip(generator, 2, occluder=True), occluder_masks=None)
    before = {k: v.clone() for k, v in generator.state_dict().items()}
    found = invert("pose-opt", generator, problem, steps=40)
    assert found.info["steps"] == {"codes": 27, "generator": 13}
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
        codes=replace(settings.codes, pose_frames=True),
        tuning=replace(settings.tuning, pose_frames=True),
    )
    generator = tiny_generator()
    problem = own_clip(generator, frames)
    found = invert("pose-opt", generator, problem, settings, steps=12)
    moved = degrees(problem.cam2world, found.cameras["cam2world"])
    assert (moved > 0).all() and found.cameras["cam2world"].shape == (frames, 4, 4)
    assert frames == 1 or float(moved.std()) > 0
