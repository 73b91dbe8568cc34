"""The latent spaces that codes can be fitted in, and the maths of the bounded ones.

Katsumata et al. 2024, "Revisiting Latent Space of GAN Inversion for Robust Real Image Editing".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from inverters.errors import UnknownNameError

Part = Literal["z", "w", "s"]
_F = "f/"


@dataclass(frozen=True)
class Space:
    """A latent space of a generator."""

    name: str
    codes: Part
    """What the codes are: z, w, or offsets of the styles."""
    layered: bool
    """A code for each layer; False: one for all."""
    normalised: bool = False
    """With the penalty of P_N."""
    base: bool = False
    """With a base code f: features at a layer, in place of those that the layers below make."""

    @property
    def bounded(self) -> bool:
        """Whether codes lie on the sphere of random z."""
        return self.codes == "z"


_PLAIN = (
    Space("z", "z", layered=False),
    Space("z+", "z", layered=True),
    Space("w", "w", layered=False),
    Space("w+", "w", layered=True),
    Space("p_n+", "w", layered=True, normalised=True),
    Space("s", "s", layered=True),
)
SPACES = {
    name: Space(name, space.codes, space.layered, space.normalised, base)
    for base in (False, True)
    for space in _PLAIN
    for name in [_F * base + space.name]
}
"""Every space by its name."""


def find_space(name: str) -> Space:
    """Return the space of this name; raises UnknownNameError, which lists those that exist."""
    if name not in SPACES:
        raise UnknownNameError(f"unknown latent space '{name}'; known: {', '.join(SPACES)}")
    return SPACES[name]


def retracted(z: Tensor) -> Tensor:
    """Scale codes [...,D] to the sphere of radius sqrt(D) (equation 5); a zero code stays zero.

    Random z lie near this sphere, and the mapping sees the direction of z alone.
    """
    # Divided by the largest entry first, so that no square overflows or vanishes.
    largest = z.detach().abs().amax(-1, keepdim=True).clamp_min(torch.finfo(z.dtype).tiny)
    z = z / largest
    norm = z.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(z.dtype).tiny)
    return z * (math.sqrt(z.shape[-1]) / norm)


def edited(z: Tensor, offset: Tensor) -> Tensor:
    """Move codes [...,D] on the sphere by `offset`, which broadcasts, and retract them (section 3.3)."""
    return retracted(z + offset)


def mapped_rows(generator: Any, z: Tensor, label: Tensor | None = None) -> Tensor:
    """Map each row of z [N,L,z_dim] by itself to w [N,L,w_dim].

    `label` [1 or N,c_dim] conditions all rows of a code; None: the frontal camera.
    """
    if label is not None:
        label = label.expand(len(z), -1).repeat_interleave(z.shape[1], 0)
    ws: Tensor = generator.mapping(z.flatten(0, 1), label)[:, 0]
    return ws.unflatten(0, z.shape[:2])
