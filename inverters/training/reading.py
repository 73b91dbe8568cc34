"""Views for the next step, read from the stored set while the present step runs."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import torch

from inverters.training.people_pictures import varied
from inverters.training.stored_set import StoredPeople, Views

SEED_STRIDE = 20_000_003
"""Steps between the seeds of two runs; torch's generator reads 32 bits of a seed."""

_REFRESH_EVERY = 50


def step_rng(seed: int, step: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return the source of the draws of one step of the run with this seed."""
    return torch.Generator(device=device).manual_seed((seed * SEED_STRIDE + step) % 2**32)


class Reader:
    """Reads the views of a step in a thread, each person before a new backdrop, half of them mirrored.

    They depend on seed, step and the stored set alone.
    """

    def __init__(
        self,
        stored: StoredPeople,
        seed: int,
        people: int,
        views: int,
        device: torch.device,
        stride: int = 1,
    ) -> None:
        """stride: from one step that is asked for to the next."""
        self.stored, self.seed, self.people, self.views, self.device = stored, seed, people, views, device
        self._stride = stride
        self._pool = ThreadPoolExecutor(1)
        self._next: tuple[int, Future[Views]] | None = None

    def at(self, step: int) -> Views:
        """Return the views of a step, on the device."""
        waiting = self._next
        if waiting is None or waiting[0] != step:
            waiting = (step, self._pool.submit(self._read, step))
        after = step + self._stride
        self._next = (after, self._pool.submit(self._read, after))
        return {name: value.to(self.device, non_blocking=True) for name, value in waiting[1].result().items()}

    def _read(self, step: int) -> Views:
        if step // self._stride % _REFRESH_EVERY == 0:
            self.stored.refresh()
        rng = step_rng(self.seed, step)
        views = varied(self.stored.draw(self.people, self.views, rng), rng)
        return {k: v.pin_memory() for k, v in views.items()} if self.device.type == "cuda" else views
