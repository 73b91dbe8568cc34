"""Camera of a StyleSDF picture, by StyleSDF's volume discriminator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

POSE_WIDTHS = (128, 256, 400, 400, 400, 400)
"""Channels of the released network: at 64 pixels, and after each halving."""


class _Conv(nn.Module):
    """Convolution with a bias; `activated`: and leaky ReLU of slope 0.2."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, activated: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, bias=not activated)
        self.activation = (
            nn.ParameterDict({"bias": nn.Parameter(torch.zeros(out_channels))}) if activated else None
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.activation is None:
            return x
        return F.leaky_relu(x + self.activation["bias"][:, None, None], 0.2)


class _CoordConv(nn.Module):
    """3x3 convolution that also sees the pixels' coordinates in [-1,1]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.ModuleDict(
            {"conv": nn.Conv2d(in_channels + 2, out_channels, 3, padding=1, bias=False)}
        )
        self.activation = nn.ParameterDict({"bias": nn.Parameter(torch.zeros(out_channels))})

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        rows = torch.linspace(-1, 1, h).to(x)[:, None].expand(n, 1, h, w)
        columns = torch.linspace(-1, 1, w).to(x).expand(n, 1, h, w)
        x = self.conv["conv"](torch.cat([x, rows, columns], dim=1))
        return F.leaky_relu(x + self.activation["bias"][:, None, None], 0.2)


class _Block(nn.Module):
    """Two convolutions and a halving, and a shortcut."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = _CoordConv(in_channels, out_channels)
        self.conv2 = _CoordConv(out_channels, out_channels)
        self.skip = (
            _Conv(in_channels, out_channels, 1, activated=False) if in_channels != out_channels else None
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = F.avg_pool2d(x, 2)
        if self.skip is not None:
            shortcut = self.skip(shortcut)
        return (F.avg_pool2d(self.conv2(self.conv1(x)), 2) + shortcut) / math.sqrt(2)


class PoseNet(nn.Module):
    """Picture to score and camera. Names of tensors are those of `d` in `ffhq_vol_renderer.pt`."""

    def __init__(self, widths: Sequence[int] = POSE_WIDTHS) -> None:
        super().__init__()
        self.size = 2 ** len(widths)
        blocks = [_Block(i, o) for i, o in pairwise(widths)]
        self.convs = nn.ModuleList([_Conv(3, widths[0], 1), *blocks])
        self.final_conv = _Conv(widths[-1], 3, 2, activated=False)

    def forward(self, thumb: Tensor) -> tuple[Tensor, Tensor]:
        """Map a picture [N,3,S,S] in [-1,1] to the score [N,1] and (azimuth, elevation) [N,2] in radians."""
        x = thumb
        for block in self.convs:
            x = block(x)
        x = self.final_conv(x)[:, :, 0, 0]
        return x[:, :1], x[:, 1:]
