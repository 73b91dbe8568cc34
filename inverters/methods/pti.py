"""PTI over a whole clip: codes, then the generator's weights about these pivots.

Roich et al. 2021, "Pivotal Tuning for Latent-based Editing of Real Images".

The release tunes to single images (`single_id_coach.py`) or to a set of them (`multi_id_coach.py`); a clip is
such a set. What the codes cannot show goes into the weights, a mask over the mouth as well as a wrinkle: see
the comparison in In-N-Out, section 5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from inverters.base import Inversion, InversionProblem, Method, OnStep
from inverters.fitting.checkpoints import CheckpointStore, job_of
from inverters.fitting.code_settings import CodeSettings
from inverters.fitting.fitted_codes import fitted_codes, found_codes
from inverters.fitting.loop import Run
from inverters.fitting.schedules import split_steps
from inverters.fitting.spaces import SPACES
from inverters.fitting.targets import Targets
from inverters.fitting.weights import GeneratorFit, Locality, WeightSettings
from inverters.generators.tuned import with_tensors
from inverters.methods.common import (
    DRAFT,
    DRAFT_PLAIN_CODES,
    DRAFT_WEIGHTS,
    FAST,
    FAST_PLAIN_CODES,
    IN_N_OUT_CODES,
    PAPER,
    PROJECTOR,
    MethodSettings,
    loss_names,
)


@dataclass(frozen=True, kw_only=True)
class PivotSettings(MethodSettings):
    """Settings of `pti` and `pose-opt`."""

    codes: CodeSettings
    """The pivots."""
    tuning: WeightSettings
    """The weights about them."""


# danielroich/PTI, configs/hyperparameters.py, and EG3D-projector's copy of it
_PAPER = PivotSettings(
    **PAPER,
    codes=replace(PROJECTOR, space="w", epochs=450),  # first_inv_type = 'w', first_inv_steps = 450
    tuning=WeightSettings(
        epochs=350,  # max_pti_steps = 350, an image
        rate=3e-4,  # pti_learning_rate = 3e-4
        net="alex",  # lpips_type = 'alex'
        lambda_image=1.0,  # pt_l2_lambda = 1
        lambda_perceptual=1.0,  # pt_lpips_lambda = 1
        stop=0.06,  # LPIPS_value_threshold = 0.06
        locality=None,  # use_locality_regularization = False
    ),
)

PRESETS = {
    "draft": PivotSettings(**DRAFT, codes=DRAFT_PLAIN_CODES, tuning=DRAFT_WEIGHTS),
    "fast": PivotSettings(
        **FAST,
        codes=FAST_PLAIN_CODES,
        tuning=replace(DRAFT_WEIGHTS, steps=300, coarse=None, fine=None),
    ),
    "paper": _PAPER,
    # with PTI's regulariser (section 3.3), which the release leaves out
    "paper-locality": replace(
        _PAPER,
        name="paper-locality",
        tuning=replace(
            _PAPER.tuning,
            # regulizer_alpha = 30, regulizer_l2_lambda = 0.1, regulizer_lpips_lambda = 0.1
            locality=Locality(alpha=30.0, lambda_image=0.1, lambda_perceptual=0.1),
        ),
    ),
    # In-N-Out, section 5.2
    "in-n-out-baselines": PivotSettings(
        **PAPER | {"name": "in-n-out-baselines"},
        codes=IN_N_OUT_CODES,  # "we first perform a W+ inversion with a learning rate of 1e-3 and 200 epochs"
        tuning=WeightSettings(
            epochs=200,  # "then finetune the generator for 200 epochs"
            rate=3e-5,  # "with a learning rate of 3e-5"
            net="vgg",  # its copy of PTI's configuration: vgg, l2 1, lpips 10
            lambda_image=1.0,
            lambda_perceptual=10.0,
        ),
    ),
}


def step_count(settings: PivotSettings, frames: int) -> int:
    """Return the number of steps of both stages for a clip of so many frames."""
    return settings.codes.steps_for(frames) + settings.tuning.steps_for(frames)


def tune_about_pivots(
    name: str,
    generator: Any,
    problem: InversionProblem,
    *,
    settings: PivotSettings,
    start: Inversion | None = None,
    steps: int | None = None,
    seed: int = 0,
    checkpoint_dir: Path | None = None,
    on_step: OnStep | None = None,
) -> Inversion:
    """Run both stages of method `name`, `pti` or `pose-opt`; arguments as in `base.Method`.

    With a `start` that was fitted, its codes are the pivots, so that the first stage has no steps, and the
    weights begin at its weights. At what an encoder told, the first stage begins.
    """
    generator.requires_grad_(False)
    size, device = generator.config.neural_rendering_resolution, problem.cam2world.device
    frames = len(problem.frames)
    pivots = start if start is not None and start.is_fitted else None
    first, second = settings.codes.steps_for(frames), settings.tuning.steps_for(frames)
    first, second = split_steps(first, second, steps) if pivots is None else (0, steps or second)
    job = job_of(name, generator, problem, settings, seed, start) | {"steps": [first, second]}
    run = Run(CheckpointStore(checkpoint_dir, job), on_step, first + second)
    weights = {} if start is None else start.generator
    tuned = with_tensors(generator, weights)
    if pivots is None:
        targets = Targets(problem, size, device)
        found = fitted_codes(run, generator, targets, settings.codes, first, seed, start)
    else:
        found = found_codes(pivots, device)
    targets = Targets(problem.seen_by(found.cameras), size, device)
    fit = GeneratorFit(tuned, targets, found.ws, settings.tuning, second, seed, found.layer_codes)
    run.run(fit)
    return Inversion(
        method=name,
        preset=settings.name,
        fingerprint=generator.card.fingerprint,
        frames=problem.frames,
        ws=fit.codes.values.clone(),
        latent=found.latent,
        cameras=found.cameras | fit.cameras(),
        generator=weights | fit.tensors(),
        history=run.history,
        info=found.info
        | {
            "perceptual_loss": loss_names(found.perceptual, fit.perceptual_name),
            "masks": problem.occluder_masks is not None,
            "steps": {"codes": first, "generator": len(run.history["generator/image"])},
            "render": settings.render_info,
        },
    )


METHOD = Method(
    name="pti",
    presets=PRESETS,
    steps=step_count,
    invert=partial(tune_about_pivots, "pti"),
    spaces=frozenset(SPACES),
    starts_from=frozenset({"codes", "base codes", "styles", "cameras", "weights"}),
)
