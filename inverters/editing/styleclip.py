"""StyleCLIP's latent mapper: an edit whose step depends on the code (Patashnik et al. 2021, section 5)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from inverters.errors import CheckpointError
from inverters.generators.layers import FullyConnected

STEP = 0.04
"""Factor of the mapper's output in a strength of one: w' = w + 0.04 M(w), as in In-N-Out's script."""
LEVELS = ("course_mapping", "medium_mapping", "fine_mapping")
"""Names of the levels in released files, coarse to fine."""
_BOUNDS = (0, 4, 8, None)
_DEPTH = 4


class LevelsMapper(nn.Module):
    """M(w): a network of four dense layers for each of layers 0-3, 4-7 and from 8 on.

    A level that is absent gives zero. Each group of rows is first divided by its root mean square. The
    release takes that over the rows of a level, number by number (its PixelNorm has the axis of pictures),
    and its weights are trained with it.
    """

    def __init__(self, width: int, levels: tuple[str, ...] = LEVELS) -> None:
        super().__init__()
        for name in levels:
            layers = [FullyConnected(width, width, activation="lrelu", lr_mul=0.01) for _ in range(_DEPTH)]
            setattr(self, name, nn.Sequential(*layers))

    @property
    def width(self) -> int:
        """Length of a row of ws."""
        return next(self.parameters()).shape[-1]

    def forward(self, ws: Tensor) -> Tensor:
        """Map ws [K,num_ws,w_dim] to M(ws) of the same shape."""
        parts = []
        for name, (start, stop) in zip(LEVELS, pairwise(_BOUNDS), strict=True):
            rows = ws[:, start:stop]
            network = getattr(self, name, None)
            parts.append(torch.zeros_like(rows) if network is None else network(_normalized(rows)))
        return torch.cat(parts, dim=1)

    def digest(self) -> str:
        """Return the SHA-256 of the weights."""
        found = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            found.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return found.hexdigest()


def is_mapper(content: Any) -> bool:
    """Whether the content of a torch file is a released mapper: a table with a state dict of `mapper.*`."""
    weights = content.get("state_dict") if isinstance(content, Mapping) else None
    return isinstance(weights, Mapping) and any(str(name).startswith("mapper.") for name in weights)


def mapper_from(content: Mapping[str, Any]) -> LevelsMapper:
    """Return the mapper of a released checkpoint {"state_dict": {"mapper.*", ...}, "opts"}.

    The decoder that the checkpoint also holds is ignored.

    Raises:
        CheckpointError: it is another kind of mapper, or weights are missing, of a wrong shape or not finite.
    """
    weights = {
        name.removeprefix("mapper."): tensor
        for name, tensor in content["state_dict"].items()
        if name.startswith("mapper.")
    }
    levels = tuple(level for level in LEVELS if any(name.startswith(level + ".") for name in weights))
    if not levels:
        raise CheckpointError("it is a StyleCLIP mapper, but not a LevelsMapper, the kind that is known here")
    first = weights.get(f"{levels[0]}.mapping.1.weight")
    if not isinstance(first, Tensor) or first.ndim != 2:
        raise CheckpointError(f"its weight '{levels[0]}.mapping.1.weight' is missing")
    with torch.random.fork_rng(devices=[]):  # the random initial weights are replaced
        mapper = LevelsMapper(first.shape[1], levels).requires_grad_(False)
    wanted = {_released(name): tensor for name, tensor in mapper.state_dict().items()}
    for name in sorted(wanted | weights):
        found = weights.get(name)
        if name not in wanted or not isinstance(found, Tensor) or found.shape != wanted[name].shape:
            raise CheckpointError(f"it does not fit StyleCLIP's LevelsMapper: first '{name}' differs")
        if not torch.isfinite(found).all():
            raise CheckpointError(f"its weight '{name}' holds values that are not finite")
        wanted[name].copy_(found)
    return mapper


def _released(name: str) -> str:
    """Name of a parameter in the release.

    `fine_mapping.0.weight` is `fine_mapping.mapping.1.weight`, since layer 0 of the release is PixelNorm.
    """
    level, layer, kind = name.split(".")
    return f"{level}.mapping.{int(layer) + 1}.{kind}"


def _normalized(rows: Tensor) -> Tensor:
    return rows * torch.rsqrt(rows.square().mean(dim=1, keepdim=True) + 1e-8)
