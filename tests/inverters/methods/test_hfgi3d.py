"""HFGI3D: pseudo views, hidden parts filled by the render, and weights that fit frames and views."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import inverters.fitting.loop
from inverters.base import Inversion, InversionProblem
from inverters.fields.pseudo_views import PseudoViews, camera_path, chosen_rows
from inverters.fitting.targets import Targets
from inverters.generators.eg3d import Generator
from inverters.methods import hfgi3d
from inverters.methods.hfgi3d import MultiViewFit, rendered_views
from inverters.methods.table import find_method
from inverters.rendering.cameras import angles, look_at
from tests.inverters.methods.test_pti import numbers, stop_at
from tests.inverters.methods.test_w_plus import crop_psnr
from tests.inverters.tiny import invert, own_clip, tiny, tiny_generator

CPU = torch.device("cpu")
VIEWS = tiny("hfgi3d").views


def own_code(generator: Generator, frames: int) -> Tensor:
    """Codes of own_clip's face."""
    z = torch.randn(1, 16, generator=torch.Generator().manual_seed(5))
    return generator.mapping(z).expand(frames, -1, -1)


def inverted(problem: InversionProblem) -> InversionProblem:
    """The same face in opposite colours, which no render of it has."""
    return replace(problem, crops=255 - problem.crops[np.arange(len(problem.crops))])


def test_the_path_is_the_released_one() -> None:
    cam2world, intrinsics = camera_path(tiny_generator(), find_method("hfgi3d").presets["paper"].views, CPU)
    yaw, pitch = angles(cam2world)
    assert cam2world.shape == (30, 4, 4) and intrinsics.shape == (30, 3, 3)
    assert [float(yaw.min()), float(yaw.max())] == pytest.approx([-0.348, 0.348], abs=0.002)
    # The sampler's second argument is no angle: 0.3 above the horizon is asin(0.6 / pi).
    assert float(pitch.max()) == pytest.approx(math.asin(0.6 / math.pi), abs=1e-4)
    assert float(pitch.min()) == pytest.approx(-math.asin(0.4 / math.pi), abs=1e-4)
    gaps = (cam2world.roll(1, 0) - cam2world)[:, :3, 3].norm(dim=1)
    assert gaps.max() < 0.25 and gaps.min() > 0.02


def test_a_frame_seen_from_its_own_camera_is_itself_and_filled_under_its_mask() -> None:
    generator = tiny_generator()
    noise = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    masked = own_clip(generator, 1, occluder=True)
    problem = replace(masked, crops=noise, cam2world=look_at(0.0, 0.0))
    targets = Targets(problem, 16, CPU)
    still = replace(VIEWS, frames=1, poses=1, yaw=0.0, pitch=0.0, centre=0.0)
    ws, sampling = own_code(generator, 1), generator.sampling()
    view = rendered_views(generator, targets, ws, sampling, still)[0, 0]
    hidden = torch.from_numpy(masked.occluder_masks[0]) == 0
    image = generator.synthesis(ws, problem.cam2world, problem.intrinsics, sampling=sampling).image[0]
    filled = ((image.clamp(-1, 1) + 1) * 127.5).round().byte()
    assert torch.equal(view[:, hidden], filled[:, hidden])
    near = torch.nn.functional.max_pool2d(hidden[None].float(), 7, 1, 3)[0] > 0
    difference = (view.int() - torch.from_numpy(noise[0]).permute(2, 0, 1).int()).abs()
    assert difference[:, ~near].max() <= 1 and (difference[:, hidden] > 20).any()
    whole = rendered_views(
        generator, Targets(replace(problem, occluder_masks=None), 16, CPU), ws, sampling, still
    )
    assert (whole[0, 0].int() - torch.from_numpy(noise[0]).permute(2, 0, 1).int()).abs().max() <= 1


def test_views_show_the_frames_colours_where_they_are_seen_and_the_renders_elsewhere() -> None:
    generator = tiny_generator()
    problem = own_clip(generator, 1)
    ws, sampling = own_code(generator, 1), generator.sampling(24, 24)
    views = replace(VIEWS, poses=6, yaw=0.15, pitch=0.1)
    true, opposite = (
        rendered_views(generator, Targets(p, 16, CPU), ws, sampling, views)[0].float()
        for p in (problem, inverted(problem))
    )
    cam2world, intrinsics = camera_path(generator, views, CPU)
    with torch.no_grad():
        seen = generator.synthesis(ws.expand(6, -1, -1), cam2world, intrinsics, sampling=sampling).image
    seen = (seen.clamp(-1, 1) + 1) * 127.5
    assert (true - seen).abs().mean() < 0.2 * seen.std(), (
        "a face that the generator knows looks like its render"
    )
    same = (true == opposite).all(1)  # the frame's colours do not matter: the render's fill these pixels
    assert (opposite - seen).abs().amax(1)[same].max() <= 1
    taken = (opposite - (255 - seen)).abs().amax(1) < (opposite - seen).abs().amax(1)
    assert all(0.05 < share < 0.95 for share in (same.float().mean(), taken.float().mean()))


@pytest.mark.parametrize("frames", [1, 6])
def test_an_image_and_a_clip(frames: int) -> None:
    generator = tiny_generator()
    weights = {k: v.clone() for k, v in generator.state_dict().items()}
    problem = replace(own_clip(generator, frames, occluder=True), occluder_masks=None)
    found = invert("hfgi3d", generator, problem, steps=48)
    assert all(torch.equal(v, weights[k]) for k, v in generator.state_dict().items())
    assert (
        set(found.info["steps"]) == {"codes", "generator", "views"}
        and sum(found.info["steps"].values()) == 48
    )
    rows = [0] if frames == 1 else [0, 2, 5]
    assert found.info["pseudo_views"] == {"frames": problem.frames[rows].tolist(), "poses": VIEWS.poses}
    assert not found.cameras and not found.ood and found.ws.shape[0] == frames
    assert {name.split(".")[0] for name in found.generator} == {"backbone", "decoder", "superresolution"}
    assert all(math.isfinite(v) for values in found.history.values() for v in values)
    assert crop_psnr(generator, problem, found) > crop_psnr(generator, problem, replace(found, generator={}))


def fit_to(problem: InversionProblem, generator: Generator, steps: int, **changes: object) -> MultiViewFit:
    """The second tuning from the generator's weights, about the codes of own_clip's face."""
    targets, ws = Targets(problem, 16, CPU), own_code(generator, len(problem.frames))
    images = rendered_views(generator, targets, ws, generator.sampling(8, 8), VIEWS)
    views = PseudoViews(images, chosen_rows(len(targets), VIEWS), camera_path(generator, VIEWS, CPU))
    preset = replace(tiny("hfgi3d").joint, **changes)
    return MultiViewFit(generator, targets, ws, preset, steps, 0, views)


def view_error(fit: MultiViewFit) -> float:
    """Mean squared error of all pseudo views."""
    errors = []
    for k in range(len(fit.views)):
        wanted, row, camera = fit.views.view(k)
        with torch.no_grad():
            seen = fit.generator.synthesis(fit.codes.values[row], *camera, sampling=fit.sampling).image
        errors.append(float((seen - wanted).square().mean()))
    return float(np.mean(errors))


def test_the_second_tuning_learns_what_the_frames_alone_do_not_show() -> None:
    generator = tiny_generator()
    problem = replace(own_clip(generator, 1, occluder=True), occluder_masks=None)
    errors = []
    for alone in (False, True):
        fit = fit_to(problem, generator, 30)
        before = view_error(fit)
        if alone:
            fit.beside = dict  # type: ignore[method-assign, assignment]
        for i in range(30):
            fit.step(i)
        errors.append(view_error(fit))
    assert errors[0] < before and errors[0] < errors[1]


def test_a_step_follows_the_frame_and_one_view_with_equal_weight() -> None:
    generator = tiny_generator()
    fit = fit_to(inverted(own_clip(generator, 1)), generator, 5, schedule="constant")
    chosen = int(torch.randint(len(fit.views), (1,), generator=torch.Generator().manual_seed(3)))
    assert torch.equal(fit.rng.get_state(), torch.Generator().manual_seed(3).get_state())
    wanted, row, camera = fit.views.view(chosen)
    ws, at = fit.codes.values[:1], (fit.targets.cam2world, fit.targets.intrinsics)
    total = torch.zeros(())
    for picture, seen_by, code in ((fit.targets.image(row), at, ws), (wanted, camera, fit.codes.values[row])):
        image = fit.generator.synthesis(code, *seen_by, sampling=fit.sampling).image
        total = total + (image - picture).square().mean() + fit.perceptual(image, picture)
    gradients = torch.autograd.grad(total, list(fit.parameters.values()), allow_unused=True)
    found = fit.step(0)
    assert found.keys() == {"image", "perceptual", "view_image", "view_perceptual"}
    assert float(sum(found.values())) == pytest.approx(total.item(), rel=1e-4)
    moved = 0
    for (name, table), gradient in zip(fit.weights.items(), gradients, strict=True):
        if gradient is not None:
            error = (table.first[0] / 0.1 - gradient).norm()
            assert error <= 2e-3 * gradient.norm() + 1e-6, name
            moved += 1
    assert moved > 10


@pytest.mark.parametrize("restart", [False, True])
def test_where_the_second_tuning_begins(restart: bool) -> None:
    recipe = replace(tiny("hfgi3d"), restart=restart, joint=replace(tiny("hfgi3d").joint, rate=0.0))
    generator = tiny_generator()
    found = invert("hfgi3d", generator, own_clip(generator, 1), recipe, steps=16)
    own = dict(generator.named_parameters())
    assert all(torch.equal(tensor, own[name]) for name, tensor in found.generator.items()) is restart


def test_killed_anywhere_it_gives_the_same_bits_and_makes_its_views_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()  # one tick a look: a checkpoint after every second step
    monkeypatch.setattr(inverters.fitting.loop, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(inverters.fitting.loop, "CHECKPOINT_SECONDS", 2.0)
    made: list[int] = []

    def counted(*arguments: object) -> Tensor:
        made.append(1)
        return rendered_views(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(hfgi3d, "rendered_views", counted)
    generator = tiny_generator()
    problem = own_clip(generator, 3)

    def work(**options: object) -> Inversion:
        return invert("hfgi3d", generator, problem, steps=48, seed=4, **options)

    first = work()
    whole, steps = numbers(first), first.info["steps"]
    assert len(made) == 1
    codes, begun = steps["codes"], 48 - steps["views"]
    for k in (5, codes + 3, begun + 3, 47):  # in the codes, the first tuning, and twice in the second
        with pytest.raises(KeyboardInterrupt):
            work(checkpoint_dir=tmp_path, on_step=stop_at(k))
    done: list[int] = []
    again = numbers(work(checkpoint_dir=tmp_path, on_step=lambda step, *_: done.append(step)))
    assert done and done[0] > begun + 3 and done[-1] == 48, "it went on, and did not begin again"
    assert len(made) == 2, "views are taken from the checkpoint"
    assert again.keys() == whole.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, again[name]), name


def test_few_steps_are_split_over_all_stages() -> None:
    recipe = find_method("hfgi3d").presets["paper"]
    assert hfgi3d.step_counts(recipe, 1, None) == (500, 500, 1000)
    assert hfgi3d.step_counts(recipe, 10, None) == (5000, 5000, 10000)
    for steps in range(3, 40):
        counts = hfgi3d.step_counts(recipe, 1, steps)
        assert sum(counts) == steps and min(counts) >= 1
