"""Copies of a generator with some tensors replaced or open to gradients; the given one is never changed.

One job renders several inversions with one generator: the weights tuned for one must not affect another.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from inverters.errors import InverterError

FIXED = "backbone.mapping."
"""Prefix of the parameters that are never tuned: codes are given, so the mapping gets no gradient."""
PARTS = ("backbone.", "decoder.", "superresolution.")
"""Prefixes of the parameters that can be tuned."""


def with_tensors(generator: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return the generator with these parameters, by name, in place of its own; itself for {}.

    All other tensors are shared with the given one.

    Raises:
        InverterError: the generator has no such parameter, or it has another shape.
    """
    if not tensors:
        return generator
    own = dict(generator.named_parameters())
    for name, tensor in tensors.items():
        if name not in own:
            raise InverterError(f"the generator has no parameter '{name}' to be replaced by a tuned one")
        if own[name].shape != tensor.shape:
            raise InverterError(
                f"tuned '{name}' has shape {list(tensor.shape)}; the generator's has {list(own[name].shape)}"
            )
    copied = _copy(generator, tensors)
    with torch.no_grad():
        for name, tensor in tensors.items():
            copied.get_parameter(name).copy_(tensor)
    return copied


def trainable_copy(generator: Any, parts: tuple[str, ...] = PARTS) -> tuple[Any, dict[str, Tensor]]:
    """Return a copy of the generator, and its parameters that require gradients, by name.

    Args:
        generator: it is not changed.
        parts: prefixes of the names of these parameters, see PARTS.
    """
    names = [name for name, _ in generator.named_parameters() if name.startswith(parts)]
    names = [name for name in names if not name.startswith(FIXED)]
    copied = _copy(generator, names)
    found = {name: copied.get_parameter(name).requires_grad_(True) for name in names}
    return copied, found


def _copy(generator: Any, names: Collection[str]) -> Any:
    """A copy with these parameters of its own; all else is shared."""
    tensors = [*generator.named_parameters(), *generator.named_buffers()]
    shared = {id(tensor): tensor for name, tensor in tensors if name not in names}
    return copy.deepcopy(generator, shared | {id(generator.card): generator.card})
