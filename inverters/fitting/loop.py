"""The loop that all optimisations share: steps, history of losses, checkpoints, progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Protocol

import torch
from torch import Tensor

from inverters.base import OnStep
from inverters.fitting.checkpoints import (
    Checkpoint,
    CheckpointStore,
    random_state,
    restore_random,
    under_prefix,
    with_prefix,
)
from inverters.fitting.row_adam import RowAdam
from inverters.memory import activations, parts

CHECKPOINT_SECONDS = 20.0
"""Time between checkpoints, and the most work that a killed process loses. Writing one takes about 0.2 s."""


def backward(
    count: int, device: torch.device, losses_of: Callable[[slice], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Accumulate the gradients of the sum of all losses of `count` frames, in parts that fit the memory.

    Args:
        count: number of frames.
        device: where the losses are computed.
        losses_of: gives the losses of a slice of the frames by name, each a mean over them.

    Returns:
        The losses by name, each a mean over all frames.
    """
    found: dict[str, Tensor] = {}
    for part in parts(count):
        share = (part.stop - part.start) / count
        with activations(device):
            terms = losses_of(part)
            total = share * torch.stack(list(terms.values())).sum()
        total.backward()
        for name, value in terms.items():
            found[name] = found.get(name, 0) + share * value.detach()
    return found


class Stage(Protocol):
    """One optimisation. `state` is all that it needs beside its arguments to continue."""

    name: str
    steps: int
    rng: torch.Generator

    def step(self, i: int) -> dict[str, Tensor]:
        """Do step number `i`; return the losses by name."""

    def finished(self) -> bool:
        """Whether the remaining steps can be left out."""

    def state(self) -> dict[str, Tensor]:
        """Return the state as tensors by name."""

    def restore(self, state: dict[str, Tensor]) -> None:
        """Load the state of an earlier run of the same job."""


class TableStage:
    """A stage whose state is in tables that Adam updates."""

    def tables(self) -> Mapping[str, RowAdam]:
        """Return the tables by name."""
        raise NotImplementedError

    def finished(self) -> bool:
        """Whether the remaining steps can be left out; depends on the state alone."""
        return False

    def state(self) -> dict[str, Tensor]:
        """Return parameters and optimiser state by name."""
        found: dict[str, Tensor] = {}
        for name, table in self.tables().items():
            found |= with_prefix(name, table.state())
        return found

    def restore(self, state: dict[str, Tensor]) -> None:
        """Load the state of an earlier run of the same job."""
        for name, table in self.tables().items():
            table.restore(under_prefix(name, state))


class Run:
    """Runs the stages of one job in turn, from its checkpoint if there is one.

    `before` and `total` place the job's steps within those reported to `on_step`.
    """

    def __init__(
        self,
        store: CheckpointStore,
        on_step: OnStep | None,
        total: int,
    ) -> None:
        self.store, self.on_step, self.total = store, on_step, total
        self.saved_at = monotonic()
        self.history: dict[str, list[float]] = {}
        self.kept: dict[str, Tensor] = {}
        """Results of earlier stages, saved with every later checkpoint."""
        self.found: Checkpoint | None = store.load()
        self.before = 0
        self.resumed_at: int | None = None
        if self.found is not None:
            self.history = self.found.meta["history"]
            self.resumed_at = self.found.meta["before"] + self.found.meta["step"]

    def is_past(self, name: str) -> bool:
        """Whether the checkpoint lies in a stage after `name`, whose results it then holds."""
        return self.found is not None and name in self.found.meta["past"]

    def results(self, name: str) -> dict[str, Tensor]:
        """Return the results of a stage that the checkpoint is past."""
        return under_prefix(name, under_prefix("kept", self.found.tensors if self.found else {}))

    def keep(self, name: str, steps: int, results: dict[str, Tensor]) -> None:
        """Finish a stage: its results go into every later checkpoint."""
        self.kept |= with_prefix(name, results)
        self.before += steps

    def run(self, stage: Stage) -> None:
        """Do the steps of a stage that are not done yet, until it is finished."""
        start = 0
        if self.found is not None and self.found.meta["stage"] == stage.name:
            stage.restore(under_prefix("stage", self.found.tensors))
            restore_random(stage.rng, self.found.tensors["rng"])
            start = self.found.meta["step"]
        for i in range(start, stage.steps):
            if stage.finished():
                break
            losses = {k: float(v) for k, v in stage.step(i).items()}
            for name, value in losses.items():
                self.history.setdefault(f"{stage.name}/{name}", []).append(value)
            if monotonic() - self.saved_at >= CHECKPOINT_SECONDS or i + 1 == stage.steps or stage.finished():
                self.save(stage, i + 1)
            if self.on_step is not None:
                self.on_step(self.before + i + 1, self.total, losses)

    def save(self, stage: Stage, step: int) -> None:
        """Write a checkpoint after `step` steps of `stage`."""
        tensors = with_prefix("stage", stage.state()) | with_prefix("kept", self.kept)
        tensors["rng"] = random_state(stage.rng)
        meta: dict[str, Any] = {
            "stage": stage.name,
            "step": step,
            "before": self.before,
            "past": sorted({name.split(".")[0] for name in self.kept}),
            "history": self.history,
        }
        self.store.save(Checkpoint(tensors, meta))
        self.saved_at = monotonic()
