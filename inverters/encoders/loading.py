"""Parts of the encoders' public files: weights by prefix, and mean codes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from inverters.errors import CheckpointError
from inverters.generators.plain_pickle import shown
from inverters.generators.strict_loading import checked

MOST_ROWS = 20
"""Rows of w in a released encoder at most: 18 for StyleGAN2 at 1024 pixels, 14 for EG3D."""


def split(tensors: Mapping[str, Tensor], prefixes: tuple[str, ...], what: str) -> list[dict[str, Tensor]]:
    """Return the tensors of each prefix, without it.

    Raises:
        CheckpointError: a name has none of these prefixes.
    """
    parts: list[dict[str, Tensor]] = [{} for _ in prefixes]
    for name, tensor in tensors.items():
        found = next((k for k, prefix in enumerate(prefixes) if name.startswith(prefix)), None)
        if found is None:
            raise CheckpointError(
                f"{what} has '{shown(name)}'; expected are only names that begin with {', '.join(prefixes)}"
            )
        parts[found][name.removeprefix(prefixes[found])] = tensor
    return parts


def mean_code(value: object, rows: int | None, width: int, what: str) -> Tensor:
    """Return a mean code [width] or [rows,width] of a file as rows [rows,width]; None: as many as it has.

    Raises:
        CheckpointError: it has another shape, or is not a tensor of finite numbers.
    """
    if rows is None:
        rows = min(len(value), MOST_ROWS) if isinstance(value, Tensor) and value.ndim == 2 else 1
    shapes = ((width,), (1, width), (rows, width))
    if not isinstance(value, Tensor) or tuple(value.shape) not in shapes:
        found = f"shape {list(value.shape)[:8]}" if isinstance(value, Tensor) else type(value).__name__
        raise CheckpointError(f"{what} has {found}; expected the shape [{width}] or [{rows}, {width}]")
    return checked(value, torch.zeros(1), "mean", what).expand(rows, width).clone()
