"""Offsets of tri-planes as an inversion carries them: what the network that makes them looks at.

An offset has as many numbers as the planes: for EG3D 12.6 MB a frame at half precision. What TriPlaneNet's
second branch looks at has 0.4 MB as bytes, and the offset is made of it anew for each render, by weights that
the inversion has too. Memory and cache are then bounded by the crops, as for every method.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inverters.encoders.configs import config_of
from inverters.encoders.triplanenet import OffsetConfig, OffsetEncoder, TriPlaneNet, side_by_side
from inverters.generators.strict_loading import filled

LOOKS = "looks"
"""Name in `Inversion.latent` of what the network looks at, uint8 [K,2 or 3,3,S,S]."""


@dataclass(frozen=True)
class PlaneOffsets:
    """Offsets of the planes of N codes."""

    network: OffsetEncoder
    looks: Tensor
    """uint8 [N,2 or 3,3,S,S], see `TriPlaneNet.looks`."""
    ws: Tensor
    """Codes [N,num_ws,w_dim] without edits: v2 looks at their planes too."""

    @classmethod
    def of(cls, inversion: Any, device: torch.device | str = "cpu") -> PlaneOffsets | None:
        """Return those of an `Inversion`; None if it has none.

        Raises:
            CheckpointError: its weights are not those of the network that it names.
        """
        if LOOKS not in inversion.latent:
            return None
        config = config_of(OffsetConfig, inversion.info["offsets"])
        network = filled(
            lambda: OffsetEncoder(config), inversion.refiner, "the inversion's network of offsets"
        )
        return cls(network.to(device), inversion.latent[LOOKS], inversion.ws)

    def at(self, rows: Tensor) -> PlaneOffsets:
        """Return those of some codes."""
        return PlaneOffsets(self.network, self.looks[rows], self.ws[rows])

    @torch.no_grad()
    def make(self, generator: Any) -> Tensor:
        """Return the offsets [N,3,C,R,R] of the planes of a generator."""
        device, config = generator.backbone.mapping.w_avg.device, generator.config
        looks = self.looks.to(device).float() / 127.5 - 1
        if self.network.config.release == "v2":
            planes = generator.planes(self.ws.to(device))
        else:
            side = config.plane_resolution
            planes = looks.new_empty(len(looks), 3, config.plane_channels, side, side)
        found: Tensor = self.network(side_by_side(looks), planes)
        return found


def carried(network: TriPlaneNet) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return `Inversion.refiner`, at half precision, and the entry of `Inversion.info` that belongs to it."""
    weights = network.triplanenet_encoder.state_dict()
    halved = {k: (v.half() if v.is_floating_point() else v).cpu() for k, v in weights.items()}
    return halved, {"offsets": dataclasses.asdict(network.config.offsets)}


def as_bytes(looks: Tensor) -> Tensor:
    """Return pictures in [-1,1] as uint8, on the CPU."""
    return ((looks.clamp(-1, 1) + 1) * 127.5).round().byte().cpu()
