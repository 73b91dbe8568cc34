"""Whether training a network can change all of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def reaches(network: nn.Module, *outputs: Tensor, but: tuple[str, ...] = ()) -> None:
    """Assert that each parameter has a gradient of a random weighting of the outputs, and not of zeros.

    `but`: beginnings of the names of parameters that have none.
    """
    rng = torch.Generator().manual_seed(1)
    loss = sum((found * torch.randn(found.shape, generator=rng)).sum() for found in outputs)
    assert isinstance(loss, Tensor)
    loss.backward()
    without = {n for n, p in network.named_parameters() if p.grad is None or not bool((p.grad != 0).any())}
    expected = {name for name, _ in network.named_parameters() if name.startswith(but)}
    assert without == expected, without ^ expected
