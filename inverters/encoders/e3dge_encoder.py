"""E0 of E3DGE: a picture to offsets of both StyleSDF codes, by IR-SE-50 and a feature pyramid."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from inverters.encoders.irse import Backbone, IrseConfig
from inverters.encoders.psp import StyleHead, upsample_add

TextureLevel = Literal["coarse", "middle"]
"""Pyramid level of the renderer's last row, the only one that the density does not depend on: `coarse` as
released (all rows alike), `middle` as in the paper (supplement, Network Architecture Details)."""

UNUSED_KEYS = (r"styles_stylegan\.[1-9]\d*\..*",)
"""The released encoder evaluates one decoder head and repeats it; the others are in its file."""


@dataclass(frozen=True)
class E3DGEEncoderConfig:
    """Shapes and choices of E0; defaults are the released network's."""

    size: int = 256
    """Side of the picture in pixels."""
    backbone: IrseConfig = field(default_factory=IrseConfig)
    """The width of its last stage is also the pyramid's."""
    renderer_rows: int = 9
    style_dim: int = 256
    decoder_dim: int = 512
    decoder_head: bool = True
    """Without it only the renderer's code is predicted, as after the first stage of training."""
    texture_level: TextureLevel = "coarse"


@dataclass(frozen=True)
class Offsets:
    """Offsets from the mean codes."""

    renderer: Tensor  # [N,renderer_rows,style_dim]
    decoder: Tensor | None  # [N,1,decoder_dim], the same for all rows; None without the head


class E3DGEEncoder(Backbone):
    """E0. Names of tensors are those of the released file."""

    def __init__(self, config: E3DGEEncoderConfig | None = None) -> None:
        config = config or E3DGEEncoderConfig()
        super().__init__(config.backbone)
        self.config = config
        fine, middle, coarse, top = config.backbone.widths
        self.latlayer256 = nn.Conv2d(coarse, top, 1)
        self.latlayer128 = nn.Conv2d(middle, top, 1)
        self.latlayer64 = nn.Conv2d(fine, top, 1)
        grid = config.size // 2  # of the finest level: all heads have as many convolutions
        self.styles_pigan = nn.ModuleList(
            StyleHead(top, config.style_dim, grid) for _ in range(config.renderer_rows)
        )
        if config.decoder_head:
            self.styles_stylegan = nn.ModuleList([StyleHead(top, config.decoder_dim, grid)])

    def pyramid(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return features of a picture [N,3,S,S] at S/8, S/4 and S/2, with as many channels each."""
        half, quarter, eighth, sixteenth = self.taps(image, self.backbone.ends)
        coarse = upsample_add(sixteenth, self.latlayer256(eighth))
        middle = upsample_add(coarse, self.latlayer128(quarter))
        return coarse, middle, upsample_add(middle, self.latlayer64(half))

    def forward(self, image: Tensor) -> Offsets:
        """Predict offsets from a picture [N,3,S,S] in [-1,1]."""
        coarse, middle, fine = self.pyramid(image)
        rows = [head(coarse) for head in self.styles_pigan[:-1]]
        rows.append(self.styles_pigan[-1](coarse if self.config.texture_level == "coarse" else middle))
        decoder = self.styles_stylegan[0](fine)[:, None] if self.config.decoder_head else None
        return Offsets(renderer=torch.stack(rows, dim=1), decoder=decoder)
