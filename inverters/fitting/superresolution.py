"""Tuning of the super-resolution module to one clip (In-N-Out, section 4.5, equation 9)."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inverters.base import Inversion, InversionProblem, OnStep, seeded
from inverters.fields.synthesis import InversionRenderer
from inverters.fitting import losses
from inverters.fitting.checkpoints import CheckpointStore, job_of, with_prefix
from inverters.fitting.loop import Run, TableStage, backward
from inverters.fitting.row_adam import DenseAdam
from inverters.fitting.schedules import SCHEDULES, step_count
from inverters.fitting.targets import Targets, frames_of_step

FEATURES_KEPT = 256
"""Number of frames whose features are kept in memory, 0.5 MB each at 64 x 64: they do not change during the
fit.
"""


@dataclass(frozen=True)
class SuperresolutionSettings:
    """Tuning of the super-resolution module (In-N-Out, section 4.5, equation 9)."""

    steps: int = 0
    """Steps for a clip of 30 frames; longer clips take more, see `growth`. Not used if `epochs` is set."""
    epochs: int = 0
    """Visits of every frame."""
    growth: float = 0.0
    """The number of steps grows with (frames / 30) to this power."""
    frames_per_step: int = 1
    max_frames: int = 0
    """Fit to this many evenly spaced frames; 0 takes all."""
    rate: float = 1e-3
    """Learning rate."""
    schedule: str = "constant"
    """Of the learning rate, see `schedules.SCHEDULES`."""
    lambda_perceptual: float = 1.0
    """Weight of LPIPS beside the squared error."""

    def frames_for(self, frames: int) -> int:
        """Return how many frames of a clip of so many are fitted to."""
        return min(self.max_frames or frames, frames)

    def steps_for(self, frames: int) -> int:
        """Return the number of steps for a clip of so many frames."""
        few = self.frames_for(frames)
        return step_count(self.steps, self.epochs, self.growth, few, self.frames_per_step)


class SuperresolutionFit(TableStage):
    """Fits super-resolution to crops, with all else fixed; a stage for `fitting.loop.Run`."""

    name = "superresolution"

    def __init__(
        self,
        renderer: InversionRenderer,
        targets: Targets,
        settings: SuperresolutionSettings,
        steps: int,
        seed: int,
    ) -> None:
        self.renderer, self.targets, self.settings = renderer, targets, settings
        self.steps, self.seed = steps, seed
        self.rng = seeded(seed + 2)
        self.module = copy.deepcopy(renderer.generator.superresolution)
        self.parameters = {name: DenseAdam(p.detach().clone()) for name, p in self.module.named_parameters()}
        self.perceptual, self.perceptual_name = losses.perceptual_loss(device=targets.device)
        count = settings.frames_for(len(targets))
        self.chosen = torch.linspace(0, len(targets) - 1, count).round().long()
        self._features: dict[int, Tensor] = {}

    def tables(self) -> dict[str, DenseAdam]:
        """The module's parameters by name."""
        return self.parameters

    def tensors(self) -> dict[str, Tensor]:
        """Return the tuned parameters, by their names in the generator."""
        tuned = {name: table.value() for name, table in self.parameters.items()}
        return with_prefix("superresolution", tuned)

    def _input(self, rows: Tensor) -> Tensor:
        found = []
        for row in rows.tolist():
            features = self._features.get(row)
            if features is None:
                at = torch.tensor([row])
                cameras = self.targets.cam2world[at], self.targets.intrinsics[at]
                features = self.renderer.features(np.array([row]), *cameras)[0]
                if len(self._features) < FEATURES_KEPT:
                    self._features[row] = features
            found.append(features)
        return torch.cat(found)

    def step(self, i: int) -> dict[str, Tensor]:
        """Update the parameters on the frames of step `i` by Adam; return the losses."""
        p = self.settings
        rows = self.chosen[frames_of_step(i, p.frames_per_step, len(self.chosen), self.seed + 2)]
        leaves = {name: table.whole() for name, table in self.parameters.items()}
        found = backward(len(rows), self.targets.device, lambda part: self._terms(rows[part], leaves))
        rate = p.rate * SCHEDULES[p.schedule](i, self.steps)
        for name, leaf in leaves.items():
            self.parameters[name].update(leaf, rate)
        return found

    def _terms(self, rows: Tensor, leaves: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of some frames; each is a mean over them."""
        ws = self.renderer.inversion.ws[rows].to(self.targets.device)
        image = torch.func.functional_call(self.module, leaves, (self._input(rows), ws))
        wanted = self.targets.image(rows, image.shape[-1])
        terms = {"image": (image - wanted).square().mean()}
        if self.settings.lambda_perceptual:
            terms["perceptual"] = self.settings.lambda_perceptual * self.perceptual(image, wanted)
        return terms


def finetune(
    generator: Any,
    problem: InversionProblem,
    inversion: Inversion,
    *,
    settings: SuperresolutionSettings,
    steps: int | None = None,
    seed: int = 0,
    checkpoint_dir: Path | None = None,
    on_step: OnStep | None = None,
) -> Inversion:
    """Return the inversion with super-resolution tuned to its clip (In-N-Out, section 4.5, equation 9).

    Args:
        generator: the generator that the codes belong to; it is not changed.
        problem: the clip, with the cameras of the inversion.
        inversion: of the clip.
        settings: from the method's settings, `MethodSettings.tune`.
        steps: number of steps; None takes the settings'.
        seed: of the random draws.
        checkpoint_dir: folder for checkpoints; None writes none.
        on_step: called after each step, see `base.OnStep`.

    Raises:
        FingerprintError: the codes belong to another generator.
    """
    generator.requires_grad_(False)
    targets = Targets(problem, generator.config.neural_rendering_resolution, problem.cam2world.device)
    renderer = InversionRenderer(generator, inversion)
    count = steps or settings.steps_for(len(targets))
    job = job_of("superresolution", generator, problem, settings, seed, inversion) | {"steps": count}
    run = Run(CheckpointStore(checkpoint_dir, job, "superresolution.safetensors"), on_step, count)
    fit = SuperresolutionFit(renderer, targets, settings, count, seed)
    run.run(fit)
    info = dict(inversion.info)
    info["perceptual_loss"] = _both(info.get("perceptual_loss", "none"), fit.perceptual_name)
    info["steps"] = dict(info.get("steps", {})) | {"superresolution": count}
    tuned = inversion.generator | fit.tensors()
    return replace(inversion, generator=tuned, history=inversion.history | run.history, info=info)


def _both(first: str, second: str) -> str:
    return second if first in ("none", second) else f"{first}; super-resolution: {second}"
