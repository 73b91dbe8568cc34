"""Fine-tuning of the super-resolution module to one clip (In-N-Out, section 4.5, equation 9)."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inverters.base import Inversion, InversionProblem, OnStep, seeded
from inverters.fields.synthesis import InversionRenderer
from inverters.fitting import losses
from inverters.fitting.checkpoints import CheckpointStore, with_prefix
from inverters.fitting.loop import Run, TableStage, backward
from inverters.fitting.row_adam import DenseAdam
from inverters.fitting.schedules import SCHEDULES
from inverters.fitting.targets import Targets, frames_of_step
from inverters.methods.presets import TunePreset, get_preset, step_count
from inverters.methods.w_plus import job_of

FEATURES_KEPT = 256
"""Frames whose features are kept (0.5 MB each at 64 x 64); they do not change while only super-resolution
does.
"""


class SuperresolutionFit(TableStage):
    """Fits the parameters of super-resolution to crops, everything else standing still; a stage for
    `fitting.Run`.
    """

    name = "superresolution"

    def __init__(
        self,
        renderer: InversionRenderer,
        targets: Targets,
        preset: TunePreset,
        steps: int,
        seed: int,
    ) -> None:
        self.renderer, self.targets, self.preset = renderer, targets, preset
        self.steps, self.seed = steps, seed
        self.rng = seeded(seed + 2)
        self.module = copy.deepcopy(renderer.generator.superresolution)
        self.parameters = {name: DenseAdam(p.detach().clone()) for name, p in self.module.named_parameters()}
        self.perceptual, self.perceptual_name = losses.perceptual_loss(device=targets.device)
        count = min(preset.max_frames or len(targets), len(targets))
        self.chosen = torch.linspace(0, len(targets) - 1, count).round().long()
        self._features: dict[int, Tensor] = {}

    def tables(self) -> dict[str, DenseAdam]:
        """The module's parameters by name."""
        return self.parameters

    def tensors(self) -> dict[str, Tensor]:
        """The tuned parameters, by their names in the generator."""
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
        """Adam on the frames of step i; returns the losses."""
        p = self.preset
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
        if self.preset.lambda_perceptual:
            terms["perceptual"] = self.preset.lambda_perceptual * self.perceptual(image, wanted)
        return terms


def finetune(
    generator: Any,
    problem: InversionProblem,
    inversion: Inversion,
    *,
    preset: str,
    steps: int | None = None,
    seed: int = 0,
    checkpoint_dir: Path | None = None,
    on_step: OnStep | None = None,
) -> Inversion:
    """The inversion with super-resolution tuned to its clip; squared error and LPIPS (or its stand-in) at
    full size.

    Raises UnknownNameError for an unknown preset, FingerprintError where the codes belong to another
    generator.
    """
    chosen = get_preset(preset)
    tune = chosen.tune
    generator.requires_grad_(False)
    targets = Targets(problem, generator.config.neural_rendering_resolution, problem.cam2world.device)
    renderer = InversionRenderer(generator, inversion)
    frames = min(tune.max_frames or len(targets), len(targets))
    count = steps or step_count(tune.steps, tune.epochs, tune.growth, frames, tune.frames_per_step)
    job = job_of("superresolution", generator, problem, chosen, seed) | {
        "steps": count,
        "of": inversion.method,
    }
    run = Run(CheckpointStore(checkpoint_dir, job, "superresolution.safetensors"), on_step, count)
    fit = SuperresolutionFit(renderer, targets, tune, count, seed)
    run.run(fit)
    info = dict(inversion.info)
    info["perceptual_loss"] = _both(info.get("perceptual_loss", "none"), fit.perceptual_name)
    info["steps"] = dict(info.get("steps", {})) | {"superresolution": count}
    tuned = inversion.generator | fit.tensors()
    return replace(inversion, generator=tuned, history=inversion.history | run.history, info=info)


def _both(first: str, second: str) -> str:
    return second if first in ("none", second) else f"{first}; super-resolution: {second}"
