"""Codes of random faces, from which directions are found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

BATCH = 1024


@torch.no_grad()
def sample_codes(generator: Any, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return codes w [n,w_dim] of random faces seen from the front, and their scores [n,P].

    The scores are those of the P parameters that the generator's card names; P may be 0.
    """
    named, z_dim = len(generator.card.parameters), generator.config.z_dim
    scores = torch.randn(n, named, generator=rng)
    rest = torch.ones(n, z_dim - named) if named else torch.randn(n, z_dim, generator=rng)
    return _mapped(generator, torch.cat([scores, rest], 1)), scores


@torch.no_grad()
def codes_of_seeds(generator: Any, seeds: Sequence[int]) -> Tensor:
    """Return codes w [n,w_dim] of the faces that EG3D's gen_samples.py draws for these seeds.

    z is numpy's RandomState(seed).randn(1, z_dim). w is conditioned on the frontal camera, without
    truncation.
    """
    z = [np.random.RandomState(seed).randn(generator.config.z_dim) for seed in seeds]
    return _mapped(generator, torch.from_numpy(np.stack(z)).float())


def _mapped(generator: Any, z: Tensor) -> Tensor:
    device = generator.backbone.mapping.w_avg.device
    return torch.cat([generator.mapping(part.to(device))[:, 0].cpu() for part in z.split(BATCH)])
