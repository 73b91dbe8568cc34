"""SAM: a latent space for each segment of the face, chosen by how well it can be inverted.

Parmar et al. 2022, "Spatially-Adaptive Multilayer Selection for GAN Inversion and Editing". Codes show most
of a face and can be edited; an offset of the features at a layer shows more, the later the layer, and can be
edited less. Each segment takes the first space, from the codes to the latest layer, in which its error is low
enough; then codes and offsets are fitted together. SAM-Z+ of Katsumata et al. 2024 has codes in Z+
(`--space z+`).

The release predicts the errors by a network trained on inversions of photographs, and its segments are those
of a parser. Here a short fit in each space measures the error, and segments are clusters of place and colour.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inverters.base import Inversion, InversionProblem, Method, OnStep
from inverters.errors import InverterError
from inverters.fitting.checkpoints import CheckpointStore, job_of
from inverters.fitting.code_settings import CodeSettings
from inverters.fitting.fitted_codes import FittedCodes, fitted_codes, found_codes
from inverters.fitting.loop import Run
from inverters.fitting.segment_fit import SegmentFit, blocks_of
from inverters.fitting.segments import errors_of, mask_of, rendered, seen_places, segments
from inverters.fitting.spaces import find_space
from inverters.fitting.targets import Targets
from inverters.generators.tuned import with_tensors
from inverters.methods.common import (
    DRAFT,
    DRAFT_PLAIN_CODES,
    FAST,
    FAST_PLAIN_CODES,
    PAPER,
    MethodSettings,
)


@dataclass(frozen=True, kw_only=True)
class SegmentSettings(MethodSettings):
    """Settings of `sam`."""

    codes: CodeSettings
    """The codes alone; their space is that of all codes."""
    offsets: CodeSettings
    """The trials of offsets, and the last fit of codes and offsets; the number of its steps is the last's."""
    trial: int
    """Steps of the trial at each layer, in which the codes stay."""
    blocks: tuple[int, ...]
    """Resolutions of the layers that may have offsets; those that the backbone lacks are left out."""
    segments: int
    """Most segments."""
    threshold: float
    """Root mean squared error, of colours in [-1,1], that a segment's space may have."""
    frames: int = 4
    """Frames, evenly spaced, in which errors are measured."""


def _short(common: dict[str, Any], codes: CodeSettings, steps: int, trial: int) -> SegmentSettings:
    """Our smaller form: codes in coordinates, then a fit of offsets by squared error."""
    return SegmentSettings(
        **common,
        codes=codes,
        offsets=replace(
            codes,
            steps=steps,
            coordinates=False,
            sweep=0.0,
            lambda_delta=0.0,
            base_rate=0.02,
            lambda_base=0.1,
        ),
        trial=trial,
        blocks=(8, 16, 32),
        segments=12,
        threshold=0.12,
    )


PRESETS = {
    "draft": _short(DRAFT, DRAFT_PLAIN_CODES, steps=150, trial=20),
    "fast": _short(FAST, FAST_PLAIN_CODES, steps=300, trial=40),
    # adobe-research/sam_inversion. Its prior of w (1e-8) and the codes' delta (1e-3) are left out: they are
    # for codes of W+, and codes may be of Z+ here.
    "paper": SegmentSettings(
        **PAPER,
        codes=CodeSettings(  # ours, in place of e4e, at whose codes the release begins
            epochs=300,
            rate=0.01,
            schedule="warmup_cosine",
            lambda_perceptual=1.0,
            at_image=True,
        ),
        offsets=CodeSettings(
            epochs=1001,  # 1001 steps an image
            rate=0.05,  # lr 0.05, ramped
            base_rate=0.05,
            schedule="warmup_cosine",
            lambda_perceptual=1.0,  # MSE 1 and LPIPS-VGG 1
            at_image=True,
            lambda_base=5.0,  # F-rec 5
        ),
        trial=50,  # ours, in place of the invertibility network
        blocks=(16, 32, 64, 128),  # F4, F6, F8, F10
        segments=12,  # ours
        threshold=0.225,  # 0.225, there of predicted LPIPS
    ),
}


def step_counts(
    settings: SegmentSettings, blocks: int, frames: int, steps: int | None
) -> tuple[int, int, int]:
    """Return the steps of the codes, of each of so many trials, and of the last fit.

    `steps` is about their sum, split as the settings split it, with at least one each.
    """
    own = settings.codes.steps_for(frames), settings.trial, settings.offsets.steps_for(frames)
    if steps is None:
        return own
    share = steps / (own[0] + blocks * own[1] + own[2])
    codes, trial, _ = (max(1, round(share * count)) for count in own)
    return codes, trial, max(1, steps - codes - blocks * trial)


def step_count(settings: SegmentSettings, frames: int) -> int:
    """Return the number of steps of all stages for a clip of so many frames."""
    blocks = len(settings.blocks)
    codes, trial, last = step_counts(settings, blocks, frames, None)
    return codes + blocks * trial + last


def chosen_spaces(errors: Tensor, threshold: float) -> Tensor:
    """Return each segment's space [S]: the first with an error within the threshold, else the last.

    `errors` [spaces,S].
    """
    within = errors <= threshold
    within[-1] = True
    return within.int().argmax(0)


def invert(
    generator: Any,
    problem: InversionProblem,
    *,
    settings: SegmentSettings,
    start: Inversion | None = None,
    steps: int | None = None,
    seed: int = 0,
    checkpoint_dir: Path | None = None,
    on_step: OnStep | None = None,
) -> Inversion:
    """Fit the codes, choose the spaces, and fit codes and offsets; arguments as in `base.Method`.

    The codes of a `start` that was fitted take the place of the first stage. At what an encoder told, it
    begins (the release takes e4e's codes as they are).

    Raises:
        InverterError: also where `start` has no codes in the space.
    """
    generator.requires_grad_(False)
    size, device = generator.config.neural_rendering_resolution, problem.cam2world.device
    blocks, frames = blocks_of(generator, settings.blocks), len(problem.frames)
    codes, trial, last = step_counts(settings, len(blocks), frames, steps)
    pivots = start if start is not None and start.is_fitted else None
    codes = codes if pivots is None else 0
    job = job_of("sam", generator, problem, settings, seed, start) | {"steps": [codes, trial, last]}
    run = Run(CheckpointStore(checkpoint_dir, job), on_step, codes + len(blocks) * trial + last)
    weights = {} if start is None else start.generator
    generator = with_tensors(generator, weights)
    if pivots is None:
        targets = Targets(problem, size, device)
        found = fitted_codes(run, generator, targets, settings.codes, codes, seed, start)
    else:
        found = found_codes(pivots, device)
    targets = Targets(problem.seen_by(found.cameras), size, device)
    begin = begin_rows(found, settings.codes.space)
    offsets = replace(settings.offsets, space=settings.codes.space)
    masks, chosen = _spaces(run, generator, targets, begin, found, blocks, settings, offsets, trial, seed)
    fit = SegmentFit(generator, targets, offsets, last, seed, begin, masks, "offsets")
    run.run(fit)
    names = [settings.codes.space, *(f"f{block}" for block in blocks)]
    return Inversion(
        method="sam",
        preset=settings.name,
        fingerprint=generator.card.fingerprint,
        frames=problem.frames,
        ws=fit.all_ws(),
        latent=fit.latent(),
        cameras=found.cameras,
        generator=weights,
        history=run.history,
        info=found.info
        | {
            "perceptual_loss": fit.perceptual_name,
            "masks": problem.occluder_masks is not None,
            "segments": [names[k] for k in chosen.tolist()],
            "steps": {"codes": codes, "trial": trial, "offsets": last},
            "render": settings.render_info,
        },
    )


def begin_rows(found: FittedCodes, space: str) -> Tensor:
    """Return the rows of z or w at which the offsets' codes begin.

    Raises:
        InverterError: z is needed, and not known.
    """
    if not find_space(space).bounded:
        return found.ws
    if "z" not in found.latent:
        raise InverterError(
            f"codes in {space} cannot begin from codes of w; begin from an inversion in {space}"
        )
    return found.latent["z"]


def _spaces(
    run: Run,
    generator: Any,
    targets: Targets,
    begin: Tensor,
    found: FittedCodes,
    blocks: tuple[int, ...],
    settings: SegmentSettings,
    offsets: CodeSettings,
    trial: int,
    seed: int,
) -> tuple[dict[int, Tensor], Tensor]:
    """Masks of the blocks that segments chose, and each segment's space: 0 the codes, k the k-th block."""
    count = len(targets)
    rows = torch.linspace(0, count - 1, min(settings.frames, count)).round().long()
    sampling = generator.sampling(offsets.coarse, offsets.fine)
    colours, depths = rendered(generator, targets, rows, found.ws, found.layer_codes, sampling)
    seen = seen_places(generator, targets, rows, depths)
    labels = segments(seen, settings.segments)
    errors = [errors_of(seen, labels, colours)]
    still = replace(offsets, rate=0.0)
    for block in blocks:
        everywhere = {block: torch.ones(1, block, block)}
        fit = SegmentFit(generator, targets, still, trial, seed, begin, everywhere, f"trial{block}")
        if run.is_past(fit.name):
            own = run.results(fit.name)["errors"].to(targets.device)
        else:
            run.run(fit)
            shown, _ = rendered(generator, targets, rows, fit.all_ws(), fit.layer_codes(), sampling)
            own = errors_of(seen, labels, shown)
        run.keep(fit.name, trial, {"errors": own})
        errors.append(own)
    chosen = chosen_spaces(torch.stack(errors), settings.threshold)
    masks = {block: mask_of(labels, chosen == k, block) for k, block in enumerate(blocks, 1)}
    return {block: mask for block, mask in masks.items() if mask.any()}, chosen


METHOD = Method(
    name="sam",
    presets=PRESETS,
    steps=step_count,
    invert=invert,
    spaces=frozenset({"w", "w+", "p_n+", "z", "z+"}),
    starts_from=frozenset({"codes", "cameras", "weights"}),
)
