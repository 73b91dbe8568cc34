"""Strict loading of state dicts: names and shapes are the network's, and each weight is a finite number."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from inverters.errors import CheckpointError
from inverters.generators.plain_pickle import shown

_Network = TypeVar("_Network", bound=nn.Module)

_PARALLEL = "module."
"""Prefix of all names in files that were saved through DataParallel."""
_COUNTER = "num_batches_tracked"
"""Counters of batch norms; evaluation does not use them, and files from before torch 0.4.1 lack them."""


def table_with(file: object, what: str, *names: str) -> Mapping[str, Any]:
    """Return what a safe reader gave if it is a table with entries of these names.

    Raises:
        CheckpointError: it is no table, or lacks one of them; the message names those that it has.
    """
    table = file if isinstance(file, Mapping) else {}
    for name in names:
        if name not in table:
            have = ", ".join(shown(key) for key in list(table)[:8]) or type(file).__name__
            raise CheckpointError(f"{what} has no entry '{name}'; found: {have}")
    return table


def entry_or_all(file: object, name: str) -> object:
    """Return the entry of this name where what a safe reader gave is a table that has one, else all of it."""
    return file[name] if isinstance(file, Mapping) and name in file else file


def tensors_of(state: object, what: str) -> dict[str, Tensor]:
    """Return a state dict as tensors by name, without the prefix that DataParallel gives to all names.

    Args:
        state: what a safe reader returned.
        what: what the weights are of, for messages, such as "'psp.pt': its encoder".

    Raises:
        CheckpointError: it is not a table of tensors by name, or is empty.
    """
    if not isinstance(state, Mapping) or not state:
        found = "an empty one" if isinstance(state, Mapping) else type(state).__name__
        raise CheckpointError(f"{what}: expected a table of tensors by name, found {found}")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{what} has '{shown(name)}', a {type(value).__name__} where a tensor by name was expected"
            )
    if all(name.startswith(_PARALLEL) for name in state):
        return {name.removeprefix(_PARALLEL): value for name, value in state.items()}
    return dict(state)


def filled(
    build: Callable[[], _Network], tensors: Mapping[str, Tensor], what: str, unused: Sequence[str] = ()
) -> _Network:
    """Return a network with these weights, as `fill`: in eval mode, without gradients.

    `build` makes it; it is called on torch's meta device, so that nothing is allocated before the weights are
    known to fit. Buffers that no state dict holds stay on that device: the caller computes them again.
    """
    with torch.device("meta"):
        network = build()
    fill(network, tensors, what, unused)
    return network.requires_grad_(False).eval()


def fill(network: nn.Module, tensors: Mapping[str, Tensor], what: str, unused: Sequence[str] = ()) -> None:
    """Replace all parameters and buffers of a network by tensors in the dtypes of its own.

    Args:
        network: on torch's meta device or any other.
        tensors: by name. Those of the network's dtype are used, not copied.
        what: what they are of, for messages.
        unused: regular expressions of whole names that the network does not have and a file may.

    Raises:
        CheckpointError: names, shapes or kinds differ from the network's, or a weight is not a finite number.
            The network is then as it was.
    """
    expected = network.state_dict()
    ignored = re.compile("|".join(unused) or r"(?!)")
    found = {name: tensor for name, tensor in tensors.items() if not ignored.fullmatch(name)}
    for name in expected:
        if name.endswith(_COUNTER):
            found.setdefault(name, torch.zeros((), dtype=torch.int64))
    check_layout(what, expected, found)
    given = {name: checked(tensor, expected[name], name, what) for name, tensor in found.items()}
    network.load_state_dict(given, assign=True)


def check_layout(what: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError unless names and shapes of tensors are those expected."""
    sizes = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    given = {name: tuple(tensor.shape) for name, tensor in found.items()}
    wrong = [name for name in sorted(sizes | given) if sizes.get(name) != given.get(name)]
    if not wrong:
        return
    missing, extra = len(sizes.keys() - given.keys()), len(given.keys() - sizes.keys())
    wanted, has = (str(list(of[wrong[0]])) if wrong[0] in of else "none" for of in (sizes, given))
    raise CheckpointError(
        f"{what} does not fit its architecture: {missing} tensors missing, {extra} unknown, "
        f"{len(wrong) - missing - extra} of another shape; first '{shown(wrong[0])}' "
        f"(expected {wanted}, found {has})"
    )


def checked(tensor: Tensor, like: Tensor, name: str, what: str) -> Tensor:
    """Return a tensor in the dtype of another one, detached and contiguous.

    Raises:
        CheckpointError: it is of another kind (fractions, whole or complex numbers), has an entry that is not
            a finite number, or a variance below zero.
    """
    if tensor.is_floating_point() != like.is_floating_point() or tensor.is_complex():
        kind, wanted = (str(of.dtype).removeprefix("torch.") for of in (tensor, like))
        raise CheckpointError(f"{what} has '{shown(name)}' as {kind}; expected {wanted}")
    tensor = tensor.detach().to(like.dtype).contiguous()
    if bad := int((~torch.isfinite(tensor)).sum()):
        raise CheckpointError(
            f"{what} has '{shown(name)}' with {bad} of {tensor.numel()} weights that are not finite numbers"
        )
    if name.endswith("running_var") and bool((tensor < 0).any()):
        raise CheckpointError(f"{what} has '{shown(name)}' with a variance below zero")
    return tensor
