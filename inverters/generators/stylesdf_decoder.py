"""StyleSDF's decoder: StyleGAN2's synthesis on rendered features in place of a constant."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from inverters.generators.layers import (
    FullyConnected,
    demodulation,
    modulated_conv,
    scaled_lrelu,
    upsample2,
)
from inverters.generators.stylesdf_config import StyleSDFConfig

UNUSED_KEYS = (r"(decoder\.)?(conv1|convs\.\d+)\.bias", r".*\.kernel")
"""Keys of the released file that no result depends on: a second bias, and constant filters."""
_LR_MUL = 0.01


class ModulatedConv(nn.Module):
    """Equalised convolution whose input channels are scaled by the style."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, w_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, out_channels, in_channels, kernel, kernel))
        self.modulation = FullyConnected(w_dim, in_channels, bias_init=1.0)
        self.gain = 1 / math.sqrt(in_channels * kernel**2)

    def forward(self, x: Tensor, w: Tensor, *, up: bool = False, demodulate: bool = True) -> Tensor:
        """Map x [N,I,n,n] and w [N,D] to [N,O,n,n], or [N,O,2n,2n] with `up`."""
        styles, weight = self.modulation(w) * self.gain, self.weight[0]
        x = modulated_conv(x, weight, styles, up=up)
        return x * demodulation(weight, styles)[:, :, None, None] if demodulate else x


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, up: bool = False) -> None:
        super().__init__()
        self.up = up
        self.conv = ModulatedConv(in_channels, out_channels, 3, w_dim)
        self.noise = nn.ParameterDict({"weight": nn.Parameter(torch.zeros(1))})
        self.activate = nn.ParameterDict({"bias": nn.Parameter(torch.zeros(out_channels))})

    def forward(self, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        """Map x [N,I,n,n], w [N,D] and a noise map [1,1,m,m] to [N,O,m,m]."""
        x = self.conv(x, w, up=self.up)
        return scaled_lrelu(x + noise * self.noise["weight"] + self.activate["bias"][:, None, None])


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to a picture, without demodulation."""

    def __init__(self, in_channels: int, w_dim: int) -> None:
        super().__init__()
        self.conv = ModulatedConv(in_channels, 3, 1, w_dim)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Map x [N,I,n,n] and w [N,D] to [N,3,n,n]."""
        found: Tensor = self.conv(x, w, demodulate=False) + self.bias
        return found


class Normalize(nn.Module):
    """Rows divided by their root mean square."""

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N,D] to [N,D]."""
        return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + 1e-8)


class Decoder(nn.Module):
    """Rendered features to the picture."""

    def __init__(self, config: StyleSDFConfig) -> None:
        super().__init__()
        dim = config.decoder_dim
        widths = [config.style_dim] + [dim] * config.decoder_mapping_layers
        layers = [FullyConnected(i, o, activation="lrelu", lr_mul=_LR_MUL) for i, o in pairwise(widths)]
        self.style = nn.Sequential(Normalize(), *layers)
        resolution = config.render_size
        channels = config.channels(resolution)
        self.conv1 = StyledConv(config.width, channels, dim)
        self.to_rgb1 = ToRGB(channels, dim)
        self.convs, self.to_rgbs = nn.ModuleList(), nn.ModuleList()
        sizes = [resolution]
        for _ in range(config.stages):
            resolution *= 2
            width = config.channels(resolution)
            self.convs.extend([StyledConv(channels, width, dim, up=True), StyledConv(width, width, dim)])
            self.to_rgbs.append(ToRGB(width, dim))
            sizes += [resolution] * 2
            channels = width
        self.noises = nn.Module()
        for k, size in enumerate(sizes):
            self.noises.register_buffer(f"noise_{k}", torch.randn(1, 1, size, size))

    def forward(self, features: Tensor, w: Tensor) -> Tensor:
        """Map features [N,W,h,h] and codes w [N,rows,D] to pictures [N,3,S,S] in about [-1,1]."""
        noises = [getattr(self.noises, f"noise_{k}") for k in range(1 + len(self.convs))]
        x = self.conv1(features, w[:, 0], noises[0])
        image: Tensor = self.to_rgb1(x, w[:, 1])
        for k, to_rgb in enumerate(self.to_rgbs):
            first, row = 2 * k, 2 * k + 1
            x = self.convs[first](x, w[:, row], noises[first + 1])
            x = self.convs[first + 1](x, w[:, row + 1], noises[first + 2])
            image = upsample2(image) + to_rgb(x, w[:, row + 2])
        return image
