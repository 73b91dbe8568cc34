"""Codes of random faces, from which directions are found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inverters.fitting.latents import random_z

BATCH = 1024


@torch.no_grad()
def sample_codes(generator: Any, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return codes w [n,w_dim] of random faces seen from the front, and their scores [n,P].

    The scores are those of the P parameters that the generator's card names; P may be 0.
    """
    z = random_z(generator, n, rng)
    return mapped(generator, z), z[:, : len(generator.card.parameters)]


def z_of_seeds(generator: Any, seeds: Sequence[int]) -> Tensor:
    """Return z [n,z_dim] of the faces that EG3D's gen_samples.py draws for these seeds.

    numpy's RandomState(seed).randn(1, z_dim); their codes are not truncated.
    """
    z = [np.random.RandomState(seed).randn(generator.config.z_dim) for seed in seeds]
    return torch.from_numpy(np.stack(z)).float()


@torch.no_grad()
def mapped(generator: Any, z: Tensor) -> Tensor:
    """Return codes w [n,w_dim] of z [n,z_dim] seen from the front, on the CPU."""
    device = generator.backbone.mapping.w_avg.device
    return torch.cat([generator.mapping(part.to(device))[:, 0].cpu() for part in z.split(BATCH)])
