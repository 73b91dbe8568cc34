"""What suits this machine: precision of the convolutions and size of a batch, both measured; its signals."""

from __future__ import annotations

import signal

import torch

from inverters.generators.eg3d import Generator
from inverters.generators.precision import DTYPES, faster, measure

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


def pick_precision(generator: Generator, name: str) -> torch.dtype:
    """Return the dtype of this name; `auto` times a batch of a CPU in bfloat16 and in float32."""
    if name == "auto":
        took = measure(generator, people=_CPU_BATCH)
        text = ", ".join(f"{n} {t * 1e3:.0f} ms" for n, t in took.items())
        print(f"convolutions of {_CPU_BATCH} people: {text}", flush=True)
        name = faster(took)
    return DTYPES[name]


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
