"""GANSpace: directions as the principal components of w.

Harkonen, Hertzmann, Lehtinen and Paris 2020, "GANSpace: Discovering Interpretable GAN Controls".
"""

from __future__ import annotations

import torch
from torch import Tensor


def principal_components(codes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return components [count,w_dim] of unit length and the standard deviations [count] of codes along them.

    The greatest come first (section 3.1: PCA of w over random z). The sign of a component is arbitrary; here
    its number of largest magnitude is positive, so that it is reproducible.
    """
    centred = codes.double() - codes.double().mean(0)
    _, values, basis = torch.linalg.svd(centred, full_matrices=False)
    spread = values[:count] / (len(codes) - 1) ** 0.5
    return upright(basis[:count]).float(), spread.float()


def components_in_z(z: Tensor, codes: Tensor, count: int) -> Tensor:
    """Return components [count,z_dim] of unit length in z of the principal components of w.

    Section 3.2: the least-squares map from the coordinates x of codes along the components to their z. Those
    coordinates are uncorrelated, so that its columns are the means of z x.

    Args:
        z: [N,z_dim], random.
        codes: [N,w_dim], the w of z.
        count: number of components.
    """
    rows, _ = principal_components(codes, count)
    along = (codes - codes.mean(0)).double() @ rows.double().T
    found = along.T @ (z - z.mean(0)).double()
    return (found / found.norm(dim=1, keepdim=True).clamp_min(1e-12)).float()


def upright(rows: Tensor) -> Tensor:
    """Return rows [n,D] with the sign that makes the number of largest magnitude positive."""
    largest = rows.gather(1, rows.abs().argmax(1, keepdim=True))
    return rows * largest.sign()
