"""Tuning of a generator's weights to a clip whose codes are known.

Roich et al. 2021, "Pivotal Tuning for Latent-based Editing of Real Images". The settings may let cameras and
codes move too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inverters.base import seeded
from inverters.fitting import losses
from inverters.fitting.latents import latent_space
from inverters.fitting.loop import TableStage, backward
from inverters.fitting.pose import NUMBERS, Corrections
from inverters.fitting.row_adam import DenseAdam, RowAdam
from inverters.fitting.schedules import SCHEDULES, step_count
from inverters.fitting.spaces import NO_LAYER_CODES, LayerCodes
from inverters.fitting.targets import Targets, frames_of_step, random_pixels
from inverters.generators.layers import Noise
from inverters.generators.tuned import PARTS, trainable_copy
from inverters.rendering.fused import render_rays

TRUNCATION = 0.5
"""Truncation psi of the random codes of the locality regulariser (danielroich/PTI, localitly_regulizer.py).
"""


@dataclass(frozen=True)
class Locality:
    """Regulariser of PTI, section 3.3: keep the images of codes near a pivot as they were.

    The codes lie at distance `alpha` from the pivot, towards random faces. Their images before and after
    tuning are compared by squared error and LPIPS.
    """

    alpha: float
    lambda_image: float
    lambda_perceptual: float


@dataclass(frozen=True)
class WeightSettings:
    """Tuning of the generator's weights, and what moves with them."""

    steps: int = 0
    """Steps for a clip of 30 frames; longer clips take more, see `growth`. Not used if `epochs` is set."""
    epochs: int = 0
    """Visits of every frame."""
    growth: float = 0.7
    """The number of steps grows with (frames / 30) to this power."""
    frames_per_step: int = 1
    coarse: int | None = None
    fine: int | None = None
    """Samples a ray; None takes the generator's."""
    rate: float = 3e-4
    """Learning rate of the weights."""
    rate_w: float = 0.0
    """Learning rate of the codes; 0 keeps the pivots."""
    pose_rate: float = 0.0
    """Learning rate of the cameras' correction (`fitting.pose`); 0 keeps the cameras."""
    pose_every: int = 0
    """Frames from one knot of the correction to the next; 0: one for the clip, 1: one for each frame."""
    schedule: str = "constant"
    """Of all learning rates, see `schedules.SCHEDULES`."""
    net: str = "alex"
    """Network of LPIPS."""
    parts: tuple[str, ...] = PARTS
    """Prefixes of the names of the parameters that are tuned."""
    lambda_absolute: float = 0.0
    """Weight of the raw image's mean absolute error."""
    lambda_image: float = 1.0
    """Weight of the final image's squared error."""
    lambda_perceptual: float = 1.0
    """Weight of the final image's LPIPS."""
    lambda_raw: float = 0.0
    """Weight of both losses on the raw image, beside the final one."""
    lambda_depth: float = 0.0
    """Weight of the squared differences of depth between neighbouring pixels."""
    stop: float = 0.0
    """Stop when the mean LPIPS of the frames' last visits is at most this; 0: do all steps, as also if
    another loss replaces LPIPS.
    """
    locality: Locality | None = None
    """The regulariser of section 3.3; None: none."""

    def steps_for(self, frames: int) -> int:
        """Return the number of steps for a clip of so many frames."""
        return step_count(self.steps, self.epochs, self.growth, frames, self.frames_per_step)


class GeneratorFit(TableStage):
    """Fits the generator's weights behind its mapping to the crops; a stage for `fitting.loop.Run`.

    The given generator is not changed; `generator` is the copy that is tuned.
    """

    name = "generator"

    def __init__(
        self,
        generator: Any,
        targets: Targets,
        ws: Tensor,
        settings: WeightSettings,
        steps: int,
        seed: int,
        layer_codes: LayerCodes = NO_LAYER_CODES,
    ) -> None:
        """Set up the fit at its first step.

        Args:
            generator: the generator, which is not changed.
            targets: the frames and their cameras.
            ws: codes [K,num_ws,w_dim], the pivots.
            settings: of the fit.
            steps: number of steps.
            seed: of the random draws.
            layer_codes: base codes and offsets of styles of all rows; they do not move.
        """
        self.original, self.targets, self.settings = generator, targets, settings
        self.layer_codes = layer_codes
        self.steps, self.seed = steps, seed
        self.rng = seeded(seed + 3)
        self.sampling = generator.sampling(settings.coarse, settings.fine)
        self.generator, self.parameters = trainable_copy(generator, settings.parts)
        # Adam works on the copy's own memory.
        self.weights = {name: DenseAdam(tensor) for name, tensor in self.parameters.items()}
        self.codes = RowAdam(ws.clone())
        self.pose = Corrections(len(targets), settings.pose_every, NUMBERS, targets.device)
        self.perceptual, self.perceptual_name = losses.perceptual_loss(settings.net, targets.device)
        self.space: Any = latent_space(generator) if settings.locality else None
        self.distances = torch.full((len(targets),), torch.inf)

    # State

    def tables(self) -> dict[str, RowAdam]:
        """Weights by name, codes and the correction of the cameras."""
        return {"codes": self.codes, "pose": self.pose} | dict(self.weights)

    def state(self) -> dict[str, Tensor]:
        """Return parameters, optimiser state and the LPIPS of each frame's last visit."""
        return super().state() | {"distances": self.distances}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Load the state of an earlier run of the same job."""
        super().restore(state)
        self.distances.copy_(state["distances"])

    def finished(self) -> bool:
        """Whether LPIPS is low enough to stop."""
        is_lpips = self.perceptual_name.startswith("lpips")
        return is_lpips and float(self.distances.mean()) <= self.settings.stop

    def tensors(self) -> dict[str, Tensor]:
        """Return the tuned parameters, by their names in the generator."""
        return {name: table.value() for name, table in self.weights.items()}

    def cameras(self) -> dict[str, Tensor]:
        """Return cam2world [K,4,4] and intrinsics [K,3,3] of all rows; {} if the cameras are kept."""
        return self.targets.refined(self.pose.all_poses()) if self.settings.pose_rate else {}

    # One step

    def step(self, i: int) -> dict[str, Tensor]:
        """Update weights, and the codes and cameras of step `i`, by Adam; return the losses."""
        p = self.settings
        rows = frames_of_step(i, p.frames_per_step, len(self.targets), self.seed + 3)
        knots = self.pose.knots(rows)
        ws = self.codes.leaf(rows) if p.rate_w else self.codes.values[rows]
        pose = self.pose.leaf(knots) if p.pose_rate else None

        def losses_of(part: slice) -> dict[str, Tensor]:
            turned = None if pose is None else self.pose.poses(rows[part], knots, pose)
            return self._terms(rows[part], ws[part], turned)

        found = backward(len(rows), self.targets.device, losses_of) | self.beside()
        factor = SCHEDULES[p.schedule](i, self.steps)
        for name, parameter in self.parameters.items():
            self.weights[name].update(parameter, p.rate * factor)
            parameter.grad = None
        if p.rate_w:
            self.codes.step(rows, ws.grad, p.rate_w * factor)
        if pose is not None:
            self.pose.step(knots, pose.grad, p.pose_rate * factor)
        return found

    def beside(self) -> dict[str, Tensor]:
        """Add gradients of the weights from losses that are not on frames, once a step; return them."""
        return {}

    def compared(self, image: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Return squared error and perceptual distance of images [n,3,H,W], each a mean over them."""
        return (image - wanted).square().mean(), self.perceptual(image, wanted)

    def _terms(self, rows: Tensor, ws: Tensor, pose: Tensor | None) -> dict[str, Tensor]:
        """Losses of some frames; each is a mean over them."""
        p, targets = self.settings, self.targets
        raw, image, depth = self._pictures(self.generator, rows, ws, pose)
        mask = targets.keep_image(rows, image.shape[-1])
        error, distance = self.compared(image * mask, targets.image(rows, image.shape[-1]) * mask)
        self.distances[rows] = distance.detach().cpu()
        terms = {"image": p.lambda_image * error, "perceptual": p.lambda_perceptual * distance}
        if p.lambda_raw:
            mask = targets.keep(rows)[:, None]
            error, distance = self.compared(raw * mask, targets.raw(rows) * mask)
            terms["raw"] = p.lambda_raw * (p.lambda_image * error + p.lambda_perceptual * distance)
        if p.lambda_absolute:
            mask = targets.keep(rows)[:, None]
            terms["absolute"] = p.lambda_absolute * ((raw - targets.raw(rows)) * mask).abs().mean()
        if p.lambda_depth:
            corner = depth[:, :-1, :-1]
            steps = (depth[:, :-1, 1:] - corner).square() + (depth[:, 1:, :-1] - corner).square()
            terms["depth"] = p.lambda_depth * steps.mean()
        if p.locality is not None:
            terms["locality"] = self._locality(rows, ws.detach(), p.locality)
        return terms

    def _pictures(
        self, generator: Any, rows: Tensor, ws: Tensor, pose: Tensor | None = None, noise: Noise = "const"
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Raw images [n,3,h,h], final ones [n,3,S,S] and depth [n,h,h] of codes [n,num_ws,w_dim]."""
        size = self.targets.resolution
        pixels = random_pixels(len(rows), 0, size, self.rng).to(self.targets.device)
        field = generator.field(self.layer_codes.at(rows).planes(generator, ws, noise))
        seen = render_rays(field, *self.targets.rays(rows, pixels, pose), self.sampling)
        features = seen.features.mT.reshape(len(rows), -1, size, size)
        return features[:, :3], generator.superresolve(features, ws), seen.depth.reshape(-1, size, size)

    def _locality(self, rows: Tensor, ws: Tensor, locality: Locality) -> Tensor:
        """Locality regulariser (PTI, section 3.3), with one random face a frame."""
        w_avg = self.space.w_avg
        faces = w_avg + TRUNCATION * (self.space.to_w(self.space.sample(len(rows), self.rng)) - w_avg)
        towards = faces[:, None] - ws
        far = ws + locality.alpha * towards / towards.flatten(1).norm(dim=1)[:, None, None]
        with torch.no_grad():
            before = self._pictures(self.original, rows, far, noise="none")[1]
        after = self._pictures(self.generator, rows, far, noise="none")[1]
        error = (after - before).square().mean()
        return locality.lambda_image * error + locality.lambda_perceptual * self.perceptual(after, before)
