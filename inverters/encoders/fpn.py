"""E0 of E3DGE: a picture to offsets of both StyleSDF codes, by IR-SE-50 and a feature pyramid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inverters.encoders.ir_units import body, stem
from inverters.generators.layers import FullyConnected

TextureLevel = Literal["coarse", "middle"]
"""Pyramid level of the renderer's last row, the only one that the density does not depend on: `coarse` as
released (all rows alike), `middle` as in the paper (supplement, Network Architecture Details)."""

UNUSED_KEYS = (r"styles_stylegan\.[1-9]\d*\..*",)
"""The released encoder evaluates one decoder head and repeats it; the others are in its file."""


@dataclass(frozen=True)
class EncoderConfig:
    """Shapes and choices of E0; defaults are the released network's."""

    size: int = 256
    """Side of the picture in pixels."""
    stem: int = 64
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    """Channels of the four levels; the last is also the pyramid's width."""
    counts: tuple[int, int, int, int] = (3, 4, 14, 3)
    """Units of each level; the first halves the picture."""
    renderer_rows: int = 9
    style_dim: int = 256
    decoder_dim: int = 512
    decoder_head: bool = True
    """Without it only the renderer's code is predicted, as after the first stage of training."""
    texture_level: TextureLevel = "coarse"

    @property
    def head_convs(self) -> int:
        """Strided convolutions of a head: enough for the finest level of the pyramid."""
        return int(math.log2(self.size // 2))


@dataclass(frozen=True)
class Offsets:
    """Offsets from the mean codes."""

    renderer: Tensor  # [N,renderer_rows,style_dim]
    decoder: Tensor | None  # [N,1,decoder_dim], the same for all rows; None without the head


class StyleHead(nn.Module):
    """Strided convolutions down to one pixel, then an equalised dense layer."""

    def __init__(self, in_channels: int, out_channels: int, count: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for k in range(count):
            layers += [nn.Conv2d(out_channels if k else in_channels, out_channels, 3, 2, 1), nn.LeakyReLU()]
        self.convs = nn.Sequential(*layers)
        self.linear = FullyConnected(out_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N,I,n,n] to [N,O]."""
        found: Tensor = self.linear(self.convs(x)[:, :, 0, 0])
        return found


class PyramidEncoder(nn.Module):
    """E0. Names of tensors are those of the released file."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        fine, middle, coarse, top = config.widths
        self.input_layer = stem(3, config.stem)
        self.body = body(config.stem, config.widths, config.counts)
        self.latlayer256 = nn.Conv2d(coarse, top, 1)
        self.latlayer128 = nn.Conv2d(middle, top, 1)
        self.latlayer64 = nn.Conv2d(fine, top, 1)
        self.styles_pigan = nn.ModuleList(
            StyleHead(top, config.style_dim, config.head_convs) for _ in range(config.renderer_rows)
        )
        if config.decoder_head:
            self.styles_stylegan = nn.ModuleList([StyleHead(top, config.decoder_dim, config.head_convs)])

    def pyramid(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the coarse, middle and fine level [N,C,S/8,S/8], [N,C,S/4,S/4], [N,C,S/2,S/2]."""
        ends = {last - 1 for last in accumulate(self.config.counts)}
        x, taps = self.input_layer(image), []
        for k, unit in enumerate(self.body):
            x = unit(x)
            if k in ends:
                taps.append(x)
        c2, c6, c20, c23 = taps
        coarse = _added(c23, self.latlayer256(c20))
        middle = _added(coarse, self.latlayer128(c6))
        return coarse, middle, _added(middle, self.latlayer64(c2))

    def forward(self, image: Tensor) -> Offsets:
        """Predict offsets from a picture [N,3,S,S] in [-1,1]."""
        coarse, middle, fine = self.pyramid(image)
        rows = [head(coarse) for head in self.styles_pigan[:-1]]
        rows.append(self.styles_pigan[-1](coarse if self.config.texture_level == "coarse" else middle))
        decoder = self.styles_stylegan[0](fine)[:, None] if self.config.decoder_head else None
        return Offsets(renderer=torch.stack(rows, dim=1), decoder=decoder)


def _added(x: Tensor, finer: Tensor) -> Tensor:
    """The finer map plus the coarser one enlarged to it."""
    return F.interpolate(x, size=finer.shape[2:], mode="bilinear", align_corners=True) + finer
