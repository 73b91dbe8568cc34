"""Radiance fields as tensors: a tri-plane and its decoder, the input of every renderer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Decoder:
    """Dense layer, softplus, dense layer; learning-rate gains are multiplied in.

    The first output is the raw density, the next ones colours; the last output of a second field is its
    blend.
    """

    weight1: Tensor  # [H,C]
    bias1: Tensor  # [H], or [N,H] with a code of the frame added
    weight2: Tensor  # [O,H]
    bias2: Tensor  # [O]

    def __call__(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map features [...,C] to raw density [...] and colours [...,O-1] in (-0.001, 1.001), as EG3D.

        With a bias for each frame, the features are [N,M,C].
        """
        out = self._outputs(features)
        return out[..., 0], torch.sigmoid(out[..., 1:]) * 1.002 - 0.001

    def with_blend(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map features [N,M,C] to raw density [N,M], colours [N,M,O-2] and blend [N,M] in (0,1).

        The blend is a plain sigmoid (Twizwei/in-n-out).
        """
        out = self._outputs(features)
        return out[..., 0], torch.sigmoid(out[..., 1:-1]) * 1.002 - 0.001, torch.sigmoid(out[..., -1])

    def scaled_density(self, gain: float) -> Decoder:
        """Return the decoder with raw densities times `gain`."""
        factor = self.bias2.new_ones(self.bias2.shape)
        factor[0] = gain
        return replace(self, weight2=self.weight2 * factor[:, None], bias2=self.bias2 * factor)

    def _outputs(self, features: Tensor) -> Tensor:
        if self.bias1.ndim == 1:
            hidden = F.linear(features, self.weight1, self.bias1)
        else:
            hidden = F.linear(features, self.weight1) + self.bias1[:, None]
        return F.linear(F.softplus(hidden), self.weight2, self.bias2)


@dataclass(frozen=True)
class Field:
    """Planes [1 or N,3,C,R,R], shared by all frames or one for each, and their decoder."""

    planes: Tensor
    decoder: Decoder
