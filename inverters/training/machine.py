"""What suits this machine: precision of the convolutions and size of a batch, both measured; its signals."""

from __future__ import annotations

import signal
import time

import torch

from inverters.generators.eg3d import Generator
from inverters.training.losses import planes_of
from inverters.training.people_pictures import NUM_PARAMETERS

_CPU_BATCH, _GREATEST_BATCH = 4, 64
_MEMORY_SHARE = 0.7
"""Share of a GPU's memory that a batch may take by the estimate."""


def be_interruptible() -> None:
    """Turn SIGINT and SIGTERM into KeyboardInterrupt from now on, even if the shell had them ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def pick_device(name: str) -> torch.device:
    """Return the device of this name; `auto` is a GPU if there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def synthesis_seconds(generator: Generator, dtype: torch.dtype, repeats: int = 3) -> float:
    """Return the least time of planes of four people, forward and backward, over `repeats` calls."""
    device = next(generator.parameters()).device
    scores = torch.zeros(4, NUM_PARAMETERS, device=device)
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        planes, _ = planes_of(generator, scores, dtype)
        planes.square().mean().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    generator.zero_grad(set_to_none=True)
    return min(times[1:])


def pick_precision(generator: Generator, name: str) -> torch.dtype:
    """Return the dtype of this name; `auto` times the synthesis in bfloat16 and in float32."""
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
    took = {dtype: synthesis_seconds(generator, dtype) for dtype in (torch.float32, torch.bfloat16)}
    best = min(took, key=lambda dtype: took[dtype])
    text = ", ".join(f"{str(d).removeprefix('torch.')} {t * 1e3:.0f} ms" for d, t in took.items())
    print(f"planes of four people: {text}", flush=True)
    return best


def pick_batch(generator: Generator, asked: int, bytes_a_person: int = 0) -> int:
    """Return the number of people in a step: `asked`, or what suits the device.

    Args:
        generator: on the device.
        asked: 0 chooses.
        bytes_a_person: GPU memory that a person takes in a step.
    """
    device = next(generator.parameters()).device
    if asked or device.type != "cuda":
        return asked or _CPU_BATCH
    total = torch.cuda.get_device_properties(device).total_memory
    return max(_CPU_BATCH, min(_GREATEST_BATCH, int(total * _MEMORY_SHARE / max(bytes_a_person, 1))))
