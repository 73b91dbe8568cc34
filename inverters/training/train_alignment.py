"""Training of GOAE's alignment of features (`invid train-encoder goae`), without photographs.

Yuan et al. 2023, section 4.5, with the first stage fixed. As the second branch of TriPlaneNet it learns from
two views of a person (`train_offsets`); the paper has the source view alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from inverters.encoders.goae import Cameras, seen_surface
from inverters.encoders.goae_mix import mix_planes
from inverters.encoders.goae_network import GoaeNetwork, begin_at_codes
from inverters.fitting.targets import resized
from inverters.rendering.cameras import default_intrinsics, look_at
from inverters.training.code_metric import random_codes
from inverters.training.encoder_batches import Views, framed
from inverters.training.train_offsets import OffsetLosses, OffsetTrainer, Second


@dataclass(frozen=True)
class AlignmentLosses(OffsetLosses):
    """Weights of the losses of GOAE's second stage."""

    background: float = 0.0
    """Weight of the squared error of the background's depth from the front."""
    features: float = 0.0
    """Weight of the mean square of what is added to the backbone's features."""


LOSSES = {
    "own": AlignmentLosses(),
    # 4.5: lambda 1.0 for L2, 0.8 for LPIPS, 5.0 for the background, 1e-4 for F* - F. The identity term (0.25)
    # needs a face network.
    "paper": AlignmentLosses(rays=0, squared=True, perceptual=0.8, side=0.0, background=5.0, features=1e-4),
}
_FRONTAL, _FRONTAL_SIDE = 64, 32
"""Samples that the depth of the background is measured on (the paper: 100,000), and their side in pixels."""


class AlignmentTrainer(OffsetTrainer):
    """A run of the alignment in a folder; resumes from its state."""

    network: GoaeNetwork
    weights: AlignmentLosses
    presets: ClassVar[Mapping[str, AlignmentLosses]] = LOSSES

    @property
    def first_stage(self) -> nn.Module:
        """The network that tells codes; it is fixed."""
        return self.network.encoder

    def begin_second(self) -> None:
        """Set a fresh alignment to F* = F: a run begins at the codes alone."""
        begin_at_codes(self.network.afa)

    def second(self, seen: Views, dtype: torch.dtype = torch.float32) -> Second:
        """Return what both stages make of views."""
        network, generator = self.network, self.generator
        goae, block = network.with_generator(generator, self.sampling), network.config.afa.block
        with torch.no_grad():
            image = framed(seen, torch.Generator(), jitter=0.0)[0].to(self.device)
            ws = network.told(image).offsets + generator.backbone.mapping.w_avg
            begun = goae.before(ws, Cameras(*self._camera(seen)))
            picture = resized(seen.image, network.config.afa.image_size).to(self.device)
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            refined = goae.align(picture, begun.view.image, begun.features).float()
        moved = generator.planes_from(refined, begun.skip, ws, block)
        added = {}
        if self.weights.features:
            added["features"] = self.weights.features * (refined - begun.features).square().mean()
        if self.weights.background:
            added["background"] = self.weights.background * self._background(begun.base, moved)
        return Second(begun.base, moved, added)

    def compared(self, seen: Views) -> dict[str, tuple[Tensor | None, Tensor]]:
        """Return planes by the names of their figures.

        `psnr_refined_side` is that of the mix, as the method renders other views, and `psnr_unmixed_side`
        that of F* alone.
        """
        made = self.second(seen)
        settings = dataclasses.replace(
            self.network.with_generator(self.generator, self.sampling).settings,
            resolution=self.generator.config.plane_resolution // 2,
        )
        views = Cameras(*self._camera(seen))
        masks = seen_surface(self.generator, made.moved, views, settings)[1]
        mixed = mix_planes(made.moved, made.base, masks)
        return {
            "psnr_w": (made.base, made.base),
            "psnr_refined": (made.moved, mixed),
            "psnr_unmixed": (None, made.moved),
        }

    def _background(self, base: Tensor, moved: Tensor) -> Tensor:
        """Mean square of the depth of the background from the front, less its mean depth (eq. 4).

        The background M is that of the codes' planes `base`: what lies behind the cut of `_backdrop`.
        """
        mean, cut = self._backdrop
        behind = self._depth(base) > cut
        return ((self._depth(moved) - mean) * behind).square().mean()

    @cached_property
    def _backdrop(self) -> tuple[float, float]:
        """Mean depth of the background in the generator's samples, and the depth that it begins at.

        The paper takes a face parser's background; here the depths of all pixels are cut in two by Otsu's
        threshold.
        """
        rng, parts = torch.Generator().manual_seed(self.settings.seed), []
        with torch.no_grad():
            for ws in random_codes(self.generator, _FRONTAL, rng).split(8):
                planes = self.generator.planes(ws[:, None].expand(-1, self.generator.num_ws, -1))
                parts.append(self._depth(planes))
        depth = torch.cat(parts).flatten()
        cut = otsu(depth)
        return float(depth[depth > cut].mean()), cut

    def _depth(self, planes: Tensor) -> Tensor:
        """Depth [n,1,h,h] of planes seen from the front."""
        config, n = self.generator.config, len(planes)
        camera = look_at(0.0, 0.0, config.camera_radius, config.camera_pivot).to(planes).expand(n, -1, -1)
        lens = default_intrinsics(n).to(planes)
        return self.generator.render(planes, camera, lens, _FRONTAL_SIDE, self.sampling).depth


def otsu(values: Tensor) -> float:
    """Return the threshold that cuts values [n] into two classes of the least variance within (Otsu 1979)."""
    x = values.double().sort().values
    count = torch.arange(1, len(x), dtype=torch.float64)
    low, total = x.cumsum(0)[:-1], x.sum()
    between = count * (len(x) - count) * (low / count - (total - low) / (len(x) - count)).square()
    best = int(between.argmax())
    return float((x[best] + x[best + 1]) / 2)
