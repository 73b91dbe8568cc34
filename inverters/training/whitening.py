"""Whitened codes of w: the coordinates in which the affine layers learn.

The entries of w are far from independent: over people its mean is larger than everything else together, and
people differ along few directions far more than along the others. Gradients of the affine layers follow the
large ones. So while training these layers read whitened codes, of mean zero and variance one, and are folded
back for use: the same function, with directions that learn alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inverters.generators.eg3d import Generator
from inverters.generators.layers import FullyConnected, SynthesisLayer, ToRGB
from inverters.training.people_pictures import SPREAD, sample_scores, to_z

PEOPLE = 8000
"""People whose codes are measured."""

LEAST = 0.1
"""Variance of a direction below which it is not enlarged more: people differ little along these."""


@dataclass(frozen=True)
class Whitening:
    """x = (w - mean) matrix: mean [D], and the symmetric matrix [D,D] with its inverse."""

    mean: Tensor
    matrix: Tensor
    inverse: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, generator: Generator, people: int = PEOPLE) -> Whitening:
        """Measure the codes of random people of a generator, on its device."""
        scores = SPREAD * sample_scores(people, torch.Generator().manual_seed(0))
        ws = generator.mapping(to_z(scores, generator.config.z_dim).to(generator.backbone.mapping.w_avg))[
            :, 0
        ]
        mean = ws.double().mean(0)
        variance, axes = torch.linalg.eigh(torch.cov(ws.double().T))
        scale = variance.clamp_min(LEAST).sqrt()
        parts = (mean, axes / scale @ axes.T, axes * scale @ axes.T)
        return cls(*(part.float() for part in parts))

    def __call__(self, ws: Tensor) -> Tensor:
        """Return whitened codes of ws [...,D]."""
        return (ws - self.mean) @ self.matrix

    @torch.no_grad()
    def enter(self, generator: Generator) -> None:
        """Change the affine layers of a generator, in place, so that they read whitened codes."""
        for affine in affine_layers(generator):
            weight = affine.weight * affine.weight_gain
            affine.bias.add_(weight @ self.mean)
            affine.weight.copy_(weight @ self.inverse / affine.weight_gain)

    @torch.no_grad()
    def leave(self, generator: Generator) -> None:
        """The inverse of `enter`."""
        for affine in affine_layers(generator):
            weight = affine.weight * affine.weight_gain @ self.matrix
            affine.bias.sub_(weight @ self.mean)
            affine.weight.copy_(weight / affine.weight_gain)

    def tensors(self) -> dict[str, Tensor]:
        """Return it for the state of a run."""
        return {f"whitening.{name}": getattr(self, name) for name in ("mean", "matrix", "inverse")}

    @classmethod
    def stored(cls, tensors: dict[str, Tensor]) -> Whitening | None:
        """Return what `tensors` returned; None if a run had none."""
        names = [f"whitening.{name}" for name in ("mean", "matrix", "inverse")]
        return cls(*(tensors[name] for name in names)) if names[0] in tensors else None


def affine_layers(generator: Generator) -> list[FullyConnected]:
    """The affine layers of planes and super-resolution, which read w."""
    return [m.affine for m in generator.modules() if isinstance(m, SynthesisLayer | ToRGB)]
