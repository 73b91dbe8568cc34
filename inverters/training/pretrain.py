"""Pretraining of the mapping network: make the colours of a head at fixed points linear in w.

A head's colours are strongly non-linear functions of its parameters (hues, palettes, beards that begin
half-way). Learning them through the whole generator takes tens of minutes, through the mapping alone one
minute. The synthesis then reads them from w by its affine layers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from inverters.generators.eg3d import Generator
from inverters.heads.field import radiance, signed_distance
from inverters.heads.params import NUM_PARAMETERS, sample_scores, to_values, to_z
from inverters.rendering.cameras import default_intrinsics, look_at
from inverters.rendering.rays import make_rays
from inverters.training.supervision import visible_depth

_REACH = 0.03
"""Range, in world units, to which signed distances at the probes are clamped."""


@torch.no_grad()
def probe_points(side: int = 7) -> Tensor:
    """Return points [3*side*side,3] on the surface of the mean head, seen from three sides."""
    values = to_values(torch.zeros(3, NUM_PARAMETERS))
    cameras = look_at(torch.tensor([-0.6, 0.0, 0.6]), torch.zeros(3))
    origins, directions = make_rays(cameras, default_intrinsics(3), (side, side))
    return (origins + directions * visible_depth(values, origins, directions).unsqueeze(-1)).reshape(-1, 3)


@torch.no_grad()
def probe_truth(scores: Tensor, points: Tensor) -> Tensor:
    """Return colours and clamped signed distances [N,4M] in [-1,1] of heads [N,P] at probe points [M,3]."""
    values = to_values(scores)
    where = points.expand(len(scores), -1, -1)
    distance = (signed_distance(values, where) / _REACH).clamp(-1, 1)
    return torch.cat([radiance(values, where).flatten(1) * 2 - 1, distance], dim=1)


def pretrain_mapping(
    generator: Generator, heads: int = 24_000, steps: int = 2500, batch: int = 256, seed: int = 5
) -> float:
    """Fit the mapping and a linear readout of w to the colours and distances at probe points.

    Args:
        generator: its mapping is trained in place.
        heads: number of random heads, whose truth is computed once.
        steps: steps of Adam.
        batch: heads a step.
        seed: of heads and batches.

    Returns:
        Share of the variance that the readout leaves unexplained, a running mean.
    """
    rng = torch.Generator().manual_seed(seed)
    points = probe_points()
    scores = sample_scores(heads, rng) * 1.1
    truth = torch.cat([probe_truth(part, points) for part in scores.split(50)])
    truth = truth - truth.mean(0)
    readout = nn.Linear(generator.config.w_dim, truth.shape[1])
    mapping = generator.backbone.mapping
    groups = [{"params": mapping.parameters(), "gain": 100.0}, {"params": readout.parameters(), "gain": 1.0}]
    optimiser = torch.optim.Adam(groups, lr=1e-3, betas=(0.9, 0.99))
    left = 1.0
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 1.5e-3 * group["gain"] * min(1.0, (step + 1) / 50) * (1 - step / steps)
        rows = torch.randint(heads, (batch,), generator=rng)
        ws = generator.mapping(to_z(scores[rows], generator.config.z_dim))[:, 0]
        error = (readout(ws) - truth[rows]).square().mean() / truth.var()
        size = (ws.square().mean() - 1).square()
        optimiser.zero_grad()
        (error + 0.1 * size).backward()
        optimiser.step()
        left = 0.99 * left + 0.01 * error.item()
        if step % 250 == 249:
            print(
                f"mapping: step {step + 1}/{steps}, {left:.1%} of the probes' variance unexplained",
                flush=True,
            )
    return left
