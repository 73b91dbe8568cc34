"""Swin Transformer V2 (Liu et al. 2022): windowed cosine attention with norms after the residual branches.

Names of tensors are those of the public implementation. Its drop path, for training alone, is left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_POSITION_HIDDEN = 512
_MLP_RATIO = 4
_LARGEST_SCALE = math.log(100)
TABLES = (".relative_coords_table", ".relative_position_index", ".attn_mask")
"""Ends of the names of buffers that are no weights; released files hold them."""
_APART = -100.0
"""Added to the attention between tokens of one window that are no neighbours in the picture."""


@dataclass(frozen=True)
class SwinConfig:
    """Shapes of the pyramid; defaults are those of SwinV2-B at 256 px."""

    image_size: int = 256
    patch: int = 4
    """Side of a token of the finest grid, in pixels; each stage halves the grid."""
    width: int = 128
    """Channels of the finest grid; each stage doubles them."""
    depths: tuple[int, ...] = (2, 2, 18, 2)
    heads: tuple[int, ...] = (4, 8, 16, 32)
    window: int = 16
    """Side of a window, in tokens; a smaller grid is one window."""
    pretrained_windows: tuple[int, ...] = (12, 12, 12, 6)
    """Windows for which offsets are scaled to [-8, 8]; 0 takes a stage's own."""

    def __post_init__(self) -> None:
        stages = len(self.depths)
        if {len(self.heads), len(self.pretrained_windows)} != {stages}:
            raise ValueError("a pyramid needs depth, heads and pretrained window of each stage")
        if self.image_size % (self.patch << stages - 1):
            raise ValueError(f"{self.image_size} pixels are not whole tokens of all {stages} grids")
        if any(grid > self.window and grid % self.window for grid in self.grids):
            raise ValueError(f"windows of {self.window} do not fill grids of {self.grids}")

    @property
    def grids(self) -> tuple[int, ...]:
        """Side of each stage's grid, in tokens."""
        return tuple(self.image_size // self.patch >> stage for stage in range(len(self.depths)))

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return tuple(self.width << stage for stage in range(len(self.depths)))


def relative_offsets(window: int, pretrained: int) -> Tensor:
    """Return the log-spaced offsets [1,2w-1,2w-1,2] between two tokens of a window: rows, then columns."""
    steps = torch.arange(1 - window, window, dtype=torch.float32)
    offsets = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1)[None]
    scaled = 8 * offsets / max((pretrained or window) - 1, 1)
    return scaled.sign() * (scaled.abs() + 1).log2() / math.log2(8)


def relative_index(window: int) -> Tensor:
    """Return the place [w*w,w*w] in the flattened table of offsets for each pair of tokens."""
    at = torch.arange(window * window)
    rows, columns = at // window, at % window
    down = rows[:, None] - rows + window - 1
    right = columns[:, None] - columns + window - 1
    return down * (2 * window - 1) + right


def shift_mask(grid: int, window: int, shift: int) -> Tensor:
    """Return what is added to the attention [windows,w*w,w*w] of a grid that was rolled by `shift`."""
    at = torch.arange(grid)
    band = (at >= grid - window).long() + (at >= grid - shift).long()
    region = (3 * band[:, None] + band)[None, :, :, None]
    inside = windows(region, window)[..., 0]
    return (inside[:, :, None] != inside[:, None]).float() * _APART


def windows(x: Tensor, window: int) -> Tensor:
    """Cut a grid [N,g,g,C] into windows [N*k*k,w*w,C], row by row."""
    n, grid, _, channels = x.shape
    k = grid // window
    parts = x.reshape(n, k, window, k, window, channels).transpose(2, 3)
    return parts.reshape(n * k * k, window * window, channels)


def whole(parts: Tensor, grid: int) -> Tensor:
    """The inverse of `windows`: [N*k*k,w*w,C] -> [N,g,g,C]."""
    window = math.isqrt(parts.shape[1])
    k, channels = grid // window, parts.shape[2]
    return parts.reshape(-1, k, k, window, window, channels).transpose(2, 3).reshape(-1, grid, grid, channels)


class WindowAttention(nn.Module):
    """Attention by the cosine of queries and keys, with a learned bias for each offset between tokens."""

    relative_coords_table: Tensor
    relative_position_index: Tensor

    def __init__(self, width: int, heads: int, window: int, pretrained: int) -> None:
        super().__init__()
        self.heads, self.window, self.pretrained = heads, window, pretrained
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10)))
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.cpb_mlp = nn.Sequential(
            nn.Linear(2, _POSITION_HIDDEN), nn.ReLU(), nn.Linear(_POSITION_HIDDEN, heads, bias=False)
        )
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)
        self.make_tables()

    def make_tables(self) -> None:
        """Compute the tables of offsets."""
        table, index = relative_offsets(self.window, self.pretrained), relative_index(self.window)
        self.register_buffer("relative_coords_table", table, persistent=False)
        self.register_buffer("relative_position_index", index, persistent=False)

    def position_bias(self) -> Tensor:
        """Return the bias [heads,w*w,w*w], in (0, 16)."""
        table: Tensor = self.cpb_mlp(self.relative_coords_table).flatten(0, 2)
        return 16 * table[self.relative_position_index].permute(2, 0, 1).sigmoid()

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Map the tokens of windows [M,w*w,C], with a mask [windows,w*w,w*w] or None, to the same shape."""
        m, tokens, width = x.shape
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        mixed = F.linear(x, self.qkv.weight, bias).reshape(m, tokens, 3, self.heads, -1)
        q, k, v = mixed.permute(2, 0, 3, 1, 4)
        q = F.normalize(q, dim=-1) * self.logit_scale.clamp(max=_LARGEST_SCALE).exp()
        added = self.position_bias()[None]
        if mask is not None:
            added = (added + mask[:, None]).repeat(m // len(mask), 1, 1, 1)
        seen = F.scaled_dot_product_attention(q, F.normalize(k, dim=-1), v, attn_mask=added, scale=1.0)
        found: Tensor = self.proj(seen.transpose(1, 2).reshape(m, tokens, width))
        return found


class Mlp(nn.Module):
    """Dense, GELU, dense."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, _MLP_RATIO * width)
        self.fc2 = nn.Linear(_MLP_RATIO * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [...,C] to the same shape."""
        found: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return found


class SwinBlock(nn.Module):
    """Windowed attention and an MLP; with `shift`, the windows lie across those of the block before."""

    attn_mask: Tensor | None

    def __init__(
        self, width: int, heads: int, grid: int, window: int, pretrained: int, *, shift: bool
    ) -> None:
        super().__init__()
        self.grid, self.window = grid, min(window, grid)
        self.shift = self.window // 2 if shift and self.window < grid else 0
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, self.window, pretrained)
        self.mlp = Mlp(width)
        self.make_tables()

    def make_tables(self) -> None:
        """Compute the mask."""
        mask = shift_mask(self.grid, self.window, self.shift) if self.shift else None
        self.register_buffer("attn_mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [N,g*g,C] to the same shape."""
        grid = x.reshape(len(x), self.grid, self.grid, -1)
        rolled = torch.roll(grid, (-self.shift, -self.shift), (1, 2)) if self.shift else grid
        seen = whole(self.attn(windows(rolled, self.window), self.attn_mask), self.grid)
        back = torch.roll(seen, (self.shift, self.shift), (1, 2)) if self.shift else seen
        x = x + self.norm1(back.flatten(1, 2))
        found: Tensor = x + self.norm2(self.mlp(x))
        return found


class PatchMerging(nn.Module):
    """Four tokens to one of twice the channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(2 * width)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [N,g*g,C] to [N,g*g/4,2*C]."""
        grid = math.isqrt(x.shape[1])
        x = x.reshape(len(x), grid, grid, -1)
        parts = [x[:, row::2, column::2] for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))]
        found: Tensor = self.norm(self.reduction(torch.cat(parts, dim=-1).flatten(1, 2)))
        return found


class Stage(nn.Module):
    """Blocks of one grid, and the merging to the next (not after the last)."""

    def __init__(self, config: SwinConfig, stage: int) -> None:
        super().__init__()
        width, grid = config.widths[stage], config.grids[stage]
        self.blocks = nn.ModuleList(
            SwinBlock(
                width,
                config.heads[stage],
                grid,
                config.window,
                config.pretrained_windows[stage],
                shift=k % 2 == 1,
            )
            for k in range(config.depths[stage])
        )
        self.downsample = PatchMerging(width) if stage + 1 < len(config.depths) else None

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [N,g*g,C] to [N,g*g/4,2*C], or to the same shape in the last stage."""
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class PatchEmbedding(nn.Module):
    """One token for each patch."""

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, config.width, config.patch, config.patch)
        self.norm = nn.LayerNorm(config.width)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N,3,S,S] to tokens [N,g*g,C], row by row."""
        found: Tensor = self.norm(self.proj(images).flatten(2).mT)
        return found


class SwinPyramid(nn.Module):
    """Returns the tokens that each stage takes, and those that leave the last one, normalised."""

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        self.patch_embed = PatchEmbedding(config)
        self.layers = nn.ModuleList(Stage(config, stage) for stage in range(len(config.depths)))
        self.norm = nn.LayerNorm(config.widths[-1])

    def make_tables(self) -> None:
        """Compute what is no weight anew, after building on torch's meta device."""
        for module in self.modules():
            if isinstance(module, WindowAttention | SwinBlock):
                module.make_tables()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images [N,3,S,S] to one [N,g*g,C] a stage, from fine to coarse, then the last [N,g*g,C]."""
        taps = [self.patch_embed(images)]
        for layer in self.layers:
            taps.append(layer(taps[-1]))
        return [*taps[:-1], self.norm(taps[-1])]
