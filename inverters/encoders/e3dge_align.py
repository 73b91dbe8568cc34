"""E3DGE's alignment: E_ADA moves a residual to another picture, SFT mixes 2D and 3D features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inverters.encoders.e3dge_local import Film, ResidualMLP, SeparateMLPs, film
from inverters.encoders.irse import stem, units

ALIGNER_WIDTHS = (16, 32, 48, 64)
Fusion = Literal["released", "paper"]
"""How 3D features take in the 2D ones: by `SpatialFeatureTransform` or by `FeatureFilm`."""


class ResidualAligner(nn.Module):
    """E_ADA (HFGI's residual aligner): an encoder and a decoder of IR units with skips."""

    def __init__(self, widths: Sequence[int] = ALIGNER_WIDTHS) -> None:
        super().__init__()
        first, second, third, fourth = widths
        self.conv_layer1 = stem(6, first)
        self.conv_layer2 = _units(first, (second,) * 3, stride=2)
        self.conv_layer3 = _units(second, (third,) * 3, stride=2)
        self.conv_layer4 = _units(third, (fourth,) * 3, stride=2)
        self.dconv_layer1 = _units(fourth + third, (fourth, second, second))
        self.dconv_layer2 = _units(2 * second, (second, first, first))
        self.dconv_layer3 = _units(2 * first, (first, 3, 3))

    def forward(self, residual: Tensor, picture: Tensor) -> Tensor:
        """Return a residual [N,3,n,n] as it would stand on a picture [N,3,n,n]."""
        x1 = self.conv_layer1(torch.cat([residual, picture], dim=1))
        x2 = self.conv_layer2(x1)
        x3 = self.conv_layer3(x2)
        x = self.dconv_layer1(_joined(self.conv_layer4(x3), x3))
        x = self.dconv_layer2(_joined(x, x2))
        found: Tensor = self.dconv_layer3(_joined(x, x1))
        return found


class SpatialFeatureTransform(nn.Module):
    """Modulates 3D features by 2D ones and by whether the point is seen in the reference."""

    def __init__(self, channels: int = 256, kind: Film = "residual") -> None:
        super().__init__()
        self.kind = kind
        self.encode_enc = ResidualMLP(2 * channels + 1, channels, channels)
        self.scale, self.shift = _two_layers(channels), _two_layers(channels)

    def forward(self, condition: Tensor, features: Tensor) -> Tensor:
        """Map a condition [...,C+1] (2D features, visibility) and 3D features [...,C] to [...,C]."""
        x = self.encode_enc(torch.cat([condition, features], dim=-1))
        return film(features, self.scale(x), self.shift(x), self.kind)


class FeatureFilm(nn.Module):
    """Modulates 3D features by 2D ones alone (the paper's equation 9, its supplement's figure 1)."""

    def __init__(self, channels: int = 256, kind: Film = "plain") -> None:
        super().__init__()
        self.kind = kind
        self.modulation = SeparateMLPs(channels, channels, channels)

    def forward(self, condition: Tensor, features: Tensor) -> Tensor:
        """Map a condition [...,C+1], whose last entry is not read, and 3D features [...,C] to [...,C]."""
        alpha, beta = self.modulation(condition[..., :-1]).chunk(2, dim=-1)
        return film(features, alpha, beta, self.kind)


def _units(in_channels: int, widths: Sequence[int], stride: int = 1) -> nn.Sequential:
    return nn.Sequential(*units(in_channels, widths, stride, squeeze=False))


def _joined(x: Tensor, skip: Tensor) -> Tensor:
    """A map enlarged to its skip, stacked before it."""
    x = F.interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=False)
    return torch.cat([x, skip], dim=1)


def _two_layers(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels, channels), nn.LeakyReLU(0.2), nn.Linear(channels, channels))
