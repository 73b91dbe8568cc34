"""W+ inversion: a code for each layer and frame, w_t = shared code + residual_t; or in another latent space.

`draft` and `fast` are In-N-Out's section 4.1 without a second field; `paper` is the public projector's
schedule (StyleGAN2's projector, Karras et al. 2020, as EG3D-projector runs it in W+).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from inverters.base import Inversion, InversionProblem, Method, OnStep
from inverters.fitting.checkpoints import CheckpointStore, job_of
from inverters.fitting.code_settings import CodeSettings
from inverters.fitting.fitted_codes import fitted_codes
from inverters.fitting.loop import Run
from inverters.fitting.spaces import SPACES
from inverters.fitting.targets import Targets
from inverters.generators.tuned import with_tensors
from inverters.methods.common import (
    DRAFT,
    DRAFT_PLAIN_CODES,
    FAST,
    FAST_PLAIN_CODES,
    IN_N_OUT_CODES,
    PAPER,
    PROJECTOR,
    MethodSettings,
)


@dataclass(frozen=True, kw_only=True)
class ProjectionSettings(MethodSettings):
    """Settings of `w` and `w+`."""

    codes: CodeSettings
    """The fit of the codes; `codes.space` is W, W+ or another of `fitting.spaces.SPACES`."""


PRESETS = {
    "draft": ProjectionSettings(**DRAFT, codes=DRAFT_PLAIN_CODES),
    "fast": ProjectionSettings(**FAST, codes=FAST_PLAIN_CODES),
    "paper": ProjectionSettings(**PAPER, codes=PROJECTOR),
    # In-N-Out, section 5.2: W+ for 200 epochs at 1e-3, as its own first stage
    "in-n-out-baselines": ProjectionSettings(**PAPER | {"name": "in-n-out-baselines"}, codes=IN_N_OUT_CODES),
    # Katsumata et al. 2024 (Z+), section 4, "Implementation details"; the raw picture is compared as well
    "z-plus": ProjectionSettings(
        **PAPER | {"name": "z-plus"},
        codes=CodeSettings(
            epochs=1200,  # "we iteratively update the latent code 1200 times"
            shared=False,  # single images
            space="f/z+",  # 3.2
            rate=0.01,  # "We set the learning rate to 0.01", by Adam
            base_rate=0.01,
            at_image=True,  # equation 1: MSE
            lambda_perceptual=10.0,  # lambda_per = 10, with the VGG backbone
            lambda_base=10.0,  # lambda_reg = 10
            lambda_p=0.01,  # its code, for W+(P_N)
        ),
    ),
}

STARTS_FROM = frozenset({"codes", "cameras", "weights"})


def step_count(settings: ProjectionSettings, frames: int) -> int:
    """Return the number of steps for a clip of so many frames."""
    return settings.codes.steps_for(frames)


def invert_codes(
    name: str,
    generator: Any,
    problem: InversionProblem,
    *,
    settings: ProjectionSettings,
    start: Inversion | None = None,
    steps: int | None = None,
    seed: int = 0,
    checkpoint_dir: Path | None = None,
    on_step: OnStep | None = None,
) -> Inversion:
    """Fit the codes of method `name`, `w` or `w+`; arguments as in `base.Method`.

    With `start`, the fit begins at its codes, seen by its cameras and with its tuned weights, which are kept.
    """
    cameras, weights = ({}, {}) if start is None else (start.cameras, start.generator)
    generator.requires_grad_(False)
    tuned = with_tensors(generator, weights)
    device = problem.cam2world.device
    targets = Targets(problem.seen_by(cameras), generator.config.neural_rendering_resolution, device)
    count = steps or step_count(settings, len(targets))
    job = job_of(name, generator, problem, settings, seed, start) | {"steps": count}
    run = Run(CheckpointStore(checkpoint_dir, job), on_step, count)
    found = fitted_codes(run, tuned, targets, settings.codes, count, seed, start)
    return Inversion(
        method=name,
        preset=settings.name,
        fingerprint=generator.card.fingerprint,
        frames=problem.frames,
        ws=found.ws,
        latent=found.latent,
        cameras=cameras | found.cameras,
        generator=weights,
        history=run.history,
        info=found.info
        | {
            "perceptual_loss": found.perceptual,
            "steps": {"codes": count},
            "render": settings.render_info,
        },
    )


METHOD = Method(
    name="w+",
    presets=PRESETS,
    steps=step_count,
    invert=partial(invert_codes, "w+"),
    spaces=frozenset(SPACES),
    starts_from=STARTS_FROM,
)
