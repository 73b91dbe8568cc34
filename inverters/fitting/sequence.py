"""Fit of the codes of a clip's frames one after the other, about a person's code that is fixed.

Fruehstueck et al. 2023, "VIVE3D"; `invert_video.py` of its release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from inverters.base import seeded
from inverters.fitting.code_losses import FACE_REACH, CodeLosses, as_images
from inverters.fitting.code_settings import CodeSettings
from inverters.fitting.codes import CodeFit
from inverters.fitting.loop import backward
from inverters.fitting.losses import norms
from inverters.fitting.row_adam import DenseAdam, RowAdam
from inverters.fitting.spaces import NO_LAYER_CODES, LayerCodes, find_space, mapped_rows, retracted
from inverters.fitting.targets import Targets
from inverters.rendering.fused import render_rays


@dataclass(frozen=True)
class SequenceSettings:
    """Fit of the codes of one frame after the other, each from those of the frame before."""

    first: int
    """Steps of the first frame."""
    later: int
    """Steps of each later frame."""
    codes: CodeSettings
    """Rays, rates and weights. Its `steps`, `epochs` and `frames_per_step` are not used."""
    lambda_offset: float = 0.0
    """Weight of the norm of a frame's distance from the person's code."""
    lambda_previous: float = 0.0
    """Weight of the norm of a frame's distance from the frame before."""
    stop: float = 0.0
    """A frame is done when its losses sum to at most this; 0: after all its steps, as also if another loss
    replaces LPIPS.
    """


class FrameLosses(CodeLosses):
    """Losses of one frame: on the final image if whole frames are seen, else on rays as in CodeLosses."""

    def colours(
        self,
        i: int,
        rows: Tensor,
        ws: Tensor,
        pixels: Tensor,
        pose: Tensor | None,
        layer_codes: LayerCodes = NO_LAYER_CODES,
    ) -> dict[str, Tensor]:
        """Return the losses on colours, by name; arguments as in CodeLosses."""
        p, generator, targets = self.settings, self.generator, self.targets
        size = targets.resolution
        if pixels.shape[1] != size * size:
            return super().colours(i, rows, ws, pixels, pose, layer_codes)
        field = generator.field(layer_codes.planes(generator, ws))
        features = render_rays(field, *targets.rays(rows, pixels, pose), self.sampling).features
        image = generator.superresolve(as_images(features, size), ws)
        seen = targets.keep_image(rows, image.shape[-1])
        shown, wanted = image * seen, targets.image(rows, image.shape[-1]) * seen
        terms = {
            "colour": p.lambda_absolute * (shown - wanted).abs().mean(),
            "perceptual": p.lambda_perceptual * self.perceptual(shown, wanted),
        }
        if p.lambda_face and self.face is not None:
            mask = targets.near(rows, self.face, FACE_REACH, image.shape[-1])
            absolute = ((shown - wanted) * mask).abs().sum() / (mask * seen).sum().clamp_min(1) / 3
            terms["face"] = p.lambda_face * (self.perceptual(shown * mask, wanted * mask) + absolute)
        return terms


class SequenceFit(CodeFit):
    """Fits W+ offsets, coordinates and cameras of each frame in turn; a stage for `fitting.loop.Run`.

    Each frame begins where the one before it ended, the first at `begin`. The person's code is fixed. Where
    the settings' space is z or z+, the person's code and the offsets are of z, their sum is retracted, and
    there are no coordinates.
    """

    name = "frames"
    losses_type = FrameLosses

    def __init__(
        self,
        generator: Any,
        targets: Targets,
        begin: Mapping[str, Tensor],
        settings: SequenceSettings,
        budget: tuple[int, int],
        seed: int,
    ) -> None:
        """Set up the fit at the first frame.

        Args:
            generator: the generator, tuned to the person and fixed.
            targets: the frames and their cameras.
            begin: the person's `shared` coordinates [D] and `offset` [1 or num_ws,w_dim]; where the first
                frame begins: `frame` [D], `residual` [1 or num_ws,w_dim], `pose` [2]. Of z with z_dim.
            settings: of the fit.
            budget: steps of the first frame, and of each later one.
            seed: of the random draws.
        """
        first, later = budget
        self.bounded = find_space(settings.codes.space).bounded
        codes = replace(
            settings.codes,
            space="z+" if self.bounded else "w+",
            candidates=0,
            pose_every=1,
            pose_level=True,
        )
        super().__init__(generator, targets, codes, first + later * (len(targets) - 1), seed)
        self.sequence, self.budget = settings, budget
        self.rng = seeded(seed + 4)
        count, width = len(targets), generator.config.z_dim if self.bounded else generator.config.w_dim
        residual = torch.zeros(count, generator.num_ws, width, device=targets.device)
        self.residual = RowAdam(residual)
        if self.bounded:
            self.offset = DenseAdam(torch.zeros_like(residual[0]))
        self.at = torch.zeros(2, dtype=torch.int64)
        """The row that is next, and how many steps it has had."""
        for name, table in self.tables().items():
            table.values[0] = begin[name]
        still = torch.zeros_like(self.frame.values[:1])
        self.person = self._compose(self.shared.values[0], still, self.offset.values[0], None)

    def _compose(
        self,
        shared: Tensor,
        frame: Tensor,
        offset: Tensor,
        residual: Tensor | None,
        rows: Tensor | None = None,
    ) -> Tensor:
        if not self.bounded:
            return super()._compose(shared, frame, offset, residual, rows)
        return mapped_rows(self.generator, self._z_of(offset, residual))

    def _z_of(self, offset: Tensor, residual: Tensor | None) -> Tensor:
        """Codes of z [n,num_ws,z_dim], on the sphere."""
        return retracted(offset[None] if residual is None else offset + self.settings.ratio * residual)

    @torch.no_grad()
    def latent(self) -> dict[str, Tensor]:
        """Return z of all rows where codes are of z, as in `Inversion.latent`."""
        return {"z": self._z_of(self.offset.values[0], self.residual.values)} if self.bounded else {}

    def state(self) -> dict[str, Tensor]:
        """Return parameters, optimiser state and the place in the clip."""
        return super().state() | {"at": self.at}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Load the state of an earlier run of the same job."""
        super().restore(state)
        self.at.copy_(state["at"])

    def finished(self) -> bool:
        """Whether every frame is done."""
        return int(self.at[0]) == len(self.targets)

    def step(self, i: int) -> dict[str, Tensor]:
        """Update the frame whose turn it is by Adam; return the losses."""
        p = self.settings
        row, done = self.at.tolist()
        rows = torch.tensor([row])
        moving = {
            self.frame: p.frame_rate if p.coordinates else 0.0,
            self.residual: p.rate,
            self.pose: p.pose_rate,
        }
        if row and not done:
            for table in moving:
                table.values[row] = table.values[row - 1]
        before = self.ws(rows - 1) if row else None
        frame, residual, pose = (table.leaf(rows) for table in moving)
        pixels = self._pixels(rows)

        def losses_of(part: slice) -> dict[str, Tensor]:
            shared = self.shared.values[0]
            ws = self._compose(shared, frame, self.offset.values[0], residual)
            terms = self.losses.colours(done, rows, ws, pixels, pose if p.pose_rate else None)
            terms |= self.losses.regularisers(rows, ws, shared, frame, self.frame.values)
            if self.sequence.lambda_offset:
                terms["offset"] = self.sequence.lambda_offset * norms(ws - self.person).mean()
            if before is not None and self.sequence.lambda_previous:
                terms["previous"] = self.sequence.lambda_previous * norms(ws - before).mean()
            if p.pose_prior:
                terms["pose"] = p.pose_prior * pose.square().sum(1).mean()
            return terms

        found = backward(1, self.targets.device, losses_of)
        for (table, rate), leaf in zip(moving.items(), (frame, residual, pose), strict=True):
            if rate:
                table.step(rows, leaf.grad, rate)
        if self.bounded:
            whole = self._z_of(self.offset.values[0], self.residual.values[rows])
            self.residual.values[rows] = (whole - self.offset.values[0]) / p.ratio
        near = self.perceptual_name.startswith("lpips") and float(sum(found.values())) <= self.sequence.stop
        last = done + 1 == self.budget[min(row, 1)]
        self.at.copy_(torch.tensor([row + 1, 0] if near or last else [row, done + 1]))
        return found
