"""A person learnt from a few frames, then every frame in turn (Fruehstueck et al. 2023, "VIVE3D:
Viewpoint-Independent Video Editing using 3D-Aware GANs"; the release is afruehstueck/VIVE3D).

`personalize_generator.py`: one code in W, and for each of a few frames an offset in W, yaw and pitch; then
the weights of backbone and decoder about these. `invert_video.py`: for each frame of the clip an offset in
W+, yaw and pitch, from those of the frame before. There an edit moves the person's code before offsets are
added; here `editing.edit` adds it to the sum, which is the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inverters.base import Inversion, InversionProblem, OnStep, register
from inverters.fitting.checkpoints import CheckpointStore
from inverters.fitting.loop import Run
from inverters.fitting.sequence import SequenceFit
from inverters.fitting.targets import Targets
from inverters.fitting.weights import GeneratorFit
from inverters.generators.tuned import with_tensors
from inverters.methods.hyperparameters import PersonPreset
from inverters.methods.presets import code_steps, get_preset, split_steps, step_count
from inverters.methods.w_plus import CodeFit, job_of
from inverters.rendering.cameras import angles


def rows_of_person(cam2world: Tensor, count: int) -> Tensor:
    """Rows [min(count, K)] to learn a person from, of cameras [K,4,4]: evenly spaced in order of their yaw.

    The release leaves the choice to the user, who is to find different views.
    """
    order = angles(cam2world.cpu())[0].argsort(stable=True)
    places = torch.linspace(0, len(order) - 1, min(count, len(order))).round().long()
    return order[places]


def stage_steps(
    recipe: PersonPreset, few: int, frames: int, steps: int | None = None
) -> tuple[int, int, tuple[int, int]]:
    """Steps of the person's codes and of the weights, from `few` frames, and of the first frame and each
    later one of `frames`.

    About `steps` in all where given, split as the recipe splits, but at least one a stage and a frame.
    """
    p, sequence = recipe.tuning, recipe.sequence
    codes = code_steps(recipe.codes, few)
    tuning = step_count(p.steps, p.epochs, p.growth, few, p.frames_per_step)
    first, later = sequence.first, sequence.later
    if steps is None:
        return codes, tuning, (first, later)
    whole = first + later * (frames - 1)
    person, part = split_steps(codes + tuning, whole, steps)
    first, later = (max(1, round(n * part / whole)) for n in (first, later))
    return *split_steps(codes, tuning, person), (first, later)


@register("vive3d")
def invert_vive3d(
    generator: Any,
    problem: InversionProblem,
    *,
    preset: str,
    steps: int | None = None,
    seed: int = 0,
    checkpoint_dir: Path | None = None,
    on_step: OnStep | None = None,
) -> Inversion:
    """The person, the weights, the frames. Arguments as for `base.Inverter`; one frame suffices.

    `steps` replaces the sum of all stages' steps, see `stage_steps`. `cameras` are refined in yaw and pitch.
    """
    chosen = get_preset(preset)
    recipe = chosen.vive3d
    generator.requires_grad_(False)
    targets = Targets(problem, generator.config.neural_rendering_resolution, problem.cam2world.device)
    rows = rows_of_person(problem.cam2world, recipe.frames)
    few = problem.of_rows(rows.numpy())
    first, second, budget = stage_steps(recipe, len(rows), len(targets), steps)
    job = job_of("vive3d", generator, problem, chosen, seed) | {"steps": [first, second, *budget]}
    total = first + second + budget[0] + budget[1] * (len(targets) - 1)
    run = Run(CheckpointStore(checkpoint_dir, job), on_step, total)

    person, names = _person(run, generator, few, recipe, first, seed)
    cameras = {name: person.pop(name) for name in ("cam2world", "intrinsics") if name in person}
    found, name = _weights(run, generator, few.seen_by(cameras), person.pop("ws"), recipe, second, seed)
    tuned = with_tensors(generator, found)
    begin = {name: person[name] for name in ("shared", "offset")}
    begin |= {name: person[name].mean(0) for name in ("frame", "residual", "pose")}
    fit = SequenceFit(tuned, targets, begin, recipe.sequence, budget, seed)
    run.run(fit)

    lengths = {stage: _steps_done(run, stage) for stage in ("codes", "generator", "frames")}
    names |= {name, fit.perceptual_name}
    return Inversion(
        method="vive3d",
        preset=preset,
        fingerprint=generator.card.fingerprint,
        frames=problem.frames,
        ws=fit.all_ws(),
        cameras=fit.cameras(),
        generator=found,
        history=run.history,
        info={
            "perceptual_loss": ", ".join(sorted(names - {"none"})) or "none",
            "masks": problem.occluder_masks is not None,
            "person_frames": [int(frame) for frame in few.frames],
            "steps": lengths,
            "render": {"coarse": chosen.render[0], "fine": chosen.render[1]},
        },
    )


def _person(
    run: Run, generator: Any, few: InversionProblem, recipe: PersonPreset, steps: int, seed: int
) -> tuple[dict[str, Tensor], set[str]]:
    """The person's code and the offsets, codes and cameras of a few frames; the perceptual loss's name."""
    device = few.cam2world.device
    targets = Targets(few, generator.config.neural_rendering_resolution, device)
    fit = CodeFit(generator, targets, recipe.codes, steps, seed)
    if run.is_past(fit.name):
        found = run.results(fit.name)
    else:
        run.run(fit)
        found = {"shared": fit.shared.value(), "offset": fit.offset.value(), "ws": fit.all_ws()}
        found |= {"frame": fit.frame.values.clone(), "pose": fit.pose.values.clone()}
        has_residuals = len(fit.residual.values) > 0
        found["residual"] = fit.residual.values.clone() if has_residuals else torch.zeros(1, 1, 1)
        found |= fit.cameras()
    run.keep(fit.name, steps, found)
    return {name: tensor.to(device) for name, tensor in found.items()}, {fit.perceptual_name}


def _weights(
    run: Run,
    generator: Any,
    few: InversionProblem,
    ws: Tensor,
    recipe: PersonPreset,
    steps: int,
    seed: int,
) -> tuple[dict[str, Tensor], str]:
    """The tuned weights by name, and the perceptual loss's name."""
    device = few.cam2world.device
    targets = Targets(few, generator.config.neural_rendering_resolution, device)
    fit = GeneratorFit(generator, targets, ws, recipe.tuning, steps, seed)
    if run.is_past(fit.name):
        found = run.results(fit.name)
    else:
        run.run(fit)
        found = fit.tensors()
    run.keep(fit.name, steps, found)
    return {name: tensor.to(device) for name, tensor in found.items()}, fit.perceptual_name


def _steps_done(run: Run, stage: str) -> int:
    """Steps that a stage took, early ends counted."""
    return max(len(values) for name, values in run.history.items() if name.startswith(f"{stage}/"))
