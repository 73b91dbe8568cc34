"""A small encoder of our own: e4e's rows of w+ (Tov et al. 2021), and a soft mask of what is not the face.

The trunk is the judge's (`generators.judge`), so that training can begin at its weights. Row 0 is one w; the
other rows are offsets from it of a low rank. The mask is read from all stages of the trunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inverters.generators.layers import halving_stage

_GROUPS = 8
"""Groups of channels that are normalised together."""


@dataclass(frozen=True)
class E4eMaskConfig:
    """Sizes of the encoder. Raises ValueError where they do not fit together."""

    size: int = 128
    """Side of the picture; each stage halves it."""
    widths: tuple[int, ...] = (32, 64, 96, 160, 224)
    """Channels of the stages."""
    hidden: int = 512
    """Numbers between the trunk and the rows."""
    rank: int = 64
    """Rank of the offsets of all rows but the first."""
    mask_width: int = 32
    """Channels of the mask's layers."""
    num_ws: int = 12
    w_dim: int = 512

    def __post_init__(self) -> None:
        if not self.widths or self.size % (1 << len(self.widths)) or self.size < 1 << len(self.widths):
            raise ValueError(f"{len(self.widths)} stages cannot halve {self.size} pixels")
        if any(width < _GROUPS or width % _GROUPS for width in self.widths):
            raise ValueError(f"widths are multiples of {_GROUPS}, not {self.widths}")
        if min(self.hidden, self.rank, self.mask_width, self.num_ws, self.w_dim) < 1:
            raise ValueError("sizes are at least 1")


@dataclass(frozen=True)
class Seen:
    """What an encoder sees in N pictures."""

    offsets: Tensor
    """w+ minus the mean w [N,num_ws,w_dim]."""
    mask: Tensor | None = None
    """Logits of what is not the face [N,1,S/2,S/2]; None from a network that does not tell."""


class E4eMask(nn.Module):
    """The encoder. A new one has random weights, and equal rows."""

    def __init__(self, config: E4eMaskConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or E4eMaskConfig()
        self.stages = nn.ModuleList(halving_stage(i, o, _GROUPS) for i, o in pairwise((3, *config.widths)))
        side = config.size >> len(config.widths)
        self.head = nn.Sequential(nn.Linear(config.widths[-1] * side**2, config.hidden), nn.SiLU())
        self.base = nn.Linear(config.hidden, config.w_dim)
        self.few = nn.Linear(config.hidden, config.rank)
        self.rows = nn.Linear(config.rank, (config.num_ws - 1) * config.w_dim, bias=False)
        nn.init.zeros_(self.rows.weight)
        width = config.mask_width
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in config.widths)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in config.widths[1:])
        self.tell = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, images: Tensor) -> Seen:
        """Map pictures [N,3,S,S] in [-1,1] to codes and mask."""
        features = self.trunk(images)
        hidden = self.hidden(features[-1])
        base = self.base(hidden)[:, None]
        others = self.rows(self.few(hidden)).unflatten(1, (-1, base.shape[2])) + base
        return Seen(torch.cat([base, others], 1), self._mask(features))

    def trunk(self, images: Tensor) -> list[Tensor]:
        """Return the features of all stages, fine to coarse."""
        features = []
        for stage in self.stages:
            images = stage(images)
            features.append(images)
        return features

    def hidden(self, last: Tensor) -> Tensor:
        """Return the numbers [N,hidden] that the rows are made of, from the last stage's features."""
        found: Tensor = self.head(last.flatten(1))
        return found

    def _mask(self, features: list[Tensor]) -> Tensor:
        """Logits [N,1,S/2,S/2] from the features of all stages, coarse to fine."""
        x = self.lateral[-1](features[-1])
        for k in range(len(features) - 2, -1, -1):
            x = F.interpolate(x, scale_factor=2.0, mode="nearest") + self.lateral[k](features[k])
            x = F.silu(self.smooth[k](x))
        found: Tensor = self.tell(x)
        return found
