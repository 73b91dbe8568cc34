"""A generator with some of its tensors replaced, or open to be tuned: always a copy, never the one given.

One job renders several inversions with one generator; what one of them tuned must not show in another.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from inverters.errors import InverterError

FIXED = "backbone.mapping."
"""Codes are given, so this part gets no gradient."""
PARTS = ("backbone.", "decoder.", "superresolution.")
"""Where names of parameters begin that can be tuned, but for FIXED."""


def with_tensors(generator: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The generator with these parameters, by name, in place of its own; itself for {}.

    All other tensors are shared with the given one. Raises InverterError for a name or a shape that it does
    not have.
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
    """A copy of the generator, and those of its parameters, by name, that take part in `planes`, `field` and
    `superresolve` and begin as `parts` say: these require gradients.
    """
    names = [name for name, _ in generator.named_parameters() if name.startswith(parts)]
    names = [name for name in names if not name.startswith(FIXED)]
    copied = _copy(generator, names)
    found = {name: copied.get_parameter(name).requires_grad_(True) for name in names}
    return copied, found


def _copy(generator: Any, names: Collection[str]) -> Any:
    """A copy that has these parameters to itself and shares everything else."""
    tensors = [*generator.named_parameters(), *generator.named_buffers()]
    shared = {id(tensor): tensor for name, tensor in tensors if name not in names}
    return copy.deepcopy(generator, shared | {id(generator.card): generator.card})
