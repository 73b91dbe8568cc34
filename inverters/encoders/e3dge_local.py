"""E3DGE's local branch: E1 (residual and depth to a feature map), look-up at points, modulation of features.

The branch knows no generator: it takes points, projections and pictures, and returns factors and offsets for
features of any width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inverters.encoders.hourglass import HourglassConfig, StackedHourglass
from inverters.generators.layers import FullyConnected

Variant = Literal["released", "paper", "training"]
"""`released`: the checkpoint's network, with instance norm and one residual MLP for alpha and beta.

`paper`: a residual MLP for each (supplement, training details). `training`: the training scripts' network,
with batch norm and one dense layer.
"""
Film = Literal["residual", "plain"]
"""`residual`: (1 + alpha) f + beta, as released; `plain`: alpha f + beta, as in the paper (section 4.2)."""

UNUSED_KEYS = (r"downsample_channel_conv\..*", r"image_filter\.(.*\.)?bn4\.(weight|bias)")
"""A layer that is not evaluated, and norms of the hourglass under a second name or without use."""


@dataclass(frozen=True)
class LocalConfig:
    """Shapes and choices of the local branch; defaults are the released network's."""

    hourglass: HourglassConfig = field(default_factory=HourglassConfig)
    frequencies: int = 7
    """Of the positional encoding: 1, 2, 4, ..."""
    modulated: int = 256
    """Width of the generator's features."""
    variant: Variant = "released"
    film: Film = "residual"

    @property
    def encoded(self) -> int:
        """Width of an encoded point."""
        return 3 + 6 * self.frequencies


class ResidualMLP(nn.Module):
    """Two dense layers behind ReLUs, and a dense shortcut."""

    def __init__(self, in_features: int, out_features: int, hidden: int) -> None:
        super().__init__()
        self.fc_0 = nn.Linear(in_features, hidden)
        self.fc_1 = nn.Linear(hidden, out_features)
        self.shortcut = nn.Linear(in_features, out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [...,I] to [...,O]."""
        found: Tensor = self.shortcut(x) + self.fc_1(torch.relu(self.fc_0(torch.relu(x))))
        return found


class SeparateMLPs(nn.Module):
    """One residual MLP for alpha and one for beta, stacked in this order."""

    def __init__(self, in_features: int, out_features: int, hidden: int) -> None:
        super().__init__()
        self.alpha = ResidualMLP(in_features, out_features, hidden)
        self.beta = ResidualMLP(in_features, out_features, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [...,I] to [...,2*O]."""
        return torch.cat([self.alpha(x), self.beta(x)], dim=-1)


class _SmallBlock(nn.Module):
    """Norm, ReLU, convolution, twice, and a shortcut."""

    def __init__(self, channels: int, variant: Variant) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [_norm(channels, variant), nn.ReLU(), _reflecting(channels, channels)]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N,C,h,w] to the same shape."""
        found: Tensor = x + self.conv(x)
        return found


class LocalEncoder(nn.Module):
    """E1 and the head that turns a point's local feature into modulation."""

    def __init__(self, config: LocalConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or LocalConfig()
        half = config.hourglass.in_channels // 2
        local = config.hourglass.channels + config.encoded
        self.residual_conv = _small_net(3, half, config.variant)
        self.depth_conv = _small_net(1, half, config.variant)
        self.image_filter = StackedHourglass(config.hourglass)
        self.local_feat_to_tex_modulations_linear = _head(local, config)

    def forward(self, residual: Tensor, depth: Tensor) -> Tensor:
        """Map a residual [N,3,n,n] and a depth [N,1,n,n] to features [N,C,n/4,n/4]."""
        found: Tensor = self.image_filter(
            torch.cat([self.residual_conv(residual), self.depth_conv(depth)], dim=1)
        )
        return found

    def modulation(self, features: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha and beta [...,W] for local features [...,C] of world points [...,3]."""
        encoded = positional_encoding(points, self.config.frequencies)
        both = self.local_feat_to_tex_modulations_linear(torch.cat([features, encoded], dim=-1))
        alpha, beta = both.chunk(2, dim=-1)
        return alpha, beta

    def modulate(self, hidden: Tensor, features: Tensor, points: Tensor) -> Tensor:
        """Modulate the generator's features [...,W] of points [...,3] by their local features [...,C]."""
        return film(hidden, *self.modulation(features, points), self.config.film)


def film(x: Tensor, alpha: Tensor, beta: Tensor, kind: Film) -> Tensor:
    """Feature-wise linear modulation."""
    return torch.addcmul(x + beta if kind == "residual" else beta, alpha, x)


def positional_encoding(points: Tensor, frequencies: int) -> Tensor:
    """x, then sin(f x) and cos(f x) for f = 1, 2, 4, ...: [...,3] -> [...,3+6F]."""
    parts = [points]
    for k in range(frequencies):
        parts += [torch.sin(points * 2**k), torch.cos(points * 2**k)]
    return torch.cat(parts, dim=-1)


def look_up(features: Tensor, positions: Tensor) -> Tensor:
    """Interpolate features at image positions, bilinearly, zeros outside.

    Args:
        features: [N,C,h,w].
        positions: [N,...,2], x right and y down, in [-1,1] inside the picture.

    Returns:
        [N,...,C].
    """
    grid = positions.reshape(len(positions), 1, -1, 2)
    found = F.grid_sample(features, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return found[:, :, 0].mT.reshape(*positions.shape[:-1], features.shape[1])


def inside(positions: Tensor) -> Tensor:
    """1 where image positions [...,2] lie in the picture, else 0: [...]."""
    return (positions.abs() <= 1).all(dim=-1).to(positions)


def _reflecting(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, padding_mode="reflect", bias=False)


def _head(local: int, config: LocalConfig) -> nn.Module:
    if config.variant == "training":
        return FullyConnected(local, 2 * config.modulated)
    if config.variant == "paper":
        return SeparateMLPs(local, config.modulated, local)
    return ResidualMLP(local, 2 * config.modulated, local)


def _norm(channels: int, variant: Variant) -> nn.Module:
    return nn.BatchNorm2d(channels) if variant == "training" else nn.InstanceNorm2d(channels, affine=True)


def _small_net(in_channels: int, out_channels: int, variant: Variant) -> nn.Sequential:
    return nn.Sequential(
        _reflecting(in_channels, out_channels),
        _SmallBlock(out_channels, variant),
        nn.Conv2d(out_channels, out_channels, 1, bias=False),
    )
