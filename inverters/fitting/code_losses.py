"""Losses of the fit of codes (`fitting.codes`)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from inverters.fitting import losses
from inverters.fitting.code_settings import CodeSettings
from inverters.fitting.latents import LatentSpace
from inverters.fitting.schedules import geometric
from inverters.fitting.spaces import NO_LAYER_CODES, LayerCodes
from inverters.fitting.targets import Targets, at_pixels, resized
from inverters.generators.feature_loss import FeatureLoss
from inverters.generators.judge import JUDGE_PATH
from inverters.rendering.fused import render_rays

FACE = [*range(17, 68)]
"""Brows, nose, eyes and mouth in the 68-point layout."""
FACE_REACH = 0.045
"""Distance from these landmarks, in image widths, that counts as the face (VIVE3D dilates the eyes by 24 of
512 pixels).
"""

FACE_WINDOW = 0.75
"""Side of the crop's middle that holds the face, in image widths."""


class CodeLosses:
    """Losses of codes against the frames of a problem, and regularisers of the codes.

    `perceptual` is the perceptual loss, `perceptual_name` its name, "none" if the settings use none.
    """

    def __init__(
        self, generator: Any, targets: Targets, settings: CodeSettings, steps: int, space: LatentSpace
    ) -> None:
        self.generator, self.targets, self.settings = generator, targets, settings
        self.steps, self.space = steps, space
        self.sampling = generator.sampling(settings.coarse, settings.fine)
        self.perceptual: losses.ImageLoss = losses.multiscale_loss
        self.perceptual_name = "none"
        if settings.lambda_perceptual or settings.lambda_face:
            self.perceptual, self.perceptual_name = losses.perceptual_loss(settings.net, targets.device)
        self.features = None
        if settings.patch and settings.lambda_features:
            self.features = FeatureLoss(JUDGE_PATH, targets.device)
        landmarks = generator.card.landmarks3d.get("68")
        self.face = None if landmarks is None else torch.as_tensor(landmarks)[FACE].float()

    def colours(
        self,
        i: int,
        rows: Tensor,
        ws: Tensor,
        pixels: Tensor,
        pose: Tensor | None,
        layer_codes: LayerCodes = NO_LAYER_CODES,
    ) -> dict[str, Tensor]:
        """Return the losses on colours at step `i`, by name.

        Args:
            i: index of the step, from 0.
            rows: [n], rows of the problem.
            ws: their codes [n,num_ws,w_dim].
            pixels: [n,R], indices of pixels of the raw image.
            pose: correction of the cameras [1 or n,7] or [1 or n,2] (`fitting.pose`), or None.
            layer_codes: what these rows' planes are made of beside their codes.
        """
        p, generator, targets = self.settings, self.generator, self.targets
        planes = layer_codes.planes(generator, ws)
        rays = targets.rays(rows, pixels, pose)
        whole = pixels.shape[1] == targets.resolution**2
        face = p.lambda_face > 0 and whole and self.face is not None
        # Without the final image only three colours are needed, an eighth of the decoder's outputs.
        colours = None if face or (whole and (p.at_image or p.features_at)) else 3
        features = render_rays(generator.field(planes, colours), *rays, self.sampling).features
        if whole and p.features_at:
            return {"features": p.lambda_perceptual * self._feature_distance(rows, ws, features)}
        if self.features is not None and not whole:
            side = face_patch(p, targets.resolution)
            lone, square = slice(0, -side * side), slice(-side * side, None)
            terms = {
                "colour": self._colour(i, rows, pixels[:, lone], features[:, lone]),
                "square": self._colour(i, rows, pixels[:, square], features[:, square]),
                "features": p.lambda_features * self._distance(rows, pixels[:, square], features[:, square]),
            }
        else:
            terms = {"colour": self._colour(i, rows, pixels, features)}
        if p.lambda_perceptual and whole:
            raw = as_images(features[..., :3], targets.resolution)
            mask = targets.keep(rows)[:, None]
            terms["perceptual"] = p.lambda_perceptual * self.perceptual(raw * mask, targets.raw(rows) * mask)
        if whole and (p.at_image or face):
            image = generator.superresolve(as_images(features, targets.resolution), ws)
        if face:
            terms["face"] = p.lambda_face * self._face_error(rows, image)
        if p.at_image and whole:
            terms["image"] = (image - targets.image(rows, image.shape[-1])).square().mean()
            if p.lambda_perceptual:
                terms["image_perceptual"] = p.lambda_perceptual * self.perceptual(
                    image, targets.image(rows, image.shape[-1])
                )
        return terms

    def regularisers(
        self, rows: Tensor, ws: Tensor, shared: Tensor, frame: Tensor, frames: Tensor
    ) -> dict[str, Tensor]:
        """Return the losses on codes, by name.

        Args:
            rows: [n], rows of the problem.
            ws: their codes [n,num_ws,w_dim].
            shared: coordinates [D] of all frames.
            frame: coordinates [n,D] of these rows.
            frames: coordinates [K,D] of all rows, without gradient.
        """
        p = self.settings
        terms: dict[str, Tensor] = {}
        if p.lambda_delta:
            terms["delta"] = p.lambda_delta * losses.layer_spread(ws, p.squared, p.skip_last)
        if p.lambda_w:
            terms["w"] = p.lambda_w * losses.latent_distance(ws, self.space.w_avg, p.squared)
        if p.coordinates and (p.prior or p.frame_prior):
            terms["prior"] = p.prior * shared.square().sum() + p.frame_prior * frame.square().sum(1).mean()
        if p.coordinates and p.smoothness and len(self.targets) > 2:
            last = len(frames) - 1
            around = (frames[(rows - 1).clamp_min(0)] + frames[(rows + 1).clamp_max(last)]) / 2
            terms["smooth"] = p.smoothness * (frame - around).square().sum(1).mean()
        return terms

    def _feature_distance(self, rows: Tensor, ws: Tensor, features: Tensor) -> Tensor:
        """LPIPS of final images, resized to `features_at`, where the face is seen."""
        targets = self.targets
        image = self.generator.superresolve(as_images(features, targets.resolution), ws)
        size = min(self.settings.features_at, image.shape[-1])
        mask = targets.keep_image(rows, size)
        return self.perceptual(resized(image, size) * mask, targets.image(rows, size) * mask)

    def _colour(self, i: int, rows: Tensor, pixels: Tensor, features: Tensor) -> Tensor:
        """Error of the raw colours [n,R,C] where the face is seen."""
        p = self.settings
        keep = at_pixels(self.targets.keep(rows), pixels)
        error = features[..., :3] - at_pixels(self.targets.raw(rows), pixels)
        square = error.square().sum(-1)
        if p.lambda_absolute:
            absolute = (error.abs().mean(-1) * keep).sum() / keep.sum().clamp_min(1)
            return p.lambda_absolute * absolute
        if p.robust is None:
            return (square * keep).sum() / keep.sum().clamp_min(1) / 3
        # Geman-McClure: as the scale narrows, the pixels of an occluder, which no face explains, lose their
        # gradient. It stays above the median error, so that a face unlike all of the generator's keeps its.
        median = square.detach()[keep > 0].median() if (keep > 0).any() else square.new_zeros(())
        scale = (p.robust_median * median.sqrt()).clamp_min(geometric(i, self.steps, *p.robust))
        return (keep * square / (1 + square / scale**2)).mean()

    def _distance(self, rows: Tensor, pixels: Tensor, features: Tensor) -> Tensor:
        """Distance of squares, whose pixels [n,R] have these features [n,R,C], as the judge sees them."""
        assert self.features is not None
        side = face_patch(self.settings, self.targets.resolution)
        keep = at_pixels(self.targets.keep(rows), pixels)[..., None]
        wanted = at_pixels(self.targets.raw(rows), pixels) * keep
        return self.features(as_images(features[..., :3] * keep, side), as_images(wanted, side))

    def _face_error(self, rows: Tensor, image: Tensor) -> Tensor:
        """LPIPS and 0.75 of the squared error of final images [n,3,S,S] about the landmarks of the face."""
        assert self.face is not None
        size = image.shape[-1]
        mask = self.targets.near(rows, self.face, FACE_REACH, size) * self.targets.keep_image(rows, size)
        shown, wanted = image * mask, self.targets.image(rows, size) * mask
        square = (shown - wanted).square().sum() / mask.sum().clamp_min(1) / 3
        return self.perceptual(shown, wanted) + 0.75 * square


def face_patch(settings: CodeSettings, resolution: int) -> int:
    """Return the side of the square of the face in raw pixels, within FACE_WINDOW of the picture."""
    return min(settings.patch, int(FACE_WINDOW * resolution))


def as_images(features: Tensor, resolution: int) -> Tensor:
    """Reshape the rays [n,h*h,C] of whole frames to images [n,C,h,h]."""
    return features.mT.reshape(len(features), -1, resolution, resolution)
