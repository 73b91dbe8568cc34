"""Strict loading of a state dict into a module: every key is used, or is named as one that is not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from inverters.errors import CheckpointError
from inverters.generators.plain_pickle import shown

_COUNTER = "num_batches_tracked"
"""Batch norm's count of steps: no network needs it."""
_MOST_NAMED = 3


@torch.no_grad()
def load_strictly(module: nn.Module, state: Mapping[str, Any], what: str, unused: Sequence[str] = ()) -> None:
    """Copy a state dict into a module.

    Args:
        module: keeps its own dtype and device.
        state: tensors by key; a prefix `module.` that all keys have is dropped.
        what: name of the state dict in errors.
        unused: regular expressions of whole keys that may be there and are not read.

    Raises:
        CheckpointError: keys are missing or unknown, a shape is another, or a value is no finite number.
    """
    tensors = _needed(plain_state(state, what), unused)
    target = module.state_dict()
    required, found = ({key for key in of if not key.endswith(_COUNTER)} for of in (target, tensors))
    missing, extra = sorted(required - set(tensors)), sorted(set(tensors) - set(target))
    if missing or extra:
        raise CheckpointError(
            f"{what} has another layout: expected {len(required)} tensors, found {len(found)}"
            f"{_named('; missing', missing)}{_named('; unknown', extra)}"
        )
    values = {key: _value(tensors[key], target[key], key, what) for key in tensors}
    for key, value in values.items():
        target[key].copy_(value)


def plain_state(state: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return a state dict without a prefix `module.` that all keys have.

    Raises:
        CheckpointError: it is no table by names.
    """
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise CheckpointError(f"{what}: expected a table of tensors by name, found {type(state).__name__}")
    if state and all(key.startswith("module.") for key in state):
        return {key.removeprefix("module."): value for key, value in state.items()}
    return dict(state)


def _needed(state: dict[str, Any], unused: Sequence[str]) -> dict[str, Any]:
    ignored = re.compile("|".join(unused)) if unused else None
    return {key: value for key, value in state.items() if ignored is None or not ignored.fullmatch(key)}


def _named(title: str, keys: Sequence[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - _MOST_NAMED} more" if len(keys) > _MOST_NAMED else ""
    return f"{title}: {_listed(keys[:_MOST_NAMED])}{more}"


def _listed(keys: Iterable[str]) -> str:
    return ", ".join(f"'{shown(key)}'" for key in keys)


def _value(value: object, like: Tensor, key: str, what: str) -> Tensor:
    """A value as a tensor of the kind of `like`."""
    if not isinstance(value, Tensor) or value.is_complex() or value.dtype == torch.bool:
        raise CheckpointError(f"{what}: '{shown(key)}' is no tensor of numbers")
    if value.shape != like.shape:
        raise CheckpointError(
            f"{what}: '{shown(key)}' has shape {list(value.shape)}, expected {list(like.shape)}"
        )
    if like.is_floating_point() and not value.is_floating_point():
        raise CheckpointError(f"{what}: '{shown(key)}' holds whole numbers, expected {like.dtype}")
    if not bool(torch.isfinite(value).all()):
        raise CheckpointError(f"{what}: '{shown(key)}' holds a value that is not a number")
    return value
