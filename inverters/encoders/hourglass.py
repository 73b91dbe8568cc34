"""Stacked hourglass network with group norm (Newell et al. 2016, as PIFu builds it).

A picture's features at full size come out at a quarter of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class HourglassConfig:
    """Shapes; defaults are the released network's."""

    in_channels: int = 64
    channels: int = 256
    """Channels at the end; the stem has a quarter of them."""
    stacks: int = 4
    depth: int = 2
    """Halvings inside an hourglass."""
    groups: int = 32


class ConvBlock(nn.Module):
    """Three convolutions, whose outputs (1/2, 1/4 and 1/4 of the channels) are stacked, and a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        half, quarter = out_channels // 2, out_channels // 4
        self.bn1 = nn.GroupNorm(groups, in_channels)
        self.conv1 = nn.Conv2d(in_channels, half, 3, padding=1, bias=False)
        self.bn2 = nn.GroupNorm(groups, half)
        self.conv2 = nn.Conv2d(half, quarter, 3, padding=1, bias=False)
        self.bn3 = nn.GroupNorm(groups, quarter)
        self.conv3 = nn.Conv2d(quarter, quarter, 3, padding=1, bias=False)
        if in_channels != out_channels:
            self.downsample: nn.Module = nn.Sequential(
                nn.GroupNorm(groups, in_channels),
                nn.ReLU(),
                nn.Conv2d(in_channels, out_channels, 1, bias=False),
            )
        else:
            self.downsample = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N,I,n,n] to [N,O,n,n]."""
        first = self.conv1(torch.relu(self.bn1(x)))
        second = self.conv2(torch.relu(self.bn2(first)))
        third = self.conv3(torch.relu(self.bn3(second)))
        found: Tensor = torch.cat([first, second, third], dim=1) + self.downsample(x)
        return found


class Hourglass(nn.Module):
    """One hourglass: at each level a path at full size and one through half of it."""

    def __init__(self, config: HourglassConfig) -> None:
        super().__init__()
        self.depth = config.depth
        names = [f"b{k}_{level}" for level in range(1, config.depth + 1) for k in (1, 2, 3)]
        for name in (*names, "b2_plus_1"):
            self.add_module(name, ConvBlock(config.channels, config.channels, config.groups))

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N,C,n,n] to the same shape; n is a multiple of 2**depth."""
        return self._level(x, self.depth)

    def _level(self, x: Tensor, level: int) -> Tensor:
        inner = self.get_submodule(f"b2_{level}")(F.avg_pool2d(x, 2))
        inner = self._level(inner, level - 1) if level > 1 else self.get_submodule("b2_plus_1")(inner)
        inner = self.get_submodule(f"b3_{level}")(inner)
        up = F.interpolate(inner, scale_factor=2, mode="bicubic", align_corners=True)
        found: Tensor = self.get_submodule(f"b1_{level}")(x) + up
        return found


class StackedHourglass(nn.Module):
    """Hourglasses in a row, each fed with the result of the one before. Tensors have the released names."""

    def __init__(self, config: HourglassConfig) -> None:
        super().__init__()
        channels, groups = config.channels, config.groups
        start, middle = channels // 4, channels // 2
        self.stacks = config.stacks
        self.conv1 = nn.Conv2d(config.in_channels, start, 7, 2, 3)
        self.bn1 = nn.GroupNorm(groups, start)
        self.conv2 = ConvBlock(start, middle, groups)
        self.conv3 = ConvBlock(middle, middle, groups)
        self.conv4 = ConvBlock(middle, channels, groups)
        for k in range(config.stacks):
            self.add_module(f"m{k}", Hourglass(config))
            self.add_module(f"top_m_{k}", ConvBlock(channels, channels, groups))
            self.add_module(f"conv_last{k}", nn.Conv2d(channels, channels, 1))
            self.add_module(f"bn_end{k}", nn.GroupNorm(groups, channels))
            self.add_module(f"l{k}", nn.Conv2d(channels, channels, 1))
            if k < config.stacks - 1:
                self.add_module(f"bl{k}", nn.Conv2d(channels, channels, 1))
                self.add_module(f"al{k}", nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N,I,n,n] to the last stack's features [N,C,n/4,n/4]."""
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.conv4(self.conv3(F.avg_pool2d(self.conv2(x), 2)))
        for k in range(self.stacks):
            inner = self._part("top_m_", k)(self._part("m", k)(x))
            inner = torch.relu(self._part("bn_end", k)(self._part("conv_last", k)(inner)))
            found: Tensor = self._part("l", k)(inner)
            if k == self.stacks - 1:
                break
            x = x + self._part("bl", k)(inner) + self._part("al", k)(found)
        return found

    def _part(self, name: str, k: int) -> nn.Module:
        return self.get_submodule(f"{name}{k}")
