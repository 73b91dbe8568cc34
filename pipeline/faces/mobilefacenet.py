"""MobileFaceNet (Chen et al. 2018), with the parameter names of foamliu/MobileFaceNet."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_STAGES = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
"""Expansion, channels, blocks and first stride of the bottlenecks (table 1)."""


class _Bottleneck(nn.Module):
    """Inverted residual of MobileNetV2 with a linear output; skip connection where shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.adds = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            _conv_bn(inputs, width, 1, 1),
            _conv_bn(width, width, 3, stride, groups=width),
            nn.Conv2d(width, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N,inputs,h,w] -> [N,outputs,h/stride,w/stride]."""
        out: Tensor = self.conv(x)
        return x + out if self.adds else out


class _Separable(nn.Module):
    """Depthwise 3x3, then pointwise convolution, each with batch norm and ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N,channels,h,w] -> the same shape."""
        x = torch.relu(self.bn1(self.depthwise(x)))
        return torch.relu(self.bn2(self.pointwise(x)))


class _GlobalDepthwise(nn.Module):
    """Global depthwise convolution: a learned 7x7 weighted sum per channel (section 3.2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N,channels,7,7] -> [N,channels,1,1]."""
        return self.bn(self.depthwise(x))  # type: ignore[no-any-return]


class MobileFaceNet(nn.Module):
    """Network from aligned faces [N,3,112,112] to embeddings [N,128], not normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _conv_bn(3, 64, 3, 2)
        self.dw_conv = _Separable(64)
        blocks: list[nn.Module] = []
        width = 64
        for expansion, channels, count, stride in _STAGES:
            for k in range(count):
                blocks.append(_Bottleneck(width, channels, stride if k == 0 else 1, expansion))
                width = channels
        self.features = nn.Sequential(*blocks)
        self.conv2 = _conv_bn(width, 512, 1, 1)
        self.gdconv = _GlobalDepthwise(512)
        self.conv3 = nn.Conv2d(512, 128, 1)
        self.bn = nn.BatchNorm2d(128)

    def forward(self, x: Tensor) -> Tensor:
        """RGB in [0,1], normalised by ImageNet's mean and deviation, [N,3,112,112] -> [N,128]."""
        x = self.conv2(self.features(self.dw_conv(self.conv1(x))))
        return self.bn(self.conv3(self.gdconv(x))).flatten(1)  # type: ignore[no-any-return]


def _conv_bn(inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm and ReLU6."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )
