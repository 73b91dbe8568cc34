"""SeFa: directions in closed form from a generator's weights.

Shen and Zhou 2021, "Closed-Form Factorization of Latent Semantics in GANs".
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from inverters.editing.ganspace import upright
from inverters.errors import InverterError


def style_weights(generator: Any, layers: range) -> Tensor:
    """Return A [sum of channels,w_dim]: the weights of these layers' affine maps from w to styles, stacked.

    Layer k is the convolution that takes row k of ws; the last layer is the last map to planes, as in the
    release.

    Raises:
        InverterError: the generator has no such layer.
    """
    synthesis = generator.backbone.synthesis
    blocks = [getattr(synthesis, name) for name in synthesis.names]
    convolutions = [getattr(b, name) for b in blocks for name in ("conv0", "conv1") if hasattr(b, name)]
    affines = [layer.affine for layer in (*convolutions, blocks[-1].torgb)]
    if not layers or layers[0] < 0 or layers[-1] >= len(affines):
        raise InverterError(f"layers go from 0 to {len(affines) - 1}")
    chosen = [affines[k] for k in layers]
    return torch.cat([affine.weight.detach() * affine.weight_gain for affine in chosen]).cpu()


def mapping_weights(generator: Any) -> Tensor:
    """Return A [features,z_dim]: the weights of the mapping's first layer, from z alone."""
    first = generator.backbone.mapping.fc0
    weights: Tensor = first.weight.detach() * first.weight_gain
    return weights[:, : generator.config.z_dim].cpu()


def factorize(weights: Tensor, count: int, unit_rows: bool = True) -> tuple[Tensor, Tensor]:
    """Return the directions [count,w_dim] that change the styles most, and their eigenvalues [count].

    The eigenvectors of A^T A with the greatest eigenvalues (section 3.2, equations 5 to 8), of unit length.

    Args:
        weights: A [channels,w_dim], from `style_weights`; or [features,z_dim], from `mapping_weights`.
        count: number of directions, at most the length of a row.
        unit_rows: scale each row of A to unit length first, as the release does; the paper does not mention
            it.
    """
    a = weights.double()
    if unit_rows:
        a = a / a.norm(dim=1, keepdim=True).clamp_min(1e-12)
    values, vectors = torch.linalg.eigh(a.T @ a)
    return upright(vectors.T.flip(0)[:count]).float(), values.flip(0)[:count].float()
