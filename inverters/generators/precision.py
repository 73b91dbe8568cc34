"""Precision of a generator's convolutions, those of the backbone and of super-resolution, and its cost.

In bfloat16 weights, styles and features have 8 bits of mantissa; the images of the blocks, which add up to
planes and pictures, and features of rays stay float32. Processors with AMX or AVX-512 BF16 and GPUs multiply
it faster, others far slower: `measure` tells.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""Precisions by name."""
_GAIN = 0.9
"""bfloat16 is chosen where it takes at most this share of float32's time."""


def convolutions(like: Tensor, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Return the context in which convolutions on the device of `like` run in `dtype`."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(like.device.type, dtype)


def measure(generator: Any, people: int = 1, repeats: int = 3) -> dict[str, float]:
    """Return the least seconds of planes and super-resolution, forward and backward, by precision.

    Args:
        generator: its precision is left as it is.
        people: codes in a call.
        repeats: calls of each, after one that does not count.
    """
    before, took = generator.precision, {}
    try:
        for name, dtype in DTYPES.items():
            generator.precision = dtype
            took[name] = min([_seconds(generator, people) for _ in range(repeats + 1)][1:])
    finally:
        generator.precision = before
    return took


def faster(took: dict[str, float]) -> str:
    """Return the name of the precision to take, from `measure`."""
    return "bfloat16" if took["bfloat16"] <= _GAIN * took["float32"] else "float32"


def _seconds(generator: Any, people: int) -> float:
    config, mean = generator.config, generator.backbone.mapping.w_avg
    ws = mean.expand(people, config.num_ws, -1).clone().requires_grad_()
    side = config.neural_rendering_resolution
    features = torch.zeros(people, config.feature_channels, side, side, device=mean.device)
    began = time.perf_counter()
    with torch.enable_grad():
        made = generator.planes(ws).square().mean() + generator.superresolve(features, ws).square().mean()
        open_to_gradients = [p for p in generator.parameters() if p.requires_grad]
        torch.autograd.grad(made, [ws, *open_to_gradients], allow_unused=True)
    if mean.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began
