"""Checkpoints of an inversion: one file, written aside and renamed, so that a reader sees a whole one or
none.

The file is safetensors; a JSON text in its header holds the step, the history and the key of the job it
belongs to.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

log = logging.getLogger(__name__)

FILE_NAME = "inversion.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """State after some step: tensors by name, and JSON values."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any] = field(default_factory=dict)


class CheckpointStore:
    """The one checkpoint of one job in one folder. With `folder` None nothing is kept."""

    def __init__(self, folder: Path | None, job: dict[str, Any], name: str = FILE_NAME) -> None:
        self.path = None if folder is None else folder / name
        self.job = json.loads(json.dumps(job))

    def save(self, checkpoint: Checkpoint) -> None:
        """Write to the side, flush to disk, rename. The order of names in the file is fixed."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        header = {"invid": json.dumps({"job": self.job, "meta": checkpoint.meta})}
        # A view of one storage may be saved under two names, which safetensors refuses; each gets its own
        # memory.
        tensors = {k: v.detach().cpu().contiguous().clone() for k, v in sorted(checkpoint.tensors.items())}
        side = self.path.with_suffix(".partial")
        save_file(tensors, side, header)
        with side.open("rb+") as file:
            os.fsync(file.fileno())
        side.replace(self.path)

    def load(self) -> Checkpoint | None:
        """The checkpoint, or None where there is none, it is damaged, or it belongs to another job (both
        logged).
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                header = json.loads((file.metadata() or {}).get("invid", "{}"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        except (SafetensorError, OSError, ValueError) as error:
            log.warning("checkpoint %s cannot be read (%s); starting afresh", self.path, error)
            return None
        if header.get("job") != self.job:
            log.warning("checkpoint %s belongs to another job; starting afresh", self.path)
            return None
        return Checkpoint(tensors, header["meta"])

    def clear(self) -> None:
        """Remove the checkpoint, once its job is done and kept elsewhere."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under `prefix.name`."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix.`, without it."""
    return {k.removeprefix(f"{prefix}."): v for k, v in tensors.items() if k.startswith(f"{prefix}.")}


def random_state(rng: torch.Generator) -> Tensor:
    """State of a random generator, uint8 [n]."""
    return rng.get_state()


def restore_random(rng: torch.Generator, state: Tensor) -> None:
    """Put a random generator back into a stored state."""
    rng.set_state(state)
