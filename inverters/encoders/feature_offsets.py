"""GOAE's refined features as an inversion carries them: F* - F of each frame, at half precision.

For EG3D that is 1.0 MB a frame, less than what the alignment looks at (1.6 MB as bytes), and no network is
needed for a render. Planes are made of it anew for each: F of edited codes plus F* - F is equation 9.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from inverters.encoders.goae import Cameras, Goae, GoaeSettings, seen_surface
from inverters.encoders.goae_mix import mix_planes
from inverters.encoders.goae_network import GoaeNetwork
from inverters.errors import InverterError
from inverters.generators.layers import Noise
from inverters.rendering.sampling import Sampling

ALIGNED = "aligned"
"""Name in `Inversion.latent` of F* - F, float16 [K,F,b,b]."""


@dataclass(frozen=True)
class FeatureOffsets:
    """F* - F of N codes, and what their planes need beside them."""

    offsets: Tensor
    """[N,F,b,b]."""
    ws: Tensor
    """Codes [N,num_ws,w_dim] without edits."""
    cameras: Cameras
    """Of the N input views, which the alignment has seen."""
    settings: GoaeSettings

    @classmethod
    def of(cls, inversion: Any, sampling: Sampling | None = None) -> FeatureOffsets | None:
        """Return those of an `Inversion`; None if it has none.

        `sampling` is that of the rays by which the mix sees the surface.
        """
        if ALIGNED not in inversion.latent:
            return None
        seen, forms = inversion.seen, inversion.info["goae"]
        cameras = Cameras(seen["cam2world"], seen["intrinsics"])
        settings = GoaeSettings(mix=forms["mix"], edit=forms["edit"], sampling=sampling)
        return cls(inversion.latent[ALIGNED], inversion.ws, cameras, settings)

    def at(self, rows: Tensor) -> FeatureOffsets:
        """Return those of some codes."""
        return replace(self, offsets=self.offsets[rows], ws=self.ws[rows], cameras=self.cameras.at(rows))

    def planes(
        self, generator: Any, ws: Tensor, view: Cameras | None = None, noise: Noise = "const"
    ) -> Tensor:
        """Return the planes [N,3,C,R,R] of codes ws [N,num_ws,w_dim], edited or not.

        Planes of F* for a view that is the input view (None: all are), the mix for any other.
        """
        offsets, block = self.offsets.to(ws), self.offsets.shape[-1]
        features, skip = generator.features_at(ws, block, noise)
        later = self.ws.to(ws) if self.settings.edit == "released" else ws
        refined: Tensor = generator.planes_from(features + offsets, skip, later, block, noise)
        cameras = Cameras(self.cameras.cam2world.to(ws), self.cameras.intrinsics.to(ws))
        if view is None or bool((own := same_views(view, cameras)).all()):
            return refined
        base = generator.planes_from(features, skip, ws, block, noise)
        # As many rays to a texel as the release has: 128 for 256.
        settings = replace(self.settings, resolution=generator.config.plane_resolution // 2)
        mixed = mix_planes(refined, base, seen_surface(generator, refined, cameras, settings)[1])
        return torch.where(own[:, None, None, None, None], refined, mixed)


def same_views(one: Cameras, other: Cameras) -> Tensor:
    """Return whether cameras are equal, bool [N]."""
    pairs = ((one.cam2world, other.cam2world), (one.intrinsics, other.intrinsics))
    alike = [(a.to(b) == b).flatten(1).all(1) for a, b in pairs]
    return alike[0] & alike[1]


def refined_features(goae: Goae, images: Tensor, cameras: Cameras, ws: Tensor) -> Tensor:
    """Return F* - F of codes ws [N,num_ws,w_dim] and pictures [N,3,S,S], float16 [N,F,b,b] on the CPU.

    Raises:
        InverterError: they are not finite at half precision.
    """
    found = goae.before(ws, cameras)
    refined = goae.align(images, found.view.image, found.features)
    offsets = (refined - found.features).half().cpu()
    if not torch.isfinite(offsets).all():
        raise InverterError(
            "GOAE's refined features are not finite numbers at half precision; its weights are bad"
        )
    return offsets


def carried(network: GoaeNetwork) -> dict[str, Any]:
    """Return the entry of `Inversion.info` that belongs to refined features."""
    return {"goae": {"mix": network.config.mix, "edit": network.config.edit}}
