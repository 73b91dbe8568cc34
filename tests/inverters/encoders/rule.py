"""The rule that gives the golden encoders their weights and inputs."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from inverters.rendering.cameras import from_label
from tests.inverters.generators.rule import shared

Floats = npt.NDArray[np.float32]


class Row(NamedTuple):
    """One row of a table of the rule: the names it is for (a regular expression), offset and scale."""

    pattern: str
    offset: float
    scale: float | None
    """None: one over the root of the entries of a row."""
    dimensions: tuple[int, int] = (0, 9)
    """The least and the most dimensions of the tensors it is for."""


NOT_DRAWN = re.compile(
    r"(num_batches_tracked|relative_position_index|relative_coords_table|attn_mask|\.kernel|resample_filter)$"
)
"""Tensors that have the module's own value."""

_GENERAL = (
    Row(r"running_var$", 1.0, 0.1),
    Row(r"running_mean$", 0.0, 0.1),
    Row(r"logit_scale$", 2.3, 0.3),
    Row(r"bias$", 0.0, 0.1),
    Row(r"weight$", 0.7, 0.3, (1, 1)),
)
_LAST = (Row("", 0.0, None, (2, 9)), Row("", 0.0, 1.0))


def equalised(pattern: str) -> Row:
    """Return the row of weights with an equalised learning rate."""
    return Row(pattern, 0.0, 1.0, (2, 9))


def draw(name: str, shape: tuple[int, ...], special: tuple[Row, ...] = ()) -> Tensor:
    """Return the tensor of a key by the rule, with a file's own rows before the general ones."""
    row = next(
        r
        for r in (*special, *_GENERAL, *_LAST)
        if re.search(r.pattern, name) and r.dimensions[0] <= len(shape) <= r.dimensions[1]
    )
    count = int(np.prod(shape))
    drawn = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(count).astype(np.float32)
    scale = 1 / np.sqrt(count / shape[0]) if row.scale is None else row.scale
    return torch.from_numpy((np.float32(row.offset) + np.float32(scale) * drawn).reshape(shape))


def keys(file: str, title: str) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shapes and types by key of one dictionary of a golden `*_keys.json.gz`; skips where it is absent."""
    found = json.loads(gzip.decompress(shared(f"encoders/{file}_keys.json.gz").read_bytes()))[title]
    return {name: (tuple(shape), dtype) for name, (shape, dtype) in found.items()}


def rule_dictionary(
    layout: Mapping[str, tuple[tuple[int, ...], str]], special: tuple[Row, ...] = ()
) -> dict[str, Tensor]:
    """The drawn tensors of a dictionary with these keys; those that are not drawn are left out."""
    return {
        name: draw(name, shape, special)
        for name, (shape, dtype) in layout.items()
        if not NOT_DRAWN.search(name) and "int" not in dtype
    }


def golden(file: str) -> dict[str, np.ndarray]:
    """The arrays of a golden file; skips where it is absent."""
    return dict(np.load(shared(f"encoders/{file}_golden.npz")))


def golden_cameras(rows: slice) -> tuple[Tensor, Tensor]:
    """cam2world [N,4,4] and intrinsics [N,3,3] of some of EG3D's golden cameras."""
    labels = np.load(shared("eg3d_small_golden.npz"))["cams"]
    return from_label(torch.from_numpy(labels[rows]))


def recorded(layers: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """A table that the outputs of layers come into when they run."""
    found: dict[str, Tensor] = {}
    for name, layer in layers.items():
        layer.register_forward_hook(lambda _, __, output, name=name: found.__setitem__(name, output))
    return found


def gauss(seed: int, *shape: int) -> Tensor:
    """Normal draws by the rule."""
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape).astype(np.float32))


def image(seed: int, size: int, channels: int = 3) -> Tensor:
    """A picture [1,C,size,size] in [-1,1] by the rule: squares of noise under finer noise."""
    coarse = np.random.RandomState(seed).standard_normal((1, channels, 8, 8))
    fine = np.random.RandomState(seed + 1).standard_normal((1, channels, size, size))
    coarse = coarse.repeat(size // 8, 2).repeat(size // 8, 3)
    return torch.from_numpy(np.clip(0.5 * coarse + 0.2 * fine, -1, 1).astype(np.float32))
