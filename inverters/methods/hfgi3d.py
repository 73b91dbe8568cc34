"""HFGI3D over a whole clip: a tuning that also sees the face from elsewhere (Xie et al. 2023, "High-fidelity
3D GAN Inversion by Pseudo-multi-view Optimization").

First codes and weights as PTI; then pseudo views, made with these weights (`pseudo_views`); then the weights
again, at each step by frames and by one pseudo view. The release knows single images; of a clip, a few frames
get pseudo views and all frames are fitted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inverters.base import Inversion, InversionProblem, OnStep, register
from inverters.fields.pseudo_views import PseudoViews, camera_path, chosen_rows, rendered_views
from inverters.fitting.checkpoints import CheckpointStore
from inverters.fitting.loop import Run, backward
from inverters.fitting.targets import Targets
from inverters.fitting.weights import GeneratorFit, PivotalPreset
from inverters.generators.tuned import with_tensors
from inverters.methods.hyperparameters import MultiViewPreset
from inverters.methods.presets import code_steps, get_preset, split_steps, step_count
from inverters.methods.w_plus import fitted_codes, job_of


class MultiViewFit(GeneratorFit):
    """Fits the weights to the frames, and to one pseudo view a step with the same weight; a stage for
    `fitting.Run`.
    """

    name = "views"

    def __init__(
        self,
        generator: Any,
        targets: Targets,
        ws: Tensor,
        preset: PivotalPreset,
        steps: int,
        seed: int,
        views: PseudoViews,
    ) -> None:
        super().__init__(generator, targets, ws, preset, steps, seed)
        self.views = views

    def beside(self) -> dict[str, Tensor]:
        """Gradients of both losses of a pseudo view drawn at random (the release's calc_loss)."""
        p = self.preset
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


def step_counts(recipe: MultiViewPreset, frames: int, steps: int | None) -> tuple[int, int, int]:
    """Steps of codes, first and second tuning; `steps`, where given, is their sum, split as the recipe
    splits.
    """
    codes = code_steps(recipe.codes, frames)
    first, second = (
        step_count(p.steps, p.epochs, p.growth, frames, p.frames_per_step)
        for p in (recipe.tuning, recipe.joint)
    )
    codes, rest = split_steps(codes, first + second, steps)
    return codes, *split_steps(first, second, None if steps is None else rest)


@register("hfgi3d")
def invert_hfgi3d(
    generator: Any,
    problem: InversionProblem,
    *,
    preset: str,
    steps: int | None = None,
    seed: int = 0,
    checkpoint_dir: Path | None = None,
    on_step: OnStep | None = None,
) -> Inversion:
    """Codes, weights, pseudo views, weights again. Arguments as for `base.Inverter`; codes and cameras rest
    in both tunings.
    """
    chosen = get_preset(preset)
    recipe = chosen.hfgi3d
    generator.requires_grad_(False)
    targets = Targets(problem, generator.config.neural_rendering_resolution, problem.cam2world.device)
    counts = step_counts(recipe, len(targets), steps)
    job = job_of("hfgi3d", generator, problem, chosen, seed) | {"steps": list(counts)}
    run = Run(CheckpointStore(checkpoint_dir, job), on_step, sum(counts))
    found, perceptual = fitted_codes(run, generator, targets, recipe.codes, counts[0], seed)
    ws = found.pop("ws")
    targets = Targets(problem.seen_by(found), targets.resolution, targets.device)
    begun = generator
    if run.is_past(GeneratorFit.name):
        images = run.results(GeneratorFit.name)["views"]
    else:
        first = GeneratorFit(generator, targets, ws, recipe.tuning, counts[1], seed)
        run.run(first)
        images = rendered_views(first.generator, targets, ws, first.sampling, recipe.views)
        if not recipe.restart:
            begun = with_tensors(generator, first.tensors())
        del first
    run.keep(GeneratorFit.name, counts[1], {"views": images})
    views = PseudoViews(
        images, chosen_rows(len(targets), recipe.views), camera_path(generator, recipe.views, targets.device)
    )
    # A run that goes on from within this stage takes its weights from the checkpoint, wherever they began.
    fit = MultiViewFit(begun, targets, ws, recipe.joint, counts[2], seed, views)
    run.run(fit)
    names = {perceptual, fit.perceptual_name} - {"none"}
    return Inversion(
        method="hfgi3d",
        preset=preset,
        fingerprint=generator.card.fingerprint,
        frames=problem.frames,
        ws=ws,
        cameras=found,
        generator=fit.tensors(),
        history=run.history,
        info={
            "perceptual_loss": ", ".join(sorted(names)),
            "masks": problem.occluder_masks is not None,
            "pseudo_views": {
                "frames": problem.frames[views.rows.numpy()].tolist(),
                "poses": recipe.views.poses,
            },
            "steps": {
                "codes": counts[0],
                "generator": len(run.history["generator/image"]),
                "views": len(run.history["views/image"]),
            },
            "render": {"coarse": chosen.render[0], "fine": chosen.render[1]},
        },
    )
