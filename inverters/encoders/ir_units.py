"""Residual units of IR-SE-50, the body of pSp-like encoders."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_REDUCTION = 16


class SqueezeExcitation(nn.Module):
    """Scales channels by a gate computed from their means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // _REDUCTION)
        self.fc1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.fc2 = nn.Conv2d(inner, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N,C,h,w] to the same shape."""
        gate = self.fc2(torch.relu(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


class IRUnit(nn.Module):
    """Batch norm, convolution, PReLU, strided convolution, batch norm, and a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, squeeze: bool = True) -> None:
        super().__init__()
        if in_channels == out_channels:
            self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        else:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )
        layers = [
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, out_channels, 3, 1, 1, bias=False),
            nn.PReLU(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        ]
        gate = [SqueezeExcitation(out_channels)] if squeeze else []
        self.res_layer = nn.Sequential(*layers, *gate)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N,I,n,n] to [N,O,n/stride,n/stride]."""
        found: Tensor = self.res_layer(x) + self.shortcut_layer(x)
        return found


def stem(in_channels: int, out_channels: int) -> nn.Sequential:
    """Return 3x3 convolution, batch norm, PReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, 1, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.PReLU(out_channels),
    )


def body(in_channels: int, widths: Sequence[int], counts: Sequence[int]) -> nn.Sequential:
    """Return the units of all levels; the first of each halves the picture."""
    units = []
    for width, count in zip(widths, counts, strict=True):
        for k in range(count):
            units.append(IRUnit(in_channels, width, 1 if k else 2))
            in_channels = width
    return nn.Sequential(*units)
