"""HFGI3D over a whole clip: weights tuned to the frames and to pseudo views from other cameras.

Xie et al. 2023, "High-fidelity 3D GAN Inversion by Pseudo-multi-view Optimization".

First codes and weights as in PTI; then pseudo views, rendered with these weights (`fields.pseudo_views`);
then the weights again, each step by frames and by one pseudo view. The release inverts single images; of a
clip, a few frames get pseudo views and all frames are fitted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inverters.base import Inversion, InversionProblem, Method, OnStep
from inverters.fields.pseudo_views import (
    PseudoViews,
    PseudoViewSettings,
    camera_path,
    chosen_rows,
    views_of,
)
from inverters.fitting.checkpoints import CheckpointStore, job_of
from inverters.fitting.code_settings import CodeSettings
from inverters.fitting.fitted_codes import fitted_codes, found_codes
from inverters.fitting.loop import Run, backward
from inverters.fitting.schedules import split_steps
from inverters.fitting.spaces import PLAIN
from inverters.fitting.targets import Targets
from inverters.fitting.weights import GeneratorFit, WeightSettings
from inverters.generators.tuned import with_tensors
from inverters.methods import pti
from inverters.methods.common import (
    DRAFT,
    DRAFT_PLAIN_CODES,
    DRAFT_WEIGHTS,
    FAST,
    FAST_PLAIN_CODES,
    PAPER,
    PROJECTOR,
    MethodSettings,
    loss_names,
)
from inverters.rendering.sampling import Sampling


@dataclass(frozen=True, kw_only=True)
class MultiViewSettings(MethodSettings):
    """Settings of `hfgi3d`."""

    codes: CodeSettings
    """The pivots."""
    tuning: WeightSettings
    """The first tuning, to the frames."""
    views: PseudoViewSettings
    """The pseudo views, rendered with the weights of the first tuning."""
    joint: WeightSettings
    """The second tuning, to frames and pseudo views."""
    restart: bool = False
    """The second tuning begins at the generator's own weights, not at those of the first tuning."""


_VIEWS = PseudoViewSettings(
    frames=4,  # ours: the release inverts one image
    poses=30,  # num_keyframes = 30
    yaw=0.35,  # yaw_range = 0.35
    pitch=0.25,  # pitch_range = 0.25
    centre=-0.05,  # 3.14/2 - 0.05 + pitch_range * cos(...)
    tolerance=0.01,  # ours: there 1/512 between points of one depth map; here two maps are compared
    erosion=3,  # np.ones((3,3))
    border=51,  # np.ones((51,51))
    feather=21,  # GaussianBlur(mask, (21,21), 0)
)

_PTI = pti.PRESETS["paper"].tuning  # losses and rate of the release are PTI's

PRESETS = {
    "draft": MultiViewSettings(
        **DRAFT,
        codes=DRAFT_PLAIN_CODES,
        tuning=replace(DRAFT_WEIGHTS, steps=60),
        views=replace(_VIEWS, frames=3, poses=10),
        joint=replace(DRAFT_WEIGHTS, steps=60, stop=0.0),
    ),
    "fast": MultiViewSettings(
        **FAST,
        codes=FAST_PLAIN_CODES,
        tuning=replace(DRAFT_WEIGHTS, steps=200, coarse=None, fine=None),
        views=_VIEWS,
        joint=replace(DRAFT_WEIGHTS, steps=200, coarse=None, fine=None, stop=0.0),
    ),
    # jiaxinxie97/HFGI3D, inversion/configs/hyperparameters.py, inversion/training/coaches and
    # multi_views/generate_multi_views.py
    "paper": MultiViewSettings(
        **PAPER,
        codes=replace(PROJECTOR, space="w+"),  # w_plus_projector, first_inv_steps = 500
        tuning=replace(_PTI, epochs=500),  # max_pti_steps = 500
        views=_VIEWS,
        joint=replace(_PTI, epochs=1000, stop=0.0),  # max_pti_steps_multiviews = 1000, without threshold
        restart=True,  # restart_training() reads the generator from its file again
    ),
}


class MultiViewFit(GeneratorFit):
    """Fits the weights to the frames, and with equal weight to one pseudo view a step.

    A stage for `loop.Run`.
    """

    name = "views"

    def __init__(
        self,
        generator: Any,
        targets: Targets,
        ws: Tensor,
        settings: WeightSettings,
        steps: int,
        seed: int,
        views: PseudoViews,
    ) -> None:
        super().__init__(generator, targets, ws, settings, steps, seed)
        self.views = views

    def beside(self) -> dict[str, Tensor]:
        """Add the gradients of both losses of a pseudo view drawn at random; return the losses.

        As the release's calc_loss.
        """
        p = self.settings
        chosen = int(torch.randint(len(self.views), (1,), generator=self.rng))
        wanted, row, camera = self.views.view(chosen)

        def losses_of(_: slice) -> dict[str, Tensor]:
            seen = self.generator.synthesis(self.codes.values[row], *camera, sampling=self.sampling)
            error, distance = self.compared(seen.image, wanted)
            return {
                "view_image": p.lambda_image * error,
                "view_perceptual": p.lambda_perceptual * distance,
            }

        return backward(1, self.targets.device, losses_of)


def step_counts(settings: MultiViewSettings, frames: int, steps: int | None) -> tuple[int, int, int]:
    """Return the steps of codes, first and second tuning; `steps` replaces their sum, split in proportion."""
    codes, first, second = (
        stage.steps_for(frames) for stage in (settings.codes, settings.tuning, settings.joint)
    )
    codes, rest = split_steps(codes, first + second, steps)
    return codes, *split_steps(first, second, None if steps is None else rest)


def step_count(settings: MultiViewSettings, frames: int) -> int:
    """Return the number of steps of all stages for a clip of so many frames."""
    return sum(step_counts(settings, frames, None))


@torch.no_grad()
def rendered_views(
    generator: Any, targets: Targets, ws: Tensor, sampling: Sampling, settings: PseudoViewSettings
) -> Tensor:
    """Return all pseudo views, uint8 [F,P,3,S,S], by a generator tuned to the frames.

    Args:
        generator: tuned to the frames.
        targets: the frames and their cameras.
        ws: codes [K,num_ws,w_dim] of all rows.
        sampling: samples of the rays.
        settings: number and cameras of the views.
    """
    size = generator.config.img_resolution
    path = camera_path(generator, settings, targets.device)
    found = []
    for row in chosen_rows(len(targets), settings):
        at = row[None]
        keep = targets.keep_image(at, size)
        picture = torch.cat([targets.image(at, size) * keep, keep], dim=1)
        camera = targets.cam2world[at], targets.intrinsics[at]
        found.append(views_of(generator, picture, ws[at], camera, path, sampling, settings))
    return torch.stack(found)


def invert(
    generator: Any,
    problem: InversionProblem,
    *,
    settings: MultiViewSettings,
    start: Inversion | None = None,
    steps: int | None = None,
    seed: int = 0,
    checkpoint_dir: Path | None = None,
    on_step: OnStep | None = None,
) -> Inversion:
    """Fit codes, weights, pseudo views, and weights again; arguments as in `base.Method`.

    Codes and cameras are fixed in both tunings. With a `start` that was fitted, its codes are the pivots, so
    that the first stage has no steps, and the weights begin at its weights. At what an encoder told, the
    first stage begins.
    """
    generator.requires_grad_(False)
    size, device = generator.config.neural_rendering_resolution, problem.cam2world.device
    counts = step_counts(settings, len(problem.frames), steps)
    pivots = start if start is not None and start.is_fitted else None
    if pivots is not None:
        first, second = (stage.steps_for(len(problem.frames)) for stage in (settings.tuning, settings.joint))
        counts = 0, *split_steps(first, second, steps)
    job = job_of("hfgi3d", generator, problem, settings, seed, start) | {"steps": list(counts)}
    run = Run(CheckpointStore(checkpoint_dir, job), on_step, sum(counts))
    if pivots is None:
        targets = Targets(problem, size, device)
        found = fitted_codes(run, generator, targets, settings.codes, counts[0], seed, start)
    else:
        found = found_codes(pivots, device)
    weights = {} if start is None else start.generator
    targets = Targets(problem.seen_by(found.cameras), size, device)
    fit = _fitted_views(run, with_tensors(generator, weights), targets, found.ws, settings, counts, seed)
    return Inversion(
        method="hfgi3d",
        preset=settings.name,
        fingerprint=generator.card.fingerprint,
        frames=problem.frames,
        ws=found.ws,
        latent=found.latent,
        cameras=found.cameras,
        generator=weights | fit.tensors(),
        history=run.history,
        info=found.info
        | {
            "perceptual_loss": loss_names(found.perceptual, fit.perceptual_name),
            "masks": problem.occluder_masks is not None,
            "pseudo_views": {
                "frames": problem.frames[fit.views.rows.numpy()].tolist(),
                "poses": settings.views.poses,
            },
            "steps": {
                "codes": counts[0],
                "generator": len(run.history["generator/image"]),
                "views": len(run.history["views/image"]),
            },
            "render": settings.render_info,
        },
    )


def _fitted_views(
    run: Run,
    generator: Any,
    targets: Targets,
    ws: Tensor,
    settings: MultiViewSettings,
    counts: tuple[int, int, int],
    seed: int,
) -> MultiViewFit:
    """Run both tunings, or the part that the checkpoint does not hold; return the second."""
    begun = generator
    if run.is_past(GeneratorFit.name):
        images = run.results(GeneratorFit.name)["views"]
    else:
        first = GeneratorFit(generator, targets, ws, settings.tuning, counts[1], seed)
        run.run(first)
        images = rendered_views(first.generator, targets, ws, first.sampling, settings.views)
        if not settings.restart:
            begun = with_tensors(generator, first.tensors())
        del first
    run.keep(GeneratorFit.name, counts[1], {"views": images})
    path = camera_path(generator, settings.views, targets.device)
    views = PseudoViews(images, chosen_rows(len(targets), settings.views), path)
    # A run that continues within this stage takes its weights from the checkpoint, whatever `begun` is.
    fit = MultiViewFit(begun, targets, ws, settings.joint, counts[2], seed, views)
    run.run(fit)
    return fit


METHOD = Method(
    name="hfgi3d",
    presets=PRESETS,
    steps=step_count,
    invert=invert,
    spaces=frozenset(PLAIN) - {"s"},  # pseudo views are made from w alone
    starts_from=frozenset({"codes", "cameras", "weights"}),
)
