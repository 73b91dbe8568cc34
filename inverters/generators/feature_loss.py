"""Loss on features of the judge: a network of our own that reads people."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from inverters.generators.judge import read_network

STAGES = 3


class FeatureLoss:
    """Distance of patches in the judge's first stages, each feature vector divided by its length."""

    def __init__(self, path: Path, device: torch.device) -> None:
        """Read the judge at `path`; raises CheckpointError where it is missing or reads other parameters."""
        self.network = read_network(path).to(device).to(memory_format=torch.channels_last)

    def __call__(self, image: Tensor, truth: Tensor) -> Tensor:
        """Return the mean distance of images [n,3,H,W] in [-1,1], over the stages.

        They are read at their own size, twice as fine as the judge was trained on.
        """
        with torch.no_grad():
            wanted = self.network.features(truth, STAGES)
        found = self.network.features(image, STAGES)
        parts = [(_unit(a) - _unit(b)).abs().sum(1).mean() for a, b in zip(found, wanted, strict=True)]
        return torch.stack(parts).mean()


def _unit(features: Tensor) -> Tensor:
    """Features [n,C,h,w] with unit vectors in each place."""
    x = features.float()
    return x * torch.rsqrt(x.square().sum(1, keepdim=True) + 1e-6) / x.shape[1] ** 0.5
