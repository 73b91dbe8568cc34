"""Training of E3DGE's local branch (`invid train-encoder e3dge`), without photographs.

Lan et al. 2023, sections 4.2 and 4.3, with E0 fixed: pairs of views of a person (novel view training), the
residual that E_ADA moves compared with the true one, and views that come to differ more as the run goes on
(curriculum pose sampling). Source views are also compared without the alignment, as in section 4.2: figures
can then tell what the alignment is for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inverters.encoders.e3dge_triplane import E3DGETriplane, Maps, Painter
from inverters.fitting.targets import at_pixels, random_pixels, resized
from inverters.rendering.cameras import to_label
from inverters.rendering.fused import render_rays
from inverters.rendering.rays import pixel_centres, rays_at
from inverters.training.encoder_batches import SIZE, Views, framed
from inverters.training.reading import step_rng
from inverters.training.train_offsets import OffsetLosses, OffsetTrainer


@dataclass(frozen=True)
class LocalLosses(OffsetLosses):
    """Weights of the losses of E3DGE's second stage, shares of the rate, and the curriculum."""

    residual: float = 0.1
    """L1 distance of the residual that E_ADA moves from the true one of the view."""
    unaligned: float = 0.5
    """All terms of the source view without the alignment."""
    rate: float = 1.0
    """Share of --learning-rate of E1 and of the fusion."""
    head_rate: float = 1.0
    """That of the layers that make alpha and beta."""
    align_rate: float = 1.0
    """That of E_ADA."""
    curriculum: tuple[tuple[int, float], ...] = ((0, 0.3), (200, 0.6), (500, 1.0))
    """Steps from which a share of the nearest pairs of views is drawn from."""


LOSSES = {
    "own": LocalLosses(),
    # L2 1, LPIPS 0.8, residual L1 0.1 (supplement; 1 in the scripts). The identity term needs a face network,
    # the adversarial one of 0.01 photographs. Rates of 5e-5, of the head 0.2 times that, of E_ADA 1e-4, at
    # the default of --learning-rate, and the curriculum: the scripts of stage 2.1.
    "paper": LocalLosses(
        rays=0,
        perceptual=0.8,
        residual=0.1,
        unaligned=0.0,
        rate=0.05,
        head_rate=0.01,
        align_rate=0.1,
        curriculum=((0, 0.0), (10_000, 0.15), (14_000, 0.25), (18_000, 0.5), (22_000, 0.75), (26_000, 1.0)),
    ),
}


class LocalTrainer(OffsetTrainer):
    """A run of the local branch in a folder; resumes from its state."""

    network: E3DGETriplane
    weights: LocalLosses
    presets: ClassVar[Mapping[str, LocalLosses]] = LOSSES

    @property
    def first_stage(self) -> nn.Module:
        """E0; it is fixed."""
        return self.network.encoder

    def begin_second(self) -> None:
        """Set a fresh branch so that it changes nothing, and fuses nothing into the 3D features."""
        mean = self.generator.backbone.mapping.w_avg
        self.network.latent_avg.copy_(mean.expand_as(self.network.latent_avg))
        branch, kept = self.network.branch, []
        head: Any = branch.local.local_feat_to_tex_modulations_linear
        kept += [head.fc_1, head.shortcut]
        fuse: Any = branch.fuse
        kept += [fuse.scale[-1], fuse.shift[-1]]
        for layer in kept:
            for value in layer.parameters():
                nn.init.zeros_(value)

    def groups(self) -> list[dict[str, Any]]:
        """Return the network's parameters in their order, with the shares of the preset."""
        shares = self.presets[self.settings.preset]
        found: list[dict[str, Any]] = []
        for name, value in self.network.named_parameters():
            share = shares.rate
            if name.startswith("branch.local.local_feat_to_tex"):
                share = shares.head_rate
            elif name.startswith("branch.align."):
                share = shares.align_rate
            if not found or found[-1]["share"] != share:
                found.append({"params": [], "share": share})
            found[-1]["params"].append(value)
        return found

    @property
    def reach(self) -> float:
        """Share of the nearest pairs of views at the present step; see `LocalLosses.curriculum`."""
        return next(share for step, share in reversed(self.weights.curriculum) if step <= self.step)

    @property
    def painter(self) -> Painter:
        """The branch over the generator."""
        return Painter(self.network.branch, self.generator, self.config.thumb)

    def maps(
        self, seen: Views, views: tuple[Views, ...], dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, list[Maps]]:
        """Return the planes of the codes told from views, and the maps of details from other cameras."""
        image = framed(seen, torch.Generator(), jitter=0.0)[0].to(self.device)
        with torch.no_grad():
            planes = self.generator.planes(self.network.told(image).offsets + self.network.latent_avg)
        picture = resized(seen.image, self.config.branch.size).to(self.device)
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            source = self.painter.source(picture, self._label(seen), planes)
            return planes, [self.painter.view(source, planes, self._label(other)) for other in views]

    def losses(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Return the weighed losses of the present step."""
        rng, p = step_rng(self.settings.seed, self.step), self.weights
        seen, other = self.pairs(rng)
        planes, (source, side) = self.maps(seen, (seen, other), dtype)
        found: dict[str, Tensor] = {}
        for name, views, maps, weight in (("source", seen, source, 1.0), ("side", other, side, p.side)):
            terms = self._details(planes, maps, views, rng)
            terms["residual"] = p.residual * self._residual_loss(maps, views)
            found |= {f"{name}_{term}": weight * loss for term, loss in terms.items()}
        if p.unaligned:
            terms = self._details(planes, source, seen, rng, alignment=False)
            found |= {f"unaligned_{term}": p.unaligned * loss for term, loss in terms.items()}
        return found

    def _details(
        self, planes: Tensor, maps: Maps, views: Views, rng: torch.Generator, alignment: bool = True
    ) -> dict[str, Tensor]:
        """Losses of planes [n,3,C,R,R] with details that are seen by the cameras of views."""
        pixels = random_pixels(len(planes), self.weights.rays, SIZE, rng).to(self.device)
        colours = self._colours(planes, maps, views, pixels, alignment)[1]
        truth = views.image.to(self.device)
        found = {"l2": F.mse_loss(colours, at_pixels(truth, pixels))}
        if self.judge is not None:
            image = colours.mT.reshape(len(colours), 3, SIZE, SIZE)
            found["perceptual"] = self.weights.perceptual * self.judge(image, truth)
        return found

    def _residual_loss(self, maps: Maps, views: Views) -> Tensor:
        truth = resized(views.image, self.config.branch.size).to(self.device) - maps.thumb
        return F.l1_loss(maps.aligned, truth)

    def _colours(
        self, planes: Tensor, maps: Maps, views: Views, pixels: Tensor, alignment: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Colours [n,R,3] of pixels [n,R] of views, of the codes alone and with details."""
        uv = pixel_centres((SIZE, SIZE), device=self.device)[pixels]
        rays = rays_at(*self._camera(views), uv)
        with torch.no_grad():
            seen = render_rays(self.generator.field(planes, 3), *rays, self.sampling, want_samples=True)
        details = self.painter.colours(maps, planes, seen, *rays, uv, channels=3, alignment=alignment)
        return seen.features, details

    @torch.no_grad()
    def shown(self, both: tuple[Views, Views]) -> list[dict[str, Tensor]]:
        """Return pictures of two views, the first one seen: of codes, with details, and without alignment.

        `psnr_unaligned` is E3DGE's collapse test, see `Painter.colours`.
        """
        planes, made = self.maps(both[0], both)
        pixels = random_pixels(len(planes), 0, SIZE, torch.Generator()).to(self.device)
        found = []
        for views, maps in zip(both, made, strict=True):
            codes, refined = self._colours(planes, maps, views, pixels)
            unaligned = self._colours(planes, maps, views, pixels, alignment=False)[1]
            images = {"psnr_w": codes, "psnr_refined": refined, "psnr_unaligned": unaligned}
            found.append({name: of.mT.reshape(-1, 3, SIZE, SIZE) for name, of in images.items()})
        return found

    def _label(self, views: Views) -> Tensor:
        return to_label(*self._camera(views))
