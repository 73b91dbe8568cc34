"""pSp: a picture to rows of w+ by a feature pyramid and one small network a row; and its single-w relative.

Richardson et al. 2021, "Encoding in Style: a StyleGAN Encoder for Image-to-Image Translation". Names of
tensors are those of the public files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inverters.encoders.irse import Backbone, IrseConfig
from inverters.encoders.loading import MOST_ROWS, mean_code, split
from inverters.errors import CheckpointError
from inverters.generators.layers import FullyConnected
from inverters.generators.plain_pickle import shown
from inverters.generators.strict_loading import filled, table_with, tensors_of


@dataclass(frozen=True)
class PspConfig:
    """Sizes of the encoder; defaults are the public one for StyleGAN2 at 1024 pixels.

    Raises ValueError where they do not fit together.
    """

    size: int = 256
    """Side of the picture, a power of two from 32."""
    num_ws: int = 18
    w_dim: int = 512
    coarse: int = 3
    """The first rows, which come from features of a sixteenth of the picture's side."""
    middle: int = 4
    """The rows after those, from an eighth; the rest come from a quarter."""
    backbone: IrseConfig = field(default_factory=IrseConfig)
    head: int = 0
    """Channels of the networks of the rows; 0: as many as a row has numbers, as in the public files."""

    def __post_init__(self) -> None:
        if self.size < 32 or self.size & (self.size - 1):
            raise ValueError(f"the side of a picture is a power of two from 32, not {self.size}")
        if not 1 <= self.coarse <= self.num_ws or self.middle < 0:
            raise ValueError(f"{self.coarse} coarse and {self.middle} middle rows of {self.num_ws}")

    def level(self, row: int) -> int:
        """Level of the pyramid that a row comes from: 0 coarse, 1 middle, 2 fine."""
        return int(row >= self.coarse) + int(row >= self.coarse + self.middle)


class StyleHead(nn.Module):
    """Convolutions that halve features to one pixel, each with leaky ReLU (0.01), then a dense layer.

    `grid`: largest side of the features, a power of two. `inner`: channels of the convolutions; 0: w_dim.
    """

    def __init__(self, width: int, w_dim: int, grid: int, inner: int = 0) -> None:
        super().__init__()
        inner = inner or w_dim
        layers: list[nn.Module] = []
        for k in range(int(math.log2(grid))):
            layers += [nn.Conv2d(inner if k else width, inner, 3, 2, padding=1), nn.LeakyReLU()]
        self.convs = nn.Sequential(*layers)
        self.linear = FullyConnected(inner, w_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map features [N,C,h,h] to a row [N,w_dim]."""
        found: Tensor = self.linear(self.convs(x).flatten(1))
        return found


def upsample_add(coarse: Tensor, fine: Tensor) -> Tensor:
    """Return features [N,C,h,h] plus coarser ones, enlarged bilinearly with corners on corners."""
    return F.interpolate(coarse, size=fine.shape[2:], mode="bilinear", align_corners=True) + fine


class GradualStyleEncoder(Backbone):
    """pSp's encoder. Its rows are offsets from the generator's mean w, and independent of each other."""

    released_as: ClassVar[tuple[str, ...]] = ("GradualStyleEncoder",)
    """Names that files have for this network in their options."""

    def __init__(self, config: PspConfig | None = None) -> None:
        config = config or PspConfig()
        super().__init__(config.backbone)
        self.config = config
        _, second, third, width = config.backbone.widths
        self.latlayer1 = nn.Conv2d(third, width, 1)
        self.latlayer2 = nn.Conv2d(second, width, 1)
        grids = [config.size // 16 << config.level(row) for row in range(config.num_ws)]
        self.styles = nn.ModuleList(StyleHead(width, config.w_dim, grid, config.head) for grid in grids)

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """Return features of a picture [N,3,S,S] at S/16, S/8 and S/4, with as many channels each."""
        fine, middle, coarse = self.taps(x, self.backbone.ends[1:])
        middle = upsample_add(coarse, self.latlayer1(middle))
        fine = upsample_add(middle, self.latlayer2(fine))
        return [coarse, middle, fine]

    def rows(self, x: Tensor, last: int | None = None) -> list[Tensor]:
        """Return what the networks of rows 0 to `last` (None: all) give for a picture: each [N,w_dim]."""
        levels = self.pyramid(x)
        heads = list(self.styles)[: None if last is None else last + 1]
        return [head(levels[self.config.level(row)]) for row, head in enumerate(heads)]

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures [N,3,S,S] in [-1,1] to offsets [N,num_ws,w_dim] from the mean w."""
        return torch.stack(self.rows(x), dim=1)


class SingleWEncoder(Backbone):
    """One w for a picture, from the mean of the backbone's last features."""

    released_as: ClassVar[tuple[str, ...]] = ("SingleStyleCodeEncoder", "BackboneEncoderUsingLastLayerIntoW")
    """Names that files have for this network in their options."""

    def __init__(self, config: PspConfig | None = None) -> None:
        config = config or PspConfig()
        super().__init__(config.backbone)
        self.config = config
        self.linear = FullyConnected(config.backbone.widths[-1], config.w_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures [N,3,S,S] in [-1,1] to offsets [N,1,w_dim] from the mean w."""
        found: Tensor = self.linear(self.body(self.input_layer(x)).mean(dim=(2, 3)))
        return found[:, None]


_Encoder = TypeVar("_Encoder", GradualStyleEncoder, SingleWEncoder)
_PARTS = ("encoder.", "decoder.")
"""Prefixes of the weights in a file; the decoder is the generator, which is not read."""


def load_psp(file: object, network: type[_Encoder], what: str = "the file") -> tuple[_Encoder, Tensor | None]:
    """Return an encoder and the mean w [num_ws,w_dim] of a public file of pSp or e4e, from a safe reader.

    pSp's and e4e's weights have the same names and shapes: only the options in a file tell them apart.

    Args:
        file: table with `state_dict` and, mostly, `latent_avg` and `opts`.
        network: the class that is expected.
        what: the file's name in messages.

    Returns:
        The encoder, in eval mode without gradients, and the mean; None where the file has none. A mean has as
        many rows as the encoder; that of a single w those of the file.

    Raises:
        CheckpointError: the file has other weights, or its options name another network.
    """
    table = table_with(file, what, "state_dict")
    weights, _ = split(tensors_of(table["state_dict"], what), _PARTS, what)
    options = table.get("opts")
    named = options.get("encoder_type") if isinstance(options, Mapping) else None
    if named is not None and named not in network.released_as:
        raise CheckpointError(
            f"{what} is of the type '{shown(named)}'; expected {' or '.join(network.released_as)}"
        )
    single = network is SingleWEncoder
    config = PspConfig() if single else released_config(weights, what)
    encoder = filled(lambda: network(config), weights, f"{what}: its encoder")
    mean, rows = table.get("latent_avg"), None if single else config.num_ws
    if mean is None:
        return encoder, None
    return encoder, mean_code(mean, rows, config.w_dim, f"{what}: its 'latent_avg'")


def released_config(weights: Mapping[str, Tensor], what: str) -> PspConfig:
    """Return the public sizes with as many rows as there are networks for them.

    Raises:
        CheckpointError: there are none, or more than a generator has rows.
    """
    rows = sum(name.startswith("styles.") and name.endswith(".linear.bias") for name in weights)
    if not 3 <= rows <= MOST_ROWS:
        raise CheckpointError(f"{what} has networks for {rows} rows of w; expected 3 to {MOST_ROWS}")
    return PspConfig(num_ws=rows)
