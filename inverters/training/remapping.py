"""Another mapping network for a generator that has learned: its affine layers are fitted anew to its codes.

What people look like is learned by the mapping alone (`pretrain`). Where the codes say too little of it, the
affine layers learn by heart: of each person they have seen, what the code does not tell of others.
"""

from __future__ import annotations

import torch
from torch import Tensor

from inverters.generators.eg3d import Generator
from inverters.training.people_pictures import SPREAD, sample_scores, to_z
from inverters.training.pretrain import pretrain_mapping
from inverters.training.whitening import affine_layers

PEOPLE = 40_000
"""People whose old codes are fitted by their new ones."""
_RIDGE = 1e-6
"""Of the normal equations, relative to the number of people: codes have directions without any variance."""


def remap(generator: Generator, steps: int, people: int = PEOPLE, **pretraining: int) -> float:
    """Train the mapping of a generator again, from what it is, and let its affine layers read the new codes.

    The old codes are fitted by the new ones, by least squares over random people, and the fit is folded into
    the affine layers.

    Args:
        generator: changed in place; its affine layers read w, not whitened codes.
        steps: of `pretrain_mapping`.
        people: random people for the fit.
        **pretraining: further arguments of `pretrain_mapping`.

    Returns:
        Share of the variance of the old codes that the fit leaves unexplained, on a tenth of the people held
        out.
    """
    mapping = generator.backbone.mapping
    scores = SPREAD * sample_scores(people, torch.Generator().manual_seed(6))
    z = to_z(scores, generator.config.z_dim).to(mapping.w_avg)
    old = _codes(generator, z)
    pretrain_mapping(generator, steps=steps, **pretraining)
    new = torch.cat([_codes(generator, z), old.new_ones(people, 1)], 1)
    held = people // 10
    square = new[held:].T @ new[held:]
    square += _RIDGE * people * torch.eye(len(square)).to(square)
    fit = torch.linalg.solve(square, new[held:].T @ old[held:])
    left = (new[:held] @ fit - old[:held]).square().mean() / old[:held].var(0).mean()
    matrix, shift = fit[:-1].T.float(), fit[-1].float()
    with torch.no_grad():
        for affine in affine_layers(generator):
            affine.bias.add_(affine.weight * affine.weight_gain @ shift)
            affine.weight.copy_(affine.weight @ matrix)
    return float(left)


@torch.no_grad()
def _codes(generator: Generator, z: Tensor) -> Tensor:
    return torch.cat([generator.mapping(part)[:, 0] for part in z.split(4000)]).double()
