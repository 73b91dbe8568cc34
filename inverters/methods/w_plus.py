"""W+ inversion of a whole clip: w_t = shared code + residual_t (In-N-Out, section 4.1; the ablation without
OOD), and the fit of codes that the other methods begin with.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from inverters.base import Inversion, InversionProblem, OnStep, register, seeded
from inverters.fitting import losses
from inverters.fitting.checkpoints import CheckpointStore
from inverters.fitting.latents import LatentSpace, latent_space
from inverters.fitting.loop import Run, TableStage, backward
from inverters.fitting.pose import LEVEL_NUMBERS, NUMBERS
from inverters.fitting.row_adam import DenseAdam, RowAdam
from inverters.fitting.schedules import SCHEDULES, geometric, noise_ramp
from inverters.fitting.targets import Targets, at_pixels, frames_of_step, random_pixels, resized
from inverters.methods.presets import CodePreset, code_steps, get_preset
from inverters.rendering.fused import render_rays

COORDINATE_SHARE = 0.5
"""Share of a run in latent coordinates after which W+ offsets may move too."""
FRAMES_FROM = 0.2
"""Share of a run after which frames may differ from each other."""
EXPRESSION = [*range(17, 27), *range(36, 68)]
"""Brows, eyes and mouth in the 68-point layout."""
FACE = [*range(17, 68)]
"""Brows, nose, eyes and mouth."""
FACE_REACH = 0.045
"""Image widths about these landmarks that count as the face (VIVE3D widens eyes by 24 of 512 pixels)."""


class CodeFit(TableStage):
    """Fits the codes of all frames of a problem; a stage for `fitting.Run`.

    ws_t = to_w(shared + moving * frame_t) in every layer + offset + ratio * residual_t, of which a preset
    moves the coordinates (`shared`, `frame`) and `offset`, or `offset` and `residual`, or `residual` alone.
    In W, offset and residuals have one layer, which stands for all.
    """

    name = "codes"

    def __init__(self, generator: Any, targets: Targets, preset: CodePreset, steps: int, seed: int) -> None:
        self.generator, self.targets, self.preset = generator, targets, preset
        self.steps, self.seed = steps, seed
        self.rng = seeded(seed)
        self.sampling = generator.sampling(preset.coarse, preset.fine)
        self.space = latent_space(generator)
        self.perceptual, self.perceptual_name = _perceptual(preset, targets.device)
        config, count, device = generator.config, len(targets), targets.device
        shared = self._beginning()
        self.shared = DenseAdam(shared, betas=(0.9, 0.99))
        self.frame = RowAdam(torch.zeros(count, self.space.dim, device=device), betas=(0.8, 0.99))
        layers = 1 if preset.space == "w" else generator.num_ws, config.w_dim
        offset = torch.zeros(layers, device=device)
        if not preset.coordinates and not preset.candidates:
            offset += self.space.w_avg - self.space.to_w(shared[None])  # the projectors begin at the mean w
        self.offset = DenseAdam(offset)
        residual = torch.zeros(0 if preset.coordinates else count, *layers)
        if preset.residual_std:
            residual += preset.residual_std * torch.randn(residual.shape, generator=self.rng)
        self.residual = RowAdam(residual.to(device))
        landmarks = generator.card.landmarks3d.get("68")
        self.expression = None if landmarks is None else torch.as_tensor(landmarks)[EXPRESSION].float()
        self.face = None if landmarks is None else torch.as_tensor(landmarks)[FACE].float()
        poses = count if preset.pose_frames else 1, LEVEL_NUMBERS if preset.pose_level else NUMBERS
        self.pose = RowAdam(torch.zeros(poses, device=device), betas=(0.9, 0.99))

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

    def _compose(self, shared: Tensor, frame: Tensor, offset: Tensor, residual: Tensor | None) -> Tensor:
        """Ws [n,num_ws,w_dim] of rows with per-frame coordinates [n,D]."""
        ws = self.space.to_w(shared + self.space.moving * frame)[:, None] + offset
        ws = ws if residual is None else ws + self.preset.ratio * residual
        return ws.expand(-1, self.generator.num_ws, -1)

    @torch.no_grad()
    def ws(self, rows: Tensor) -> Tensor:
        """Codes [n,num_ws,w_dim] of these rows."""
        residual = self.residual.values[rows] if len(self.residual.values) else None
        return self._compose(self.shared.values[0], self.frame.values[rows], self.offset.values[0], residual)

    def cameras(self) -> dict[str, Tensor]:
        """cam2world [K,4,4] and intrinsics [K,3,3] of all rows, refined; {} where the preset keeps them."""
        if not self.preset.pose_rate:
            return {}
        return self.targets.refined(self.pose.values)

    def all_ws(self) -> Tensor:
        """Codes [K,num_ws,w_dim] of all rows."""
        return torch.cat([self.ws(rows) for rows in torch.arange(len(self.targets)).split(64)])

    @torch.no_grad()
    def _beginning(self) -> Tensor:
        """Shared coordinates [D]: zero, or, of random faces, the mean of those that each of a few frames
        likes best.
        """
        count = self.preset.candidates
        zero = torch.zeros(self.space.dim, device=self.targets.device)
        if count == 0:
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
            seen = render_rays(self.generator.field(planes, 3), *rays, self.sampling).features
            errors.append((losses.charbonnier(seen - wanted).mean(-1) * keep).mean(1))
        best = torch.stack(errors).argmin(0)
        return faces[best].mean(0)

    @torch.no_grad()
    def _sweep(self, scale: float | None) -> None:
        """Try each shared coordinate a step up and down, and keep what fits a few frames better.

        Hair that is too short has no gradient where it is missing; a jump finds it.
        """
        targets, generator = self.targets, self.generator
        rows = torch.linspace(0, len(targets) - 1, min(4, len(targets))).round().long()
        pixels = random_pixels(len(rows), 256, targets.resolution, self.rng).to(targets.device)
        wanted, keep = at_pixels(targets.raw(rows), pixels), at_pixels(targets.keep(rows), pixels)
        rays = tuple(part.reshape(1, -1, 3) for part in targets.rays(rows, pixels))

        def error(shared: Tensor) -> float:
            ws = self._compose(shared[None], torch.zeros_like(shared[None]), self.offset.values[0], None)
            seen = render_rays(generator.field(generator.planes(ws), 3), rays[0], rays[1], self.sampling)
            square = (seen.features[..., :3].reshape(wanted.shape) - wanted).square().sum(-1)
            fit = keep * (square if scale is None else square / (1 + square / scale**2))
            return float(fit.mean() + self.preset.prior * shared.square().sum())

        best = self.shared.values[0].clone()
        least = error(best)
        for place in range(len(best)):
            for step in (self.preset.sweep, -self.preset.sweep):
                other = best.clone()
                other[place] += step
                if (found := error(other)) < least:
                    best, least = other, found
                    break
        self.shared.values[0] = best

    # One step

    def step(self, i: int) -> dict[str, Tensor]:
        """Adam on the frames of step i; returns the losses."""
        p = self.preset
        if i == round(FRAMES_FROM * self.steps) and p.sweep and self.steps >= 2 * self.space.dim:
            self._sweep(geometric(i, self.steps, *p.robust) if p.robust else None)
        rows = frames_of_step(i, p.frames_per_step, len(self.targets), self.seed)
        shared, offset = self.shared.whole(), self.offset.whole()
        frame = self.frame.leaf(rows)
        residual = None if p.coordinates else self.residual.leaf(rows)
        pixels = self._pixels(rows)
        seen_by = rows if p.pose_frames else torch.zeros(1, dtype=torch.int64)
        pose = self.pose.leaf(seen_by) if p.pose_rate else None

        def losses_of(part: slice) -> dict[str, Tensor]:
            own = None if residual is None else residual[part]
            ws = self._compose(shared, frame[part], offset, own)
            turned = pose[part] if pose is not None and p.pose_frames else pose
            terms = self._terms(i, rows[part], self._noisy(i, ws), pixels[part], turned)
            if turned is not None and p.pose_prior:
                terms["pose"] = p.pose_prior * turned.square().sum(1).mean()
            if own is not None and p.lambda_residual:
                terms["residual"] = _falling(i, *p.lambda_residual) * norms(own).mean()
            return terms | self._regularisers(rows[part], ws, shared, frame[part])

        found = backward(len(rows), self.targets.device, losses_of)
        factor = SCHEDULES[p.schedule](i, self.steps)
        share = i / max(self.steps, 1)
        turn = (i // p.pose_turns) % 2 if p.pose_turns else None
        together = share >= FRAMES_FROM or not p.coordinates
        if pose is not None and (together if turn is None else turn == 0):
            self.pose.step(seen_by, pose.grad, p.pose_rate * factor)
        if turn == 0:
            return found
        if p.coordinates:
            self.shared.update(shared, p.coordinate_rate * factor)
            if share >= FRAMES_FROM:
                self.frame.step(rows, frame.grad, p.frame_rate * factor)
            if share >= COORDINATE_SHARE:
                self.offset.update(offset, p.rate * factor)
        else:
            if p.shared:
                self.offset.update(offset, p.rate * factor)
            if residual is not None:
                self.residual.step(rows, residual.grad, p.rate * factor)
        return found

    def _pixels(self, rows: Tensor) -> Tensor:
        """Pixels [n,R] of the raw image that a step compares; all of them where the preset has no number."""
        p, targets = self.preset, self.targets
        pixels = random_pixels(len(rows), p.rays, targets.resolution, self.rng).to(targets.device)
        if not p.expression_rays or self.expression is None:
            return pixels
        near = targets.pixels_near(rows, self.expression, p.expression_rays, self.rng)
        return torch.cat([pixels, near], 1)

    def _noisy(self, i: int, ws: Tensor) -> Tensor:
        """Codes with the noise of step i, one draw for each layer that the space knows."""
        scale = self.preset.w_noise * noise_ramp(i, self.steps)
        if not scale:
            return ws
        layers = 1 if self.preset.space == "w" else ws.shape[1]
        noise = torch.randn(len(ws), layers, ws.shape[2], generator=self.rng).to(ws)
        return ws + scale * self.space.w_std.norm() * noise

    def _terms(
        self, i: int, rows: Tensor, ws: Tensor, pixels: Tensor, pose: Tensor | None
    ) -> dict[str, Tensor]:
        """Losses on colours."""
        p, generator, targets = self.preset, self.generator, self.targets
        planes = generator.planes(ws)
        rays = targets.rays(rows, pixels, pose)
        whole = pixels.shape[1] == targets.resolution**2
        face = p.lambda_face > 0 and whole and self.face is not None
        # Without the final image only colours are needed, and an eighth of the decoder's outputs.
        colours = None if face or (whole and (p.at_image or p.features_at)) else 3
        features = render_rays(generator.field(planes, colours), *rays, self.sampling).features
        if whole and p.features_at:
            image = generator.superresolve(_as_images(features, targets.resolution), ws)
            size = min(p.features_at, image.shape[-1])
            mask = targets.keep_image(rows, size)
            distance = self.perceptual(resized(image, size) * mask, targets.image(rows, size) * mask)
            return {"features": p.lambda_perceptual * distance}
        keep = at_pixels(targets.keep(rows), pixels)
        error = features[..., :3] - at_pixels(targets.raw(rows), pixels)
        square = error.square().sum(-1)
        if p.lambda_absolute:
            absolute = (error.abs().mean(-1) * keep).sum() / keep.sum().clamp_min(1)
            terms = {"colour": p.lambda_absolute * absolute}
        elif p.robust is None:
            terms = {"colour": (square * keep).sum() / keep.sum().clamp_min(1) / 3}
        else:
            scale = geometric(i, self.steps, *p.robust)
            # Geman-McClure: an occluder's pixels, far off whatever the face, lose their pull as the scale
            # narrows.
            terms = {"colour": (keep * square / (1 + square / scale**2)).mean()}
        if p.lambda_perceptual and whole:
            raw = _as_images(features[..., :3], targets.resolution)
            mask = targets.keep(rows)[:, None]
            terms["perceptual"] = p.lambda_perceptual * self.perceptual(raw * mask, targets.raw(rows) * mask)
        if whole and (p.at_image or face):
            image = generator.superresolve(_as_images(features, targets.resolution), ws)
        if face:
            terms["face"] = p.lambda_face * self._face_error(rows, image)
        if p.at_image and whole:
            terms["image"] = (image - targets.image(rows, image.shape[-1])).square().mean()
            if p.lambda_perceptual:
                terms["image_perceptual"] = p.lambda_perceptual * self.perceptual(
                    image, targets.image(rows, image.shape[-1])
                )
        return terms

    def _face_error(self, rows: Tensor, image: Tensor) -> Tensor:
        """LPIPS and 0.75 of the squared error of final images [n,3,S,S] about the landmarks of the face."""
        size = image.shape[-1]
        mask = self.targets.near(rows, self.face, FACE_REACH, size) * self.targets.keep_image(rows, size)
        shown, wanted = image * mask, self.targets.image(rows, size) * mask
        square = (shown - wanted).square().sum() / mask.sum().clamp_min(1) / 3
        return self.perceptual(shown, wanted) + 0.75 * square

    def _regularisers(self, rows: Tensor, ws: Tensor, shared: Tensor, frame: Tensor) -> dict[str, Tensor]:
        """Losses on codes."""
        p = self.preset
        terms: dict[str, Tensor] = {}
        if p.lambda_delta:
            terms["delta"] = p.lambda_delta * losses.layer_spread(ws, p.squared, p.skip_last)
        if p.lambda_w:
            terms["w"] = p.lambda_w * losses.latent_distance(ws, self.space.w_avg, p.squared)
        if p.coordinates and (p.prior or p.frame_prior):
            terms["prior"] = p.prior * shared.square().sum() + p.frame_prior * frame.square().sum(1).mean()
        if p.coordinates and p.smoothness and len(self.targets) > 2:
            values = self.frame.values
            last = len(values) - 1
            around = (values[(rows - 1).clamp_min(0)] + values[(rows + 1).clamp_max(last)]) / 2
            terms["smooth"] = p.smoothness * (frame - around).square().sum(1).mean()
        return terms


def _as_images(features: Tensor, resolution: int) -> Tensor:
    """Rays [n,h*h,C] of whole frames as images [n,C,h,h]."""
    return features.mT.reshape(len(features), -1, resolution, resolution)


def norms(codes: Tensor) -> Tensor:
    """Norms [n] of codes [n,L,D], smooth at zero."""
    return (codes.square().sum((1, 2)) + 1e-12).sqrt()


def _falling(step: int, start: float, stop: float) -> float:
    return max(stop, start * 0.99 ** max(0, step - 100))


def _perceptual(preset: CodePreset, device: torch.device) -> tuple[losses.ImageLoss, str]:
    if not preset.lambda_perceptual and not preset.lambda_face:
        return losses.multiscale_loss, "none"
    return losses.perceptual_loss(preset.net, device)


def job_of(method: str, generator: Any, problem: InversionProblem, preset: Any, seed: int) -> dict[str, Any]:
    """What a checkpoint must agree on to be continued."""
    return {
        "method": method,
        "preset": asdict(preset),
        "seed": seed,
        "generator": generator.card.fingerprint,
        "frames": [int(f) for f in problem.frames],
        "masks": problem.occluder_masks is not None,
    }


def fitted_codes(
    run: Run, generator: Any, targets: Targets, codes: CodePreset, steps: int, seed: int
) -> tuple[dict[str, Tensor], str]:
    """The stage of the codes, done now or taken from the checkpoint, and kept for the stages after it.

    Returns ws [K,num_ws,w_dim], and the cameras where refined; the perceptual loss's name.
    """
    fit = CodeFit(generator, targets, codes, steps, seed)
    if run.is_past(fit.name):
        found = run.results(fit.name)
    else:
        run.run(fit)
        found = {"ws": fit.all_ws()} | fit.cameras()
    run.keep(fit.name, steps, found)
    return {name: tensor.to(targets.device) for name, tensor in found.items()}, fit.perceptual_name


def invert_codes(
    method: str,
    space: Literal["w", "w+"],
    generator: Any,
    problem: InversionProblem,
    *,
    preset: str,
    steps: int | None = None,
    seed: int = 0,
    checkpoint_dir: Path | None = None,
    on_step: OnStep | None = None,
) -> Inversion:
    """An inversion by codes of `space` alone, by the preset's `projection`; `steps` replaces its steps."""
    chosen = get_preset(preset)
    generator.requires_grad_(False)
    codes = replace(chosen.projection, space=space)
    targets = Targets(problem, generator.config.neural_rendering_resolution, problem.cam2world.device)
    count = steps or code_steps(codes, len(targets))
    job = job_of(method, generator, problem, chosen, seed) | {"steps": count}
    run = Run(CheckpointStore(checkpoint_dir, job), on_step, count)
    found, perceptual = fitted_codes(run, generator, targets, codes, count, seed)
    return Inversion(
        method=method,
        preset=preset,
        fingerprint=generator.card.fingerprint,
        frames=problem.frames,
        ws=found["ws"],
        history=run.history,
        info={
            "perceptual_loss": perceptual,
            "steps": {"codes": count},
            "render": {"coarse": chosen.render[0], "fine": chosen.render[1]},
        },
    )


@register("w+")
def invert_w_plus(generator: Any, problem: InversionProblem, **options: Any) -> Inversion:
    """W+ over the whole clip: a code for each layer and frame. Arguments as for `base.Inverter`."""
    return invert_codes("w+", "w+", generator, problem, **options)


__all__ = ["CodeFit", "LatentSpace", "fitted_codes", "invert_codes", "invert_w_plus", "job_of", "norms"]
