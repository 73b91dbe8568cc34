"""The normalised space P_N of a generator: w without its leaky ReLU, whitened, so that it is about normal.

Zhu et al. 2020, "Improved StyleGAN Embedding: Where are the Good Latents?". All sums are in float64: the
spreads of the axes lie up to eight decades apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from inverters.errors import FingerprintError
from inverters.fitting.latents import random_z

SLOPE = 5.0
"""Of the leaky ReLU that undoes the mapping's, whose slope is 0.2. Its gain sqrt(2) is left in."""
SAMPLES = 1_000_000
"""Random codes that the statistics are of, as in the paper (section 3.1)."""
_AT_ONCE = 4096
_LEAST_SPREAD = 1e-12
"""Least variance of an axis as a share of the greatest: axes in which random codes do not differ at all."""


@dataclass(frozen=True, eq=False)
class PStatistics:
    """Mean and principal axes of p = LeakyReLU_5(w) over random codes of one generator."""

    mean: Tensor
    """[D] float64."""
    axes: Tensor
    """[D,D] float64, an axis a column."""
    variances: Tensor
    """[D] float64, of the axes; ascending."""
    fingerprint: str
    """Of the generator."""
    samples: int = 0
    """Number of random codes that they are of."""

    def to(self, device: torch.device) -> PStatistics:
        """Return them on another device."""
        tensors = {name: getattr(self, name).to(device) for name in ("mean", "axes", "variances")}
        return replace(self, **tensors)

    def check_generator(self, fingerprint: str) -> None:
        """Raise FingerprintError unless the statistics are those of this generator."""
        if fingerprint != self.fingerprint:
            raise FingerprintError(
                f"these statistics of P_N are of generator {self.fingerprint[:12]}, but the generator in use "
                f"is {fingerprint[:12]}; renew them with 'invid calibrate'"
            )

    def whitened(self, ws: Tensor) -> Tensor:
        """Map codes [...,D] to P_N, float64 [...,D]: of random ones, each entry has mean 0 and variance 1."""
        p = F.leaky_relu(ws.double(), SLOPE) - self.mean
        return p @ self.axes / self.variances.sqrt()

    def squared_norms(self, ws: Tensor) -> Tensor:
        """Return the squared norms in P_N, float64 [...], of codes [...,D]: about D for a random one."""
        return self.whitened(ws).square().sum(-1)

    def penalty(self, ws: Tensor) -> Tensor:
        """Return the mean square of all entries in P_N of codes [...,D]: a scalar in float64."""
        return self.whitened(ws).square().mean()


def statistics_of(batches: Iterable[Tensor], fingerprint: str) -> PStatistics:
    """Compute statistics from batches of codes w [n,D].

    Raises:
        ValueError: fewer than two codes.
    """
    count, first = 0, None
    for w in batches:
        p = F.leaky_relu(w.double(), SLOPE)
        if first is None:
            first, total = p.mean(0), torch.zeros_like(p[0])
            scatter = torch.zeros(len(first), len(first), dtype=p.dtype, device=p.device)
        # About the first batch's mean, so that the squares are no larger than they must be.
        p = p - first
        count, total, scatter = count + len(p), total + p.sum(0), scatter + p.T @ p
    if first is None or count < 2:
        raise ValueError("statistics of P_N need two codes or more")
    shift = total / count
    covariance = (scatter - count * torch.outer(shift, shift)) / (count - 1)
    return from_moments((first + shift).cpu(), covariance.cpu(), fingerprint, count)


def from_moments(mean: Tensor, covariance: Tensor, fingerprint: str, samples: int) -> PStatistics:
    """Return the statistics of codes in P of this mean [D] and covariance [D,D], float64."""
    variances, axes = torch.linalg.eigh(covariance)
    floor = float(variances[-1]) * _LEAST_SPREAD
    return PStatistics(mean, axes, variances.clamp_min(floor or 1.0), fingerprint, samples)


@torch.no_grad()
def generator_statistics(generator: Any, samples: int = SAMPLES, seed: int = 0) -> PStatistics:
    """Return the statistics of a generator's codes of so many random z, without truncation."""
    device, rng = generator.backbone.mapping.w_avg.device, torch.Generator().manual_seed(seed)

    def batches() -> Iterator[Tensor]:
        for start in range(0, samples, _AT_ONCE):
            z = random_z(generator, min(_AT_ONCE, samples - start), rng)
            yield generator.mapping(z.to(device))[:, 0]

    return statistics_of(batches(), generator.card.fingerprint)
