"""Local Basis: directions in Z that change w most at a code.

Choi et al. 2022, "Do Not Escape From the Manifold: Discovering the Local Coordinates on the Latent Space of
GANs", section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inverters.editing.ganspace import upright
from inverters.fitting.spaces import retracted


@dataclass(frozen=True)
class LocalBasis:
    """The right singular vector number `number` of the mapping's Jacobian, from the greatest singular value.

    With `layered` each layer's code has its own; else all layers have that of their mean.
    """

    number: int
    layered: bool

    def step(self, generator: Any, z: Tensor) -> Tensor:
        """Return the vector [num_ws,z_dim], of unit length in each layer, at codes of a clip.

        The Jacobian is that at the mean of the frames, so that all of them move alike. The sign of a singular
        vector is arbitrary: that of the mean layer's has its number of largest magnitude positive, and no
        layer's points away from it.

        Args:
            generator: owner of the mapping; its z has more than `number` entries.
            z: [K,num_ws,z_dim].
        """
        device = generator.backbone.mapping.w_avg.device
        rows = z.mean(0).to(device)
        whole = upright(self._vector(generator, retracted(rows.mean(0)))[None])
        if not self.layered:
            return whole.expand(len(rows), -1).to(z)
        own = torch.stack([self._vector(generator, row) for row in retracted(rows)])
        return (own * torch.where(own @ whole.T < 0, -1.0, 1.0)).to(z)

    def _vector(self, generator: Any, z: Tensor) -> Tensor:
        return singular_vectors(generator, z)[2][self.number]


def singular_vectors(generator: Any, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return U [w_dim,m], singular values [m], descending, and V^T [m,z_dim] of dw/dz at a code z [z_dim]."""

    def w_of(code: Tensor) -> Tensor:
        w: Tensor = generator.mapping(code[None])[0, 0]
        return w

    jacobian = torch.func.jacrev(w_of)(z)
    u, values, v = torch.linalg.svd(jacobian.detach().double(), full_matrices=False)
    return u.float(), values.float(), v.float()
