"""A generator with more channels that draws what a narrower one draws, as the start of further training.

Chen et al. 2016, "Net2Net", widen a network without changing its function. Here new channels have random
weights, and what reads them has zeros, so that they change nothing until they have learned something.
"""

from __future__ import annotations

import torch
from torch import Tensor

from inverters.errors import CheckpointError
from inverters.generators.config import GeneratorConfig
from inverters.generators.eg3d import Generator


@torch.no_grad()
def load_widened(generator: Generator, weights: dict[str, Tensor], config: GeneratorConfig) -> None:
    """Load the weights of another generator, which may have fewer channels in its backbone's blocks.

    Args:
        generator: changed in place; its new channels keep their random weights.
        weights: by name, as in a checkpoint.
        config: of the weights.

    Raises:
        CheckpointError: it has more channels, or differs in more than them; the message names what.
    """
    own = generator.config.to_dict()
    differs = [k for k, v in config.to_dict().items() if v != own[k]]
    if other := sorted(set(differs) - {"channel_base", "channel_max"}):
        raise CheckpointError(f"training cannot begin from a generator of another {', '.join(other)}")
    state = generator.state_dict()
    for name, value in weights.items():
        state[name].copy_(_grown(name, value.float(), state[name]))


def _grown(name: str, old: Tensor, fresh: Tensor) -> Tensor:
    """The tensor `old` in the place of the first channels of `fresh`."""
    if old.shape == fresh.shape:
        return old
    if any(a > b for a, b in zip(old.shape, fresh.shape, strict=True)):
        raise CheckpointError(f"training cannot begin from a generator with more channels: {name}")
    grown = fresh.clone()
    if ".torgb.weight" in name:  # its gain is 1/sqrt of its inputs
        old = old * (fresh.shape[1] / old.shape[1]) ** 0.5
    if name.endswith("weight") and old.ndim == 4:
        grown[: old.shape[0], old.shape[1] :] = 0
    grown[tuple(slice(n) for n in old.shape)] = old
    return grown
