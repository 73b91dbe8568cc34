"""State dicts of encoders: their parts, and networks built with exactly these weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from inverters.errors import CheckpointError
from inverters.generators.plain_pickle import shown

_Network = TypeVar("_Network", bound=nn.Module)

MOST_ROWS = 20
"""Rows of w in a released encoder at most: 18 for StyleGAN2 at 1024 pixels, 14 for EG3D."""
_PARALLEL = "module."
"""Prefix of all names in files that were saved through DataParallel."""
_COUNTER = "num_batches_tracked"
"""Counters of batch norms; evaluation does not use them, and files from before torch 0.4.1 lack them."""


def tensors_of(state: object, what: str) -> dict[str, Tensor]:
    """Return a state dict as tensors by name, without the prefix that DataParallel gives to all names.

    Args:
        state: what a safe reader returned.
        what: what the weights are of, for messages, such as "'psp.pt': its encoder".

    Raises:
        CheckpointError: it is not a table of tensors by name.
    """
    if not isinstance(state, Mapping) or not state:
        raise CheckpointError(f"{what} is not a table of weights but '{shown(type(state).__name__)}'")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{what} has '{shown(name)}', a {type(value).__name__} where a tensor by name was expected"
            )
    if all(name.startswith(_PARALLEL) for name in state):
        return {name.removeprefix(_PARALLEL): value for name, value in state.items()}
    return dict(state)


def entry(file: object, name: str, what: str) -> Any:
    """Return an entry of the table in a file.

    Raises:
        CheckpointError: it is no table, or has no such entry; the message names those that it has.
    """
    if not isinstance(file, Mapping) or name not in file:
        have = ", ".join(shown(key) for key in list(file)[:8]) if isinstance(file, Mapping) else "no table"
        raise CheckpointError(f"{what} has no entry '{name}'; found: {have}")
    return file[name]


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


def filled(build: Callable[[], _Network], tensors: Mapping[str, Tensor], what: str) -> _Network:
    """Return a network with these weights: float32, eval mode, no gradients.

    Args:
        build: makes the network; it is called on torch's meta device, so that nothing is allocated before the
            weights are known to fit.
        tensors: its parameters and buffers by name; float32 ones are used, not copied.
        what: what the weights are of, for messages.

    Raises:
        CheckpointError: names or shapes differ from the network's, or a weight is not a number.
    """
    with torch.device("meta"):
        network = build()
    expected = network.state_dict()
    counters = {name for name in expected if name.endswith(_COUNTER)} - set(tensors)
    _check_names(what, expected, dict(tensors) | {name: expected[name] for name in counters})
    given = {name: _checked(what, name, tensor, expected[name]) for name, tensor in tensors.items()}
    given |= {name: torch.zeros(expected[name].shape, dtype=expected[name].dtype) for name in counters}
    network.load_state_dict(given, assign=True)
    return network.requires_grad_(False).eval()


def mean_code(value: object, rows: int, width: int, what: str) -> Tensor:
    """Return a mean code [width] or [rows,width] of a file as rows [rows,width].

    Raises:
        CheckpointError: it has another shape, or is not a tensor of numbers.
    """
    shapes = ((width,), (1, width), (rows, width))
    if not isinstance(value, Tensor) or tuple(value.shape) not in shapes:
        found = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise CheckpointError(f"{what} has shape {found}; expected [{width}] or [{rows}, {width}]")
    return _checked(what, "mean", value, torch.zeros(1)).expand(rows, width).clone()


def _check_names(what: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError unless names and shapes are the same."""
    sizes = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    given = {name: tuple(tensor.shape) for name, tensor in found.items()}
    if wrong := [name for name in sorted(sizes | given) if sizes.get(name) != given.get(name)]:
        missing, extra = len(sizes.keys() - given.keys()), len(given.keys() - sizes.keys())
        first = wrong[0]
        raise CheckpointError(
            f"{what} does not fit its network: {missing} tensors missing, {extra} unknown, "
            f"{len(wrong) - missing - extra} of another shape; first '{shown(first)}' "
            f"(expected {list(sizes[first]) if first in sizes else 'none'}, "
            f"found {list(given[first]) if first in given else 'none'})"
        )


def _checked(what: str, name: str, tensor: Tensor, like: Tensor) -> Tensor:
    """A tensor in the dtype of the network's, of which each entry is a number."""
    if tensor.is_floating_point() != like.is_floating_point() or tensor.is_complex():
        kind = str(tensor.dtype).removeprefix("torch.")
        wanted = str(like.dtype).removeprefix("torch.")
        raise CheckpointError(f"{what} has '{shown(name)}' as {kind}; expected {wanted}")
    tensor = tensor.detach().to(like.dtype).contiguous()
    if not bool(torch.isfinite(tensor).all()):
        count = int((~torch.isfinite(tensor)).sum())
        raise CheckpointError(
            f"{what} has '{shown(name)}' with {count} of {tensor.numel()} weights that are not finite numbers"
        )
    if name.endswith("running_var") and bool((tensor < 0).any()):
        raise CheckpointError(f"{what} has '{shown(name)}' with a variance below zero")
    return tensor
