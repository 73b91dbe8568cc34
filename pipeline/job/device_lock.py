"""One stage at a time on each CUDA device, across all jobs of a machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.job.caches import default_cache
from storage.locks import FileLock


@contextmanager
def turn_on(
    device: str, on_wait: Callable[[], None] | None = None, folder: Path | None = None
) -> Iterator[None]:
    """Hold a device for the time of a `with` block; processors are shared, and need no turn.

    A lock on a file, which the kernel frees in the moment its holder dies. `on_wait` is called once if
    another job has the device.
    """
    if not device.startswith("cuda"):
        yield
        return
    folder = default_cache() / "devices" if folder is None else folder
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / name_of(device))
    if not lock.acquire(wait=False):
        if on_wait is not None:
            on_wait()
        lock.acquire(wait=True)
    try:
        yield
    finally:
        lock.release()


def name_of(device: str) -> str:
    """The device's own name, which does not depend on what CUDA_VISIBLE_DEVICES lets a process see."""
    import torch

    number = int(device.partition(":")[2] or 0)
    try:
        return f"gpu-{torch.cuda.get_device_properties(number).uuid}"
    except (AssertionError, AttributeError, RuntimeError):
        return f"gpu-{number}"
