"""Pretraining of the mapping network: make the look of people linear in w.

What a picture shows is a strongly non-linear function of the parameters: glasses begin at a threshold,
colours are products of skin and light. Learned through pictures it is learned by heart: of a few thousand
people it explains those alone. The look needs no picture, so the mapping learns it from a hundred thousand
people and is not trained afterwards. The synthesis reads it from w by its affine layers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from inverters.generators.eg3d import Generator
from inverters.training.people_pictures import (
    NUM_PARAMETERS,
    SPREAD,
    look_weights,
    looks,
    sample_scores,
    to_z,
)

PEOPLE = 100_000
"""People whose looks are learned."""
_HELD_OUT = 1000
_LEAST = 1e-3
"""Least deviation by which a number of the look is divided."""


def pretrain_mapping(
    generator: Generator, steps: int = 12_000, batch: int = 256, people: int = PEOPLE, seed: int = 5
) -> float:
    """Fit the mapping, and a linear readout of w, to the looks of random people, by `look_weights`.

    Args:
        generator: its mapping is trained in place.
        steps: steps of Adam.
        batch: people a step.
        people: random people; a twentieth of them, at most 1,000, are held out.
        seed: of people and batches.

    Returns:
        Share of the variance that the readout leaves unexplained on the people held out, a mean by weight.
    """
    mapping = generator.backbone.mapping.requires_grad_(True)
    device = mapping.w_avg.device
    rng = torch.Generator().manual_seed(seed)
    scores = SPREAD * sample_scores(people, rng)
    truth = looks(scores)
    truth = (truth - truth.mean(0)) / truth.std(0).clamp_min(_LEAST)
    scores, truth, weights = scores.to(device), truth.to(device), look_weights().to(device)
    held = min(_HELD_OUT, people // 20)
    readout = nn.Linear(generator.config.w_dim, truth.shape[1]).to(device)
    scale = 100.0  # of what is stored to what is used: the mapping's multiplier of 0.01
    groups = [
        {
            "params": [p for p in mapping.parameters() if p.ndim == 2],
            "gain": scale * mapping.fc0.weight.shape[1] ** 0.5,
        },
        {"params": [p for p in mapping.parameters() if p.ndim == 1], "gain": scale},
        {"params": list(readout.parameters()), "gain": 1.0},
    ]
    optimiser = torch.optim.Adam(groups, lr=1e-3, betas=(0.9, 0.99))

    def error(rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        ws = generator.mapping(to_z(scores[rows], generator.config.z_dim))[:, 0]
        left = ((readout(ws) - truth[rows]).square() * weights).mean()
        return left, (ws.square().mean() - 1).square()

    unexplained = 1.0
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * group["gain"] * min(1.0, (step + 1) / 100) * (1 - step / steps)
        left, size = error(torch.randint(held, people, (batch,), generator=rng).to(device))
        optimiser.zero_grad()
        (left + 0.1 * size).backward()
        slope = mapping.fc0.weight.grad
        assert slope is not None
        slope[:, NUM_PARAMETERS:] = 0
        optimiser.step()
        if step % 1000 == 999 or step == steps - 1:
            with torch.no_grad():
                unexplained = error(slice(0, held))[0].item()
            print(
                f"mapping: step {step + 1}/{steps}, {unexplained:.1%} of the variance unexplained", flush=True
            )
    mapping.requires_grad_(False)
    return unexplained
