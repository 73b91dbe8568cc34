"""A distance between codes that says how much pictures differ, without drawing any.

For codes w and w + d of one generator, seen by one camera, the pictures differ by about J d, J the derivative
of the raw picture by w. The mean of |J d|^2 over people and cameras is d^T M d, with M the mean of g g^T over
gradients g = J^T r of pictures weighed by white noise r (Hutchinson 1990). Where the generator's z has named
parameters, a linear readout of them from w counts beside it: a smile is few pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from inverters.errors import CheckpointError
from inverters.fitting.latents import random_z
from inverters.generators.eg3d import Generator
from inverters.people.params import PARAMETERS
from inverters.rendering.cameras import default_intrinsics, look_at

_SIDE = 32
"""Side of the raw pictures."""
_FACE = (slice(7, 27), slice(8, 24))
"""Rows and columns of the face in them."""
_FACE_GAIN = 3.0
"""Weight of the face's pixels beside the others'."""
_YAW, _PITCH = 0.5, 0.2
_CODES = 4096
_GROUP_WEIGHTS = {"expression": 4.0, "light": 0.5, "clothing": 0.3, "background": 0.3}
"""Weights of the groups of parameters; 1 for the others."""


@dataclass(frozen=True)
class CodeMetric:
    """Squared distances of codes; random faces have distance 1 from the mean w, in both terms."""

    mean: Tensor
    """Mean w [w_dim]."""
    pictures: Tensor
    """M [w_dim,w_dim], from differences of pictures."""
    readout: Tensor
    """[P,w_dim]: parameters, weighed, from differences of w; P is 0 for a generator without names."""

    def terms(self, difference: Tensor) -> dict[str, Tensor]:
        """Return both terms, means over differences of codes [N,w_dim]."""
        found = {"picture": ((difference @ self.pictures) * difference).sum(1).mean()}
        if len(self.readout):
            found["parameters"] = (difference @ self.readout.T).square().sum(1).mean()
        return found

    def to(self, device: torch.device) -> CodeMetric:
        """Return the metric on a device."""
        return CodeMetric(self.mean.to(device), self.pictures.to(device), self.readout.to(device))

    def write(self, path: Path, fingerprint: str) -> None:
        """Write it to `path` with the fingerprint of its generator."""
        tensors = {"mean": self.mean, "pictures": self.pictures, "readout": self.readout}
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({k: v.cpu().contiguous() for k, v in tensors.items()}, path, {"generator": fingerprint})

    @classmethod
    def read(cls, path: Path, fingerprint: str) -> CodeMetric | None:
        """Read that of the generator with this fingerprint; None if the file is missing or another's.

        Raises:
            CheckpointError: the file is damaged.
        """
        if not path.exists():
            return None
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                if (file.metadata() or {}).get("generator") != fingerprint:
                    return None
                return cls(*(file.get_tensor(name) for name in ("mean", "pictures", "readout")))
        except (OSError, safetensors.SafetensorError) as error:
            raise CheckpointError(f"the metric in {path} cannot be read ({error}); remove it") from error


def random_codes(generator: Generator, count: int, rng: torch.Generator, spread: float = 1.0) -> Tensor:
    """Draw w [count,w_dim] of random faces; named parameters of z have the standard deviation `spread`."""
    z = random_z(generator, count, rng)
    z[:, : len(generator.card.parameters)] *= spread
    with torch.no_grad():
        return generator.mapping(z.to(generator.backbone.mapping.w_avg.device))[:, 0]


def code_metric(generator: Generator, gradients: int = 400, seed: int = 11) -> CodeMetric:
    """Return the metric of a generator, from so many gradients, two a picture."""
    rng = torch.Generator().manual_seed(seed)
    w = random_codes(generator, _CODES, rng)
    device = w.device
    noise = torch.full((_SIDE, _SIDE), 1.0)
    noise[_FACE] = _FACE_GAIN**0.5
    sampling = generator.sampling(24, 24)
    rows = []
    for k in range(gradients // 2):
        code = w[k % len(w)].clone().requires_grad_(True)
        angle = torch.rand(2, generator=rng) * 2 - 1
        camera = look_at(float(angle[0]) * _YAW, float(angle[1]) * _PITCH).reshape(1, 4, 4).to(device)
        planes = generator.planes(code.expand(1, generator.num_ws, -1))
        seen = generator.render(planes, camera, default_intrinsics(1).to(device), _SIDE, sampling)
        for last in (False, True):
            weights = torch.randn(3, _SIDE, _SIDE, generator=rng) * noise
            total = (seen.features[0, :3] * weights.to(device)).sum()
            rows.append(torch.autograd.grad(total, code, retain_graph=not last)[0])
    g = torch.stack(rows).double()
    off = (w - w.mean(0)).double()
    metric = g.mT @ g / len(g)
    metric /= ((off @ metric) * off).sum(1).mean()
    return CodeMetric(w.mean(0), metric.float(), _readout(generator, rng).to(device))


def _readout(generator: Generator, rng: torch.Generator) -> Tensor:
    """Linear map [P,w_dim] from differences of w to the named parameters, weighed by group."""
    named = generator.card.parameters
    config, device = generator.config, generator.backbone.mapping.w_avg.device
    if not named:
        return torch.zeros(0, config.w_dim)
    z = random_z(generator, _CODES, rng)
    scores = z[:, : len(named)]
    with torch.no_grad():
        w = generator.mapping(z.to(device))[:, 0].cpu().double()
    off, scores = w - w.mean(0), scores.double()
    square = off.mT @ off
    square += 1e-3 * square.diagonal().mean() * torch.eye(len(square), dtype=square.dtype)
    readout = torch.linalg.solve(square, off.mT @ scores).mT
    groups = {p.name: p.group for p in PARAMETERS}
    weight = torch.tensor([_GROUP_WEIGHTS.get(groups.get(name, ""), 1.0) for name in named]).double()
    readout *= weight.sqrt()[:, None]
    readout /= (off @ readout.mT).square().sum(1).mean().sqrt()
    return readout.float()
