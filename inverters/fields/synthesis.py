"""Renders of an inversion: as it was found, edited, without the occluder, from other cameras."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from inverters.base import I64, Inversion
from inverters.encoders.feature_offsets import FeatureOffsets
from inverters.encoders.goae import Cameras
from inverters.encoders.local_details import LocalDetails
from inverters.encoders.plane_offsets import PlaneOffsets
from inverters.fields.ood import composite_for_sr, ood_field
from inverters.fitting.spaces import LayerCodes
from inverters.generators.tuned import with_tensors
from inverters.rendering.fused import render_rays
from inverters.rendering.planes import texels_last
from inverters.rendering.rays import make_rays


@dataclass(frozen=True)
class RenderedFrames:
    """Rendered rows of an inversion."""

    image: Tensor
    """[n,3,S,S] in [-1,1]; the raw image without high resolution."""
    image_raw: Tensor
    """[n,3,h,w] in [-1,1]."""
    depth: Tensor
    """[n,1,h,w] along the ray in world units."""
    blend: Tensor | None
    """[n,1,h,w] in [0,1], the second field's share of each pixel; None without such a field."""


class InversionRenderer:
    """Renders rows of an inversion with its own fields and its own tuned tensors of the generator.

    The given generator is not changed; `generator` is the one that renders. With `follow`, base codes follow
    an edit of the codes (`LayerCodes.following`); else they stay (Katsumata et al. 2024). Refined
    features always follow.
    """

    def __init__(self, generator: Any, inversion: Inversion, follow: bool = False) -> None:
        inversion.check_generator(generator.card.fingerprint)
        self.generator, self.inversion = with_tensors(generator, inversion.generator), inversion
        self.device = generator.backbone.mapping.w_avg.device
        self.ood = {k: v.to(self.device) for k, v in inversion.ood.items()}
        if self.ood:
            self.ood["planes"] = texels_last(self.ood["planes"])
        samples = inversion.info.get("render", {})
        layer_codes = LayerCodes.of(inversion.latent, inversion.info, self.device)
        self.details = LocalDetails.of(inversion, self.device)
        self.sampling = generator.sampling(samples.get("coarse"), samples.get("fine"))
        self.layer_codes = replace(
            layer_codes,
            plane_offsets=PlaneOffsets.of(inversion, self.device),
            aligned=FeatureOffsets.of(inversion, self.sampling),
        )
        self.follow = follow
        self.transmittance = inversion.info.get("transmittance", "product")

    def with_generator(self, generator: Any) -> InversionRenderer:
        """Return a renderer of the same inversion with another copy of its generator."""
        other = copy.copy(self)
        other.generator = generator
        return other

    @torch.no_grad()
    def features(
        self,
        rows: I64,
        cam2world: Tensor,
        intrinsics: Tensor,
        ws: Tensor | None = None,
        remove_occluder: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return features [n,C,h,h] for super-resolution, depth [n,1,h,h], and blend [n,1,h,h] or None."""
        return self.features_with_gradient(rows, cam2world, intrinsics, ws, remove_occluder)

    def features_with_gradient(
        self,
        rows: I64,
        cam2world: Tensor,
        intrinsics: Tensor,
        ws: Tensor | None = None,
        remove_occluder: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """As `features`, differentiable in the generator's weights and in `ws`."""
        generator, layer_codes = self.generator, self.layer_codes.at(torch.as_tensor(rows))
        if self.follow and ws is not None:
            layer_codes = layer_codes.following(generator, self._codes(rows, None), ws.to(self.device))
        details = None if self.details is None else self.details.at(torch.as_tensor(rows))
        if remove_occluder:
            # A second stage shows all that the picture shows, also what covers the face.
            layer_codes, details = replace(layer_codes, plane_offsets=None, aligned=None), None
        ws = self._codes(rows, ws)
        size = generator.config.neural_rendering_resolution
        view = Cameras(*(of.to(self.device, torch.float32) for of in (cam2world, intrinsics)))
        origins, directions = make_rays(view.cam2world, view.intrinsics, (size, size))
        # A removal leaves the field out: with blend 0 its density would still occlude under `sum`.
        present = bool(self.ood) and not remove_occluder
        planes = layer_codes.planes(generator, ws, view=view)
        seen = render_rays(
            generator.field(planes),
            origins,
            directions,
            self.sampling,
            ood_field(self.ood, self.ood["phi"][torch.as_tensor(rows)]) if present else None,
            self.transmittance,
            want_samples=details is not None,
        )
        n, colours = len(ws), seen.features
        if details is not None:
            cameras, rays = (cam2world, intrinsics), (origins, directions)
            colours = details.colours(generator, planes, ws, seen, cameras, rays)
        features = composite_for_sr(colours.mT.reshape(n, -1, size, size))
        depth = seen.depth.reshape(n, 1, size, size)
        if seen.ood_opacity is not None:
            return features, depth, seen.ood_opacity.clamp(0, 1).reshape(n, 1, size, size)
        return features, depth, torch.zeros_like(depth) if self.ood else None

    @torch.no_grad()
    def render(
        self,
        rows: I64,
        cam2world: Tensor,
        intrinsics: Tensor,
        ws: Tensor | None = None,
        remove_occluder: bool = False,
        high_resolution: bool = True,
    ) -> RenderedFrames:
        """Render rows of the inversion, from any cameras and with any codes.

        Args:
            rows: [n], rows of the inversion, for its codes and phi.
            cam2world: [n,4,4].
            intrinsics: [n,3,3], normalised by the image size.
            ws: codes [n,num_ws,w_dim] in place of the inversion's, for edits.
            remove_occluder: render without the second field.
            high_resolution: False skips super-resolution; `image` is then the raw image.
        """
        features, depth, blend = self.features(rows, cam2world, intrinsics, ws, remove_occluder)
        raw = features[:, :3]
        image = raw
        if high_resolution:
            image = self.generator.superresolve(features, self._codes(rows, ws)).clamp(-1, 1)
        return RenderedFrames(image=image, image_raw=raw, depth=depth, blend=blend)

    def _codes(self, rows: I64, ws: Tensor | None) -> Tensor:
        return (self.inversion.ws[torch.as_tensor(rows)] if ws is None else ws).to(self.device)
