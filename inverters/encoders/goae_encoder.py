"""GOAE's encoder ("Make Encoder Great Again in 3D GAN Inversion", Yuan et al. 2023): a picture to w+.

The coarsest grid of a Swin pyramid gives one base row, repeated, and a query for each row but the first. The
queries of three groups of rows attend to the finer grids and are added to the base. Names of tensors are
those of `encoder_FFHQ.pt`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inverters.encoders.cross_attention import CrossAttention
from inverters.encoders.swin import TABLES, SwinConfig, SwinPyramid
from inverters.errors import CheckpointError
from inverters.generators.config import GeneratorConfig
from inverters.generators.plain_pickle import shown
from inverters.generators.strict_loading import filled, tensors_of

GROUPS = ("coarse", "mid", "fine")
"""Groups of rows, in the order in which training opens them."""
_FIRST_ROWS = (1, 3, 3)
"""Rows of the base alone, of `coarse` and of `mid`; the rest are `fine`."""
_TABLES_AGREE = 1e-4


@dataclass(frozen=True)
class GoaeEncoderConfig:
    """Shapes of the encoder; defaults are those of `encoder_FFHQ.pt`."""

    swin: SwinConfig = field(default_factory=SwinConfig)
    w_dim: int = 512
    num_ws: int = 14
    heads: int = 4
    """Heads of the cross attention."""

    @classmethod
    def sized_for(cls, generator: GeneratorConfig, **changes: Any) -> GoaeEncoderConfig:
        """Return the encoder for a generator's codes, with other fields as given."""
        return replace(cls(w_dim=generator.w_dim, num_ws=generator.num_ws), **changes)

    @property
    def rows(self) -> dict[str, slice]:
        """Rows of w+ of each group."""
        ends = [sum(_FIRST_ROWS[: k + 1]) for k in range(3)] + [self.num_ws]
        return {name: slice(*pair) for name, pair in zip(GROUPS, pairwise(ends), strict=True)}


def mapper(*widths: int, active_end: bool = False) -> nn.Sequential:
    """Return dense layers with leaky ReLU between them, and with `active_end` after the last."""
    layers: list[nn.Module] = []
    for i, o in pairwise(widths):
        layers += [nn.Linear(i, o), nn.LeakyReLU()]
    return nn.Sequential(*(layers if active_end else layers[:-1]))


def over_tokens(layers: nn.Module, x: Tensor) -> Tensor:
    """Apply layers [T] -> [T'] to tokens [N,T,C]: [N,T',C]."""
    found: Tensor = layers(x.mT)
    return found.mT


class GoaeEncoder(nn.Module):
    """Predicts w+ of a picture as an offset to the mean w."""

    def __init__(self, config: GoaeEncoderConfig | None = None) -> None:
        super().__init__()
        config = config or GoaeEncoderConfig()
        if config.num_ws <= sum(_FIRST_ROWS) or len(config.swin.depths) != 4:
            raise ValueError("GOAE's encoder needs more than 7 rows of w+ and a pyramid of 4 stages")
        self.config = config
        w, width = config.w_dim, config.swin.widths
        fine, mid, coarse, last = (grid * grid for grid in config.swin.grids)
        self.swin_model = SwinPyramid(config.swin)
        self.mapper_base_spatial = mapper(last, last, 1)
        self.mapper_base_channel = mapper(width[3], width[3], w)
        for name, rows in config.rows.items():
            setattr(self, f"mapper_query_spatial_{name}", mapper(last, last, rows.stop - rows.start))
            setattr(self, f"mapper_query_channel_{name}", mapper(width[3], width[3], w))
            setattr(self, f"cross_att_{name}", CrossAttention(w, config.heads))
        self.mapper_coarse_channel = mapper(width[2], w, active_end=True)
        self.mapper_mid_channel = mapper(width[1], w, active_end=True)
        self.mapper_fine_channel = mapper(width[0], 2 * width[0], w, active_end=True)
        self.mapper_coarse_to_mid_spatial = mapper(coarse, 2 * coarse, mid, active_end=True)
        self.mapper_mid_to_fine_spatial = mapper(mid, 2 * mid, fine, active_end=True)

    def forward(self, images: Tensor, opened: int = len(GROUPS)) -> Tensor:
        """Map images [N,3,S,S] in [-1,1], S of the configuration, to w+ minus the mean w [N,num_ws,w_dim].

        The first `opened` groups of rows differ from the base; training opens them one after the other.
        """
        fine, mid, coarse, query, last = self.swin_model(images)
        base = self._pooled(last, self.mapper_base_spatial, self.mapper_base_channel)
        keys = self._keys(fine, mid, coarse)
        parts = [base]
        for k, (name, rows) in enumerate(self.config.rows.items()):
            if k < opened:
                parts.append(base + self._attended(name, query, keys[name]))
            else:
                parts.append(base.expand(-1, rows.stop - rows.start, -1))
        return torch.cat(parts, dim=1)

    def _attended(self, group: str, x: Tensor, keys: Tensor) -> Tensor:
        """Rows [N,R,w_dim] of a group: queries of tokens [N,T,C] that attend to keys [N,K,w_dim]."""
        layers = (self.get_submodule(f"mapper_query_{kind}_{group}") for kind in ("spatial", "channel"))
        found: Tensor = self.get_submodule(f"cross_att_{group}")(self._pooled(x, *layers), keys)
        return found

    def _pooled(self, x: Tensor, spatial: nn.Module, channel: nn.Module) -> Tensor:
        """Tokens [N,T,C] to rows [N,R,w_dim]: weighted sums of the tokens, plus their maximum."""
        found: Tensor = channel(over_tokens(spatial, x) + x.amax(dim=1, keepdim=True))
        return found

    def _keys(self, fine: Tensor, mid: Tensor, coarse: Tensor) -> dict[str, Tensor]:
        """Keys [N,T,w_dim] of each group; a finer grid gets the coarser ones as well."""
        low = self.mapper_coarse_channel(coarse)
        middle = self.mapper_mid_channel(mid) + over_tokens(self.mapper_coarse_to_mid_spatial, low)
        high = self.mapper_fine_channel(fine) + over_tokens(self.mapper_mid_to_fine_spatial, middle)
        return {"coarse": low, "mid": middle, "fine": high}


def load_goae_encoder(
    state: object, config: GoaeEncoderConfig | None = None, what: str = "the file"
) -> GoaeEncoder:
    """Return the encoder with the weights of `encoder_FFHQ.pt`, as a safe reader gives them.

    The tables of the windows may be absent; they are computed, and those of a file must agree.

    Raises:
        CheckpointError: the weights or tables do not fit the configuration (None: the official one).
    """
    tensors = tensors_of(state, what)
    tables = {name: value for name, value in tensors.items() if name.endswith(TABLES)}
    weights = {name: value for name, value in tensors.items() if name not in tables}
    encoder = filled(lambda: GoaeEncoder(config), weights, what)
    encoder.swin_model.make_tables()
    expected = dict(encoder.named_buffers())
    for name, value in tables.items():
        _check_table(what, name, value, expected.get(name))
    return encoder


def _check_table(what: str, name: str, found: Tensor, expected: Tensor | None) -> None:
    """Raise CheckpointError unless a table of a file is the one that was computed."""
    if expected is None:
        raise CheckpointError(f"{what} has '{shown(name)}'; this architecture has no such table")
    if found.shape != expected.shape:
        raise CheckpointError(
            f"{what} has '{shown(name)}' of shape {list(found.shape)}; expected {list(expected.shape)}"
        )
    apart = (found.double() - expected.double()).abs().max().item()
    if not apart <= _TABLES_AGREE:
        raise CheckpointError(
            f"{what} has '{shown(name)}' that differs by {apart:.2g} from this architecture's"
        )


def to_size(images: Tensor, size: int) -> Tensor:
    """Resample images [N,3,S,S] to [N,3,size,size], bicubic with antialiasing."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, (size, size), mode="bicubic", antialias=True, align_corners=False)
