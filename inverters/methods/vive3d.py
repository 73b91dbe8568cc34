"""VIVE3D: learn a person from a few frames, then invert every frame in turn.

Fruehstueck et al. 2023, "VIVE3D: Viewpoint-Independent Video Editing using 3D-Aware GANs"; the release is
afruehstueck/VIVE3D.

`personalize_generator.py`: one code in W, and for each of a few frames an offset in W, yaw and pitch; then
the weights of backbone and decoder about these. `invert_video.py`: for each frame of the clip an offset in
W+, yaw and pitch, from those of the frame before. There an edit moves the person's code before offsets are
added; here `editing.edit` adds it to the sum, which is the same. In z and z+ (`--space`) the person's code is
of z, and so are all offsets; their sum is retracted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inverters.base import Inversion, InversionProblem, Method, OnStep
from inverters.fitting.checkpoints import CheckpointStore, job_of
from inverters.fitting.code_settings import CodeSettings, in_space
from inverters.fitting.codes import CodeFit
from inverters.fitting.loop import Run
from inverters.fitting.schedules import split_steps
from inverters.fitting.sequence import SequenceFit, SequenceSettings
from inverters.fitting.space_fit import SpaceFit
from inverters.fitting.spaces import find_space
from inverters.fitting.targets import Targets
from inverters.fitting.weights import GeneratorFit, Locality, WeightSettings
from inverters.generators.tuned import with_tensors
from inverters.methods.common import (
    DRAFT,
    DRAFT_CODES,
    FAST,
    FAST_CODES,
    PAPER,
    MethodSettings,
    loss_names,
)
from inverters.rendering.cameras import angles


@dataclass(frozen=True, kw_only=True)
class PersonSettings(MethodSettings):
    """Settings of `vive3d`."""

    frames: int
    """Number of frames that the person is learnt from."""
    codes: CodeSettings
    """The person's code, and offsets and cameras of these frames."""
    tuning: WeightSettings
    """The weights about them."""
    sequence: SequenceSettings
    """The frames of the clip in turn."""


# afruehstueck/VIVE3D (Fruehstueck et al. 2023), personalize_generator.py and invert_video.py, their defaults.
# Its cameras begin at the front, with a focal length and a pivot of its own; here they begin at the
# landmarks'. Its face is what BiSeNet says, here what lies about the card's landmarks. Yaw and pitch have the
# codes' rate, there in radians, here in units of 0.05.
_PAPER = PersonSettings(
    **PAPER,
    frames=3,  # README: three --frame
    codes=CodeSettings(
        steps=600,  # 600
        frames_per_step=3,  # all at once
        space="w",  # w_person and offsets (1, 512)
        rate=0.01,  # --learning_rate 0.01
        schedule="warmup_cosine",  # warm-up over 5 %, cosine fall over the last 25 %
        w_noise=0.02,  # w_std x 0.02 x (1 - t / 0.75)^2
        residual_std=0.02,  # offsets = randn x 0.02
        lambda_residual=(0.05, 0.005),  # --weight_wdist 0.05, --weight_wdist_target 0.005
        lambda_absolute=0.15,  # --weight_pix 0.05 x sum of |error| / 128^2, over three channels
        lambda_perceptual=1.0,  # --weight_lpips 1.0, of the raw picture
        net="alex",  # LPIPS-alex
        lambda_face=2.0,  # --weight_face 2.0
        pose_rate=0.2,  # 0.01 radians
        pose_every=1,
        pose_level=True,  # yaw and pitch
    ),
    tuning=WeightSettings(
        steps=400,  # 400
        frames_per_step=3,
        rate=1e-3,  # Adam 1e-3
        parts=("backbone.", "decoder."),  # super-resolution is fixed
        net="alex",
        lambda_image=0.0,
        lambda_absolute=1.0,  # L1 of the raw picture; our notes of the release give no weight: 1
        lambda_perceptual=1.0,  # LPIPS-alex of the final one; likewise
        # alpha = 0.1, squared error and LPIPS 0.05 each, both times 1e-4
        locality=Locality(alpha=0.1, lambda_image=5e-6, lambda_perceptual=5e-6),
        stop=0.002,  # the three frames' sum at most 0.006
    ),
    sequence=SequenceSettings(
        first=200,  # 200
        later=50,  # 50
        codes=CodeSettings(
            rate=0.01,  # Adam 0.01
            lambda_absolute=0.25,  # L1 of the final picture
            lambda_perceptual=1.0,  # LPIPS-alex of the final picture
            net="alex",
            lambda_face=1.2,  # LPIPS and L1
            pose_rate=0.2,  # 0.01 radians
        ),
        lambda_offset=0.01,  # of the norm
        lambda_previous=0.02,  # of the norm; the release compares with the last step, which says nothing
        stop=0.2,  # --loss_threshold 0.2
    ),
)


def _short(
    common: dict[str, Any], codes: CodeSettings, tuning: int, first: int, later: int
) -> PersonSettings:
    """Our smaller form, which works in coordinates with the rays, samples and rates of `codes`.

    `tuning`, `first` and `later` are the steps of the weights, of the first frame and of each later one.
    """
    person = replace(
        codes, space="w", robust=None, smoothness=0.0, pose_every=1, pose_level=True, pose_rate=0.1
    )
    frame = replace(
        person,
        space="w+",
        frame_rate=0.08,
        lambda_absolute=1.0,
        lambda_delta=0.0,
        prior=0.0,
        pose_rate=0.05,
    )
    return PersonSettings(
        **common,
        frames=4,
        codes=person,
        tuning=WeightSettings(
            steps=tuning,
            coarse=codes.coarse,
            fine=codes.fine,
            rate=2e-3,
            schedule="warmup_cosine",
            parts=_PAPER.tuning.parts,
            lambda_absolute=1.0,
            stop=0.06,
        ),
        sequence=SequenceSettings(first, later, frame, lambda_offset=2e-3, lambda_previous=4e-3),
    )


PRESETS = {
    "draft": _short(DRAFT, DRAFT_CODES, tuning=100, first=40, later=8),
    "fast": _short(FAST, FAST_CODES, tuning=300, first=60, later=16),
    "paper": _PAPER,
}


def rows_of_person(cam2world: Tensor, count: int) -> Tensor:
    """Return rows [min(count, K)] to learn a person from, of cameras [K,4,4]: evenly spaced in order of yaw.

    The release leaves the choice to the user, who shall find different views.
    """
    order = angles(cam2world.cpu())[0].argsort(stable=True)
    places = torch.linspace(0, len(order) - 1, min(count, len(order))).round().long()
    return order[places]


def stage_steps(
    settings: PersonSettings, few: int, frames: int, steps: int | None = None
) -> tuple[int, int, tuple[int, int]]:
    """Return the steps of the person's codes, of the weights, and of the first and each later frame.

    Args:
        settings: of the method.
        few: number of frames that the person is learnt from.
        frames: number of frames of the clip.
        steps: about their sum, split as the settings split it, with at least one a stage and frame; None
            takes the settings'.
    """
    codes, tuning = settings.codes.steps_for(few), settings.tuning.steps_for(few)
    first, later = settings.sequence.first, settings.sequence.later
    if steps is None:
        return codes, tuning, (first, later)
    whole = first + later * (frames - 1)
    person, part = split_steps(codes + tuning, whole, steps)
    first, later = (max(1, round(n * part / whole)) for n in (first, later))
    return *split_steps(codes, tuning, person), (first, later)


def step_count(settings: PersonSettings, frames: int) -> int:
    """Return the number of steps of all stages for a clip of so many frames."""
    codes, tuning, (first, later) = stage_steps(settings, min(settings.frames, frames), frames)
    return codes + tuning + first + later * (frames - 1)


def invert(
    generator: Any,
    problem: InversionProblem,
    *,
    settings: PersonSettings,
    start: Inversion | None = None,
    steps: int | None = None,
    seed: int = 0,
    checkpoint_dir: Path | None = None,
    on_step: OnStep | None = None,
) -> Inversion:
    """Fit the person, the weights and the frames; arguments as in `base.Method`. One frame suffices.

    `steps` is split as in `stage_steps`. `cameras` are refined in yaw and pitch. There is no `start`: a
    person's code is part of no other inversion.
    """
    generator.requires_grad_(False)
    targets = Targets(problem, generator.config.neural_rendering_resolution, problem.cam2world.device)
    rows = rows_of_person(problem.cam2world, settings.frames)
    few = problem.of_rows(rows.numpy())
    first, second, budget = stage_steps(settings, len(rows), len(targets), steps)
    job = job_of("vive3d", generator, problem, settings, seed) | {"steps": [first, second, *budget]}
    total = first + second + budget[0] + budget[1] * (len(targets) - 1)
    run = Run(CheckpointStore(checkpoint_dir, job), on_step, total)

    person, name_codes = _person(run, generator, few, settings, first, seed)
    cameras: dict[str, Tensor] = {
        name: person.pop(name) for name in ("cam2world", "intrinsics") if name in person
    }
    seen = few.seen_by(cameras)
    found, name_weights = _weights(run, generator, seen, person.pop("ws"), settings, second, seed)
    tuned = with_tensors(generator, found)
    begin = {name: person[name] for name in ("shared", "offset")}
    begin |= {name: person[name].mean(0) for name in ("frame", "residual", "pose")}
    sequence = settings.sequence
    if find_space(settings.codes.space).bounded:
        sequence = replace(sequence, codes=in_space(sequence.codes, "z+"))
    fit = SequenceFit(tuned, targets, begin, sequence, budget, seed)
    run.run(fit)

    return Inversion(
        method="vive3d",
        preset=settings.name,
        fingerprint=generator.card.fingerprint,
        frames=problem.frames,
        ws=fit.all_ws(),
        latent=fit.latent(),
        cameras=fit.cameras(),
        generator=found,
        history=run.history,
        info={
            "perceptual_loss": loss_names(name_codes, name_weights, fit.perceptual_name),
            "masks": problem.occluder_masks is not None,
            "space": fit.settings.space,
            "person_frames": [int(frame) for frame in few.frames],
            "steps": {stage: _steps_done(run, stage) for stage in ("codes", "generator", "frames")},
            "render": settings.render_info,
        },
    )


def _person(
    run: Run, generator: Any, few: InversionProblem, settings: PersonSettings, steps: int, seed: int
) -> tuple[dict[str, Tensor], str]:
    """Codes, offsets and cameras of the few frames, and the person's code; the perceptual loss's name."""
    device = few.cam2world.device
    targets = Targets(few, generator.config.neural_rendering_resolution, device)
    in_z = find_space(settings.codes.space).bounded
    fit = (SpaceFit if in_z else CodeFit)(generator, targets, settings.codes, steps, seed)
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
    return {name: tensor.to(device) for name, tensor in found.items()}, fit.perceptual_name


def _weights(
    run: Run,
    generator: Any,
    few: InversionProblem,
    ws: Tensor,
    settings: PersonSettings,
    steps: int,
    seed: int,
) -> tuple[dict[str, Tensor], str]:
    """The tuned weights by name, and the perceptual loss's name."""
    device = few.cam2world.device
    targets = Targets(few, generator.config.neural_rendering_resolution, device)
    fit = GeneratorFit(generator, targets, ws, settings.tuning, steps, seed)
    if run.is_past(fit.name):
        found = run.results(fit.name)
    else:
        run.run(fit)
        found = fit.tensors()
    run.keep(fit.name, steps, found)
    return {name: tensor.to(device) for name, tensor in found.items()}, fit.perceptual_name


def _steps_done(run: Run, stage: str) -> int:
    """Number of steps that a stage took; it may have stopped early."""
    return max(len(values) for name, values in run.history.items() if name.startswith(f"{stage}/"))


METHOD = Method(
    name="vive3d",
    presets=PRESETS,
    steps=step_count,
    invert=invert,
    spaces=frozenset({"w", "w+", "z", "z+"}),
)
