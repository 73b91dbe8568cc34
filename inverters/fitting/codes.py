"""Fit of the codes of all frames of a clip (In-N-Out, section 4.1), the first stage of most methods."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from inverters.base import seeded
from inverters.errors import InverterError
from inverters.fitting.code_losses import FACE_WINDOW, CodeLosses, face_patch
from inverters.fitting.code_settings import CodeSettings
from inverters.fitting.latents import latent_space
from inverters.fitting.loop import TableStage, backward
from inverters.fitting.losses import charbonnier, norms
from inverters.fitting.pose import LEVEL_NUMBERS, NUMBERS, Corrections
from inverters.fitting.row_adam import DenseAdam, RowAdam
from inverters.fitting.schedules import SCHEDULES, geometric, noise_ramp
from inverters.fitting.spaces import NO_LAYER_CODES, LayerCodes, find_space
from inverters.fitting.targets import Targets, at_pixels, frames_of_step, patch_pixels, random_pixels
from inverters.rendering.fused import render_rays

FRAMES_FROM = 0.2
"""Share of a run after which frames may differ from each other."""
EXPRESSION = [*range(17, 27), *range(36, 68)]
"""Brows, eyes and mouth in the 68-point layout."""


class CodeFit(TableStage):
    """Fits the codes of all frames of a problem; a stage for `fitting.loop.Run`.

    ws_t = to_w(shared + moving * frame_t) in every layer + offset + ratio * residual_t. With `coordinates`
    the fit moves `shared`, `frame` and `offset`; without, `offset` and `residual`, or `residual` alone. In W,
    offset and residuals have one layer, which stands for all.

    `begin`, codes [K,num_ws,w_dim] of another inversion, is added to this less to_w(0), so that the fit
    begins there.
    """

    name = "codes"
    losses_type = CodeLosses

    def __init__(
        self,
        generator: Any,
        targets: Targets,
        settings: CodeSettings,
        steps: int,
        seed: int,
        begin: Tensor | None = None,
    ) -> None:
        self.generator, self.targets, self.settings = generator, targets, settings
        self.steps, self.seed = steps, seed
        self.rng = seeded(seed)
        self.space = latent_space(generator)
        self.losses = self.losses_type(generator, targets, settings, steps, self.space)
        config, count, device = generator.config, len(targets), targets.device
        self.origin = None if begin is None else self._origin(begin)
        shared = self._beginning()
        self.shared = DenseAdam(shared, betas=(0.9, 0.99))
        self.frame = RowAdam(torch.zeros(count, self.space.dim, device=device), betas=(0.8, 0.99))
        layers = 1 if settings.space == "w" else generator.num_ws, config.w_dim
        offset = torch.zeros(layers, device=device)
        if not settings.coordinates and not settings.candidates and begin is None:
            offset += self.space.w_avg - self.space.to_w(shared[None])  # the projectors begin at the mean w
        self.offset = DenseAdam(offset)
        residual = torch.zeros(0 if settings.coordinates else count, *layers)
        if settings.residual_std:
            residual += settings.residual_std * torch.randn(residual.shape, generator=self.rng)
        self.residual = RowAdam(residual.to(device))
        landmarks = generator.card.landmarks3d.get("68")
        self.expression = None if landmarks is None else torch.as_tensor(landmarks)[EXPRESSION].float()
        numbers = LEVEL_NUMBERS if settings.pose_level else NUMBERS
        every = settings.pose_every
        if not every and settings.passing_pose_every and targets.cover_passes():
            every = settings.passing_pose_every
        self.pose = Corrections(count, every, numbers, device)

    @property
    def perceptual_name(self) -> str:
        """Name of the perceptual loss; "none" if there is none."""
        return self.losses.perceptual_name

    # State

    def tables(self) -> dict[str, RowAdam]:
        """Coordinates, offsets, residuals and the correction of the cameras."""
        return {
            "shared": self.shared,
            "frame": self.frame,
            "offset": self.offset,
            "residual": self.residual,
            "pose": self.pose,
        }

    # Codes

    def _origin(self, begin: Tensor) -> Tensor:
        """What is added to the codes of each frame [K,1 or num_ws,w_dim], so that it begins at `begin`."""
        layers = one_layer(begin, "w") if self.settings.space == "w" else begin
        zero = torch.zeros(1, self.space.dim, device=self.targets.device)
        return layers.to(self.targets.device) - self.space.to_w(zero)[:, None]

    def _compose(
        self,
        shared: Tensor,
        frame: Tensor,
        offset: Tensor,
        residual: Tensor | None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Codes [n,num_ws,w_dim] of rows [n] with per-frame coordinates [n,D]."""
        ws = self.space.to_w(shared + self.space.moving * frame)[:, None] + offset
        ws = ws if residual is None else ws + self.settings.ratio * residual
        ws = ws if self.origin is None or rows is None else ws + self.origin[rows]
        return ws.expand(-1, self.generator.num_ws, -1)

    @torch.no_grad()
    def ws(self, rows: Tensor) -> Tensor:
        """Return the codes [n,num_ws,w_dim] of these rows."""
        residual = self.residual.values[rows] if len(self.residual.values) else None
        shared, offset = self.shared.values[0], self.offset.values[0]
        return self._compose(shared, self.frame.values[rows], offset, residual, rows)

    def cameras(self) -> dict[str, Tensor]:
        """Return cam2world [K,4,4] and intrinsics [K,3,3] of all rows; {} if the cameras are kept."""
        if not self.settings.pose_rate:
            return {}
        return self.targets.refined(self.pose.all_poses())

    def latent(self) -> dict[str, Tensor]:
        """Return what all rows have beside ws, as in `Inversion.latent`: nothing in W and W+."""
        return {}

    def all_ws(self) -> Tensor:
        """Return the codes [K,num_ws,w_dim] of all rows."""
        return torch.cat([self.ws(rows) for rows in torch.arange(len(self.targets)).split(64)])

    @torch.no_grad()
    def _beginning(self) -> Tensor:
        """Shared coordinates [D] at first: 0, or the mean of the random faces that fit some frames best."""
        count = self.settings.candidates
        zero = torch.zeros(self.space.dim, device=self.targets.device)
        if count == 0 or self.origin is not None:
            return zero
        rows = torch.linspace(0, len(self.targets) - 1, min(8, len(self.targets))).round().long()
        pixels = random_pixels(1, 1024, self.targets.resolution, self.rng).expand(len(rows), -1)
        pixels = pixels.to(self.targets.device)
        wanted = at_pixels(self.targets.raw(rows), pixels)
        keep = at_pixels(self.targets.keep(rows), pixels)
        rays = self.targets.rays(rows, pixels)
        faces = self.space.sample(count, self.rng)
        errors = []
        for face in faces:
            planes = self.generator.planes(
                self.space.to_w(face[None])[:, None].expand(-1, self.generator.num_ws, -1)
            )
            seen = render_rays(self.generator.field(planes, 3), *rays, self.losses.sampling).features
            errors.append((charbonnier(seen - wanted).mean(-1) * keep).mean(1))
        best = torch.stack(errors).argmin(0)
        return faces[best].mean(0)

    @torch.no_grad()
    def _sweep(self, scale: float | None) -> None:
        """Try each shared coordinate a step up and down, and keep what fits some frames better.

        A gradient cannot lengthen hair where there is none to see; a jump can.
        """
        targets, generator = self.targets, self.generator
        rows = torch.linspace(0, len(targets) - 1, min(4, len(targets))).round().long()
        pixels = random_pixels(len(rows), 256, targets.resolution, self.rng).to(targets.device)
        wanted, keep = at_pixels(targets.raw(rows), pixels), at_pixels(targets.keep(rows), pixels)
        origins, directions = (part.reshape(1, -1, 3) for part in targets.rays(rows, pixels))

        def error(shared: Tensor) -> float:
            ws = self._compose(shared[None], torch.zeros_like(shared[None]), self.offset.values[0], None)
            field = generator.field(generator.planes(ws), 3)
            seen = render_rays(field, origins, directions, self.losses.sampling)
            square = (seen.features[..., :3].reshape(wanted.shape) - wanted).square().sum(-1)
            fit = keep * (square if scale is None else square / (1 + square / scale**2))
            return float(fit.mean() + self.settings.prior * shared.square().sum())

        best = self.shared.values[0].clone()
        least = error(best)
        for place in range(len(best)):
            for step in (self.settings.sweep, -self.settings.sweep):
                other = best.clone()
                other[place] += step
                if (found := error(other)) < least:
                    best, least = other, found
                    break
        self.shared.values[0] = best

    # One step

    def step(self, i: int) -> dict[str, Tensor]:
        """Update the frames of step `i` by Adam; return the losses."""
        p = self.settings
        self._sweep_at(i)
        rows = frames_of_step(i, p.frames_per_step, len(self.targets), self.seed)
        shared, offset = self.shared.whole(), self.offset.whole()
        frame = self.frame.leaf(rows)
        residual = None if p.coordinates else self.residual.leaf(rows)
        pixels = self._pixels(rows)
        knots = self.pose.knots(rows)
        pose = self.pose.leaf(knots) if p.pose_rate else None

        def losses_of(part: slice) -> dict[str, Tensor]:
            own = None if residual is None else residual[part]
            ws = self._compose(shared, frame[part], offset, own, rows[part])
            turned = None if pose is None else self.pose.poses(rows[part], knots, pose)
            terms = self._seen_terms(i, rows[part], ws, pixels[part], turned)
            if own is not None and p.lambda_residual:
                terms["residual"] = falling(i, *p.lambda_residual) * norms(own).mean()
            frames = self.frame.values
            return terms | self.losses.regularisers(rows[part], ws, shared, frame[part], frames)

        found = backward(len(rows), self.targets.device, losses_of)
        factor = SCHEDULES[p.schedule](i, self.steps)
        share = i / max(self.steps, 1)
        turn = (i // p.pose_turns) % 2 if p.pose_turns else None
        together = share >= FRAMES_FROM or not p.coordinates
        if pose is not None and (together if turn is None else turn == 0):
            self.pose.step(knots, pose.grad, p.pose_rate * factor)
        if turn == 0:
            return found
        if p.coordinates:
            self.shared.update(shared, p.coordinate_rate * factor)
            if share >= FRAMES_FROM:
                self.frame.step(rows, frame.grad, p.frame_rate * factor)
            if share >= p.offset_from:
                self.offset.update(offset, p.rate * factor)
        else:
            if p.shared:
                self.offset.update(offset, p.rate * factor)
            if residual is not None:
                self.residual.step(rows, residual.grad, p.rate * factor)
        return found

    def _seen_terms(
        self,
        i: int,
        rows: Tensor,
        ws: Tensor,
        pixels: Tensor,
        pose: Tensor | None,
        layer_codes: LayerCodes = NO_LAYER_CODES,
    ) -> dict[str, Tensor]:
        """Losses of what is seen of frames [n]: colours, and the prior of their poses [n,7 or 2]."""
        p = self.settings
        terms = self.losses.colours(i, rows, self._noisy(i, ws), pixels, pose, layer_codes)
        if pose is not None and p.pose_prior:
            terms["pose"] = p.pose_prior * pose.square().sum(1).mean()
        return terms

    def _sweep_at(self, i: int) -> None:
        """Run the sweep if step `i` is the one for it."""
        p = self.settings
        if self.origin is not None or i != round(FRAMES_FROM * self.steps):
            return
        if p.sweep and self.steps >= 2 * self.space.dim:
            self._sweep(geometric(i, self.steps, *p.robust) if p.robust else None)

    def _pixels(self, rows: Tensor) -> Tensor:
        """Pixels [n,R] of the raw image that a step compares; all of them with `rays` 0."""
        p, targets = self.settings, self.targets
        pixels = random_pixels(len(rows), p.rays, targets.resolution, self.rng).to(targets.device)
        parts = [pixels]
        if p.expression_rays and self.expression is not None:
            parts.append(targets.pixels_near(rows, self.expression, p.expression_rays, self.rng))
        if p.patch and p.rays:
            parts.append(self._square().to(targets.device).expand(len(rows), -1))
        return torch.cat(parts, 1)

    def _square(self) -> Tensor:
        """Pixels [1,side*side] of a random square of the face."""
        size = self.targets.resolution
        side = face_patch(self.settings, size)
        first = round((1 - FACE_WINDOW) / 2 * size)
        corner = first + torch.randint(int(FACE_WINDOW * size) - side + 1, (2,), generator=self.rng)
        return patch_pixels(corner, side, size)

    def _noisy(self, i: int, ws: Tensor) -> Tensor:
        """Codes with the noise of step `i`: one draw for all layers in W, one a layer in W+."""
        scale = self.settings.w_noise * noise_ramp(i, self.steps)
        if not scale:
            return ws
        layers = ws.shape[1] if find_space(self.settings.space).layered else 1
        noise = torch.randn(len(ws), layers, ws.shape[2], generator=self.rng).to(ws)
        return ws + scale * self.space.w_std.norm() * noise


def falling(step: int, start: float, stop: float) -> float:
    """Weight that falls by 1 % a step from step 100 on, until `stop`."""
    return max(stop, start * 0.99 ** max(0, step - 100))


def one_layer(codes: Tensor, space: str) -> Tensor:
    """Return the layer [K,1,D] that all rows of codes [K,num_ws,D] are equal to, for a space of one code.

    Raises InverterError if the rows differ.
    """
    if not torch.equal(codes[:, :1].expand_as(codes), codes):
        raise InverterError(
            f"codes in {space.upper()} cannot begin from codes whose layers differ (W+); begin from an "
            f"inversion in {space.upper()}"
        )
    return codes[:, :1]
