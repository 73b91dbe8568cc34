"""VIVE3D: a person from a few frames, then each frame from the previous one, with yaw and pitch."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import inverters.fitting.loop
from inverters.base import Inversion
from inverters.fitting import losses
from inverters.fitting.code_settings import in_space
from inverters.fitting.spaces import mapped_rows
from inverters.methods.table import find_method
from inverters.methods.vive3d import PersonSettings, rows_of_person, stage_steps
from inverters.rendering.cameras import angles, look_at
from tests.inverters.fitting.test_spaces import norms_off
from tests.inverters.methods.test_pti import numbers, stop_at
from tests.inverters.methods.test_w_plus import crop_psnr
from tests.inverters.tiny import invert, own_clip, tiny, tiny_generator


def with_steps(codes: int, tuning: int, first: int, later: int) -> PersonSettings:
    """The tiny recipe with these numbers of steps."""
    recipe = tiny("vive3d")
    return replace(
        recipe,
        codes=replace(recipe.codes, steps=codes),
        tuning=replace(recipe.tuning, steps=tuning),
        sequence=replace(recipe.sequence, first=first, later=later),
    )


@pytest.mark.parametrize("frames", [1, 4])
def test_person_weights_and_frames_each_bring_the_clip_nearer(frames: int) -> None:
    generator = tiny_generator()
    before = {k: v.clone() for k, v in generator.state_dict().items()}
    problem = replace(own_clip(generator, frames, occluder=True), occluder_masks=None)
    found = invert("vive3d", generator, problem, with_steps(60, 20, 12, 6))
    assert all(torch.equal(v, before[k]) for k, v in generator.state_dict().items())
    assert {name.split(".")[0] for name in found.generator} == {"backbone", "decoder"}
    assert found.info["steps"] == {"codes": 60, "generator": 20, "frames": 12 + 6 * (frames - 1)}
    assert found.info["person_frames"] == [1, 7][:frames], "the ends of the turn"
    assert all(math.isfinite(v) for values in found.history.values() for v in values)
    assert frames == 1 or float((found.ws[1:] - found.ws[:-1]).abs().amax((1, 2)).min()) > 0
    whole = crop_psnr(generator, problem, found)
    for part in ({"ws": generator.card.w_avg.expand_as(found.ws)}, {"generator": {}}):
        assert whole > crop_psnr(generator, problem, replace(found, **part)), part.keys()


@pytest.mark.parametrize("space", ["z", "z+"])
def test_a_person_and_its_frames_can_be_of_z(space: str) -> None:
    generator = tiny_generator()
    problem, recipe = own_clip(generator, 4), with_steps(30, 5, 12, 6)
    chosen = replace(recipe, codes=in_space(recipe.codes, space))
    found = invert("vive3d", generator, problem, chosen)
    assert found.latent["z"].shape == (4, generator.num_ws, 16) and norms_off(found.latent["z"]) < 1e-4
    torch.testing.assert_close(found.ws, mapped_rows(generator, found.latent["z"]))
    assert float((found.ws[1:] - found.ws[:-1]).abs().amax((1, 2)).min()) > 0
    mapping = {k: v for k, v in found.generator.items() if ".mapping." in k}
    assert all(torch.equal(v, generator.state_dict()[k]) for k, v in mapping.items()), "z keeps its w"
    colour = found.history["codes/colour"]
    assert np.mean(colour[-5:]) < np.mean(colour[:5])


def test_cameras_turn_and_neither_roll_nor_zoom() -> None:
    generator = tiny_generator()
    problem = own_clip(generator, 3, occluder=True)
    found = invert("vive3d", generator, problem, steps=40)
    cameras = found.cameras["cam2world"]
    assert (cameras - problem.cam2world).abs().amax((1, 2)).min() > 1e-4
    assert torch.equal(found.cameras["intrinsics"], problem.intrinsics)
    pivot = torch.tensor([0.0, 0.0, 0.2])
    far = [(c[:, :3, 3] - pivot).norm(dim=1) for c in (cameras, problem.cam2world)]
    torch.testing.assert_close(*far)
    assert cameras[:, 1, 0].abs().max() < 1e-5, "the camera's right stays level"


def test_the_published_recipe_runs_with_its_face_term() -> None:
    generator = tiny_generator()
    points = torch.rand(68, 3, generator=torch.Generator().manual_seed(1)) * 0.2 + torch.tensor([0, 0, 0.1])
    generator.card.landmarks3d["68"] = points.numpy()
    found = invert(
        "vive3d", generator, own_clip(generator, 2), find_method("vive3d").presets["paper"], steps=12
    )
    assert {f"codes/{k}" for k in ("colour", "perceptual", "face", "residual")} <= set(found.history)
    assert {"generator/absolute", "generator/perceptual", "generator/locality"} <= set(found.history)
    assert {f"frames/{k}" for k in ("colour", "perceptual", "face", "offset")} <= set(found.history)
    assert all(math.isfinite(v) for values in found.history.values() for v in values)
    spread = (found.ws - found.ws[:, :1]).abs().amax((1, 2))
    assert (spread > 0).all(), "offsets of frames lie in W+"


def test_stopped_anywhere_it_gives_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()  # one tick a look: a checkpoint after every second step
    monkeypatch.setattr(inverters.fitting.loop, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(inverters.fitting.loop, "CHECKPOINT_SECONDS", 2.0)
    generator = tiny_generator()
    problem = own_clip(generator, 3)

    def work(**options: object) -> Inversion:
        return invert("vive3d", generator, problem, with_steps(5, 4, 5, 4), seed=4, **options)

    whole = numbers(work())
    # In the codes, in the weights, in the first frame, and in the middle of the two after it.
    for k in (3, 7, 11, 16, 20):
        with pytest.raises(KeyboardInterrupt):
            work(checkpoint_dir=tmp_path, on_step=stop_at(k))
    steps: list[int] = []
    again = numbers(work(checkpoint_dir=tmp_path, on_step=lambda done, *_: steps.append(done)))
    assert steps and steps[0] > 16 and steps[-1] == 22, "it went on, and did not begin again"
    assert again.keys() == whole.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, again[name]), name


def test_a_frame_that_is_near_hands_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(net: str, device: object) -> tuple[losses.ImageLoss, str]:
        return losses.multiscale_loss, f"lpips-{net}"

    recipe = with_steps(2, 2, 6, 4)
    recipe = replace(recipe, tuning=replace(recipe.tuning, stop=0.0))
    sequence = replace(recipe.sequence, stop=1e9, codes=replace(recipe.sequence.codes, lambda_perceptual=1.0))
    recipe = replace(recipe, sequence=sequence)
    generator = tiny_generator()
    problem = own_clip(generator, 3)
    with_stand_in = invert("vive3d", generator, problem, recipe)
    assert with_stand_in.info["steps"]["frames"] == 14, "the stand-in's numbers are not LPIPS's"
    monkeypatch.setattr(losses, "perceptual_loss", measured)
    found = invert("vive3d", generator, problem, recipe, checkpoint_dir=tmp_path)
    assert found.info["steps"]["frames"] == 3, "a step a frame"
    steps: list[int] = []
    again = invert(
        "vive3d",
        generator,
        problem,
        recipe,
        checkpoint_dir=tmp_path,
        on_step=lambda done, *_: steps.append(done),
    )
    assert not steps and torch.equal(found.ws, again.ws)


@settings(max_examples=60)
@given(st.lists(st.floats(-0.8, 0.8), min_size=1, max_size=12), st.integers(1, 5))
def test_a_person_is_learnt_from_both_ends_of_the_turn(yaws: list[float], count: int) -> None:
    cameras = look_at(torch.tensor(yaws), torch.zeros(len(yaws)))
    rows = rows_of_person(cameras, count)
    assert len(set(rows.tolist())) == len(rows) == min(count, len(yaws))
    if len(rows) > 1:
        seen, all_of = angles(cameras[rows])[0], angles(cameras)[0]
        assert seen.min() == all_of.min() and seen.max() == all_of.max()


@settings(max_examples=80)
@given(st.integers(1, 300), st.integers(1, 5000), st.sampled_from(["draft", "fast", "paper"]))
def test_steps_are_shared_out(frames: int, steps: int, preset: str) -> None:
    recipe = find_method("vive3d").presets[preset]
    few = min(frames, recipe.frames)
    sequence = recipe.sequence
    assert stage_steps(recipe, few, frames) == (
        recipe.codes.steps,
        recipe.tuning.steps,
        (sequence.first, sequence.later),
    )
    codes, tuning, (first, later) = stage_steps(recipe, few, frames, steps)
    assert min(codes, tuning, first, later) >= 1
    total = codes + tuning + first + later * (frames - 1)
    assert abs(total - steps) <= max(frames, 3) + 2


def test_some_rows_of_a_problem() -> None:
    problem = own_clip(tiny_generator(), 4, occluder=True)
    part = problem.of_rows(np.array([3, 0]))
    assert part.frames.tolist() == [7, 1] and torch.equal(part.cam2world, problem.cam2world[[3, 0]])
    assert len(part.crops) == 2
    assert np.array_equal(part.crops[np.array([1, 0])], problem.crops[np.array([0, 3])])
    assert np.array_equal(part.occluder_masks[np.array([0])], problem.occluder_masks[np.array([3])])
    assert replace(problem, occluder_masks=None).of_rows(np.array([2])).occluder_masks is None
