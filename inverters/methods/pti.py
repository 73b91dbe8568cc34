"""PTI over a whole clip: codes first, then the generator's weights about these pivots (Roich et al. 2021).

The released code tunes to single images (`single_id_coach.py`) or to a set (`multi_id_coach.py`); a clip is
such a set. Whatever the codes cannot show goes into the weights, a mask over the mouth like a wrinkle: see
In-N-Out's comparison in its section 5.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inverters.base import Inversion, InversionProblem, OnStep, register
from inverters.fitting.checkpoints import CheckpointStore
from inverters.fitting.loop import Run
from inverters.fitting.targets import Targets
from inverters.fitting.weights import GeneratorFit
from inverters.methods.presets import code_steps, get_preset, split_steps, step_count
from inverters.methods.w_plus import fitted_codes, job_of


def tune_about_pivots(
    method: str,
    generator: Any,
    problem: InversionProblem,
    *,
    preset: str,
    steps: int | None = None,
    seed: int = 0,
    checkpoint_dir: Path | None = None,
    on_step: OnStep | None = None,
) -> Inversion:
    """Both stages by the preset's recipe for `method`: "pti" or "pose-opt"; else as `base.Inverter`.

    `steps` replaces the sum of both stages' steps, split as the recipe splits.
    """
    chosen = get_preset(preset)
    recipe = chosen.pti if method == "pti" else chosen.pose_opt
    generator.requires_grad_(False)
    targets = Targets(problem, generator.config.neural_rendering_resolution, problem.cam2world.device)
    p, frames = recipe.tuning, len(targets)
    second = step_count(p.steps, p.epochs, p.growth, frames, p.frames_per_step)
    first, second = split_steps(code_steps(recipe.codes, frames), second, steps)
    job = job_of(method, generator, problem, chosen, seed) | {"steps": [first, second]}
    run = Run(CheckpointStore(checkpoint_dir, job), on_step, first + second)
    found, perceptual = fitted_codes(run, generator, targets, recipe.codes, first, seed)
    cameras = {name: tensor for name, tensor in found.items() if name != "ws"}
    targets = Targets(problem.seen_by(cameras), targets.resolution, targets.device)
    fit = GeneratorFit(generator, targets, found["ws"], p, second, seed)
    run.run(fit)
    names = {perceptual, fit.perceptual_name} - {"none"}
    return Inversion(
        method=method,
        preset=preset,
        fingerprint=generator.card.fingerprint,
        frames=problem.frames,
        ws=fit.codes.values.clone(),
        cameras=cameras | fit.cameras(),
        generator=fit.tensors(),
        history=run.history,
        info={
            "perceptual_loss": ", ".join(sorted(names)),
            "masks": problem.occluder_masks is not None,
            "steps": {"codes": first, "generator": len(run.history["generator/image"])},
            "render": {"coarse": chosen.render[0], "fine": chosen.render[1]},
        },
    )


@register("pti")
def invert_pti(generator: Any, problem: InversionProblem, **options: Any) -> Inversion:
    """Pivots in W or W+, then the weights about them. Arguments as for `base.Inverter`."""
    return tune_about_pivots("pti", generator, problem, **options)
