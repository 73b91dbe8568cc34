"""Checkpoints of an inversion: one safetensors file, replaced by a rename, and the one before it.

A reader sees a whole file or none, and the one before is used if the newest is damaged. The header holds a
JSON text (step, history, the job it belongs to) and a SHA-256 over that text and all tensors, since
safetensors does not notice a flipped bit.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from inverters.base import Inversion, InversionProblem
from inverters.generators.small_files import parse_json

log = logging.getLogger(__name__)

FILE_NAME = "inversion.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """State after some step: tensors by name, and JSON values."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any] = field(default_factory=dict)


class CheckpointStore:
    """The newest checkpoint of one job in one folder, and the one before; `folder` None keeps none."""

    def __init__(self, folder: Path | None, job: dict[str, Any], name: str = FILE_NAME) -> None:
        self.path = None if folder is None else folder / name
        self.job = json.loads(json.dumps(job))

    @property
    def previous(self) -> Path | None:
        """Path of the checkpoint before the newest."""
        return None if self.path is None else self.path.with_suffix(f".previous{self.path.suffix}")

    def save(self, checkpoint: Checkpoint) -> None:
        """Write to the side, flush to disk, rename. Tensors are in order of name."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"job": self.job, "meta": checkpoint.meta})
        # Cloned: safetensors refuses views of one storage under two names.
        tensors = {k: v.detach().cpu().contiguous().clone() for k, v in sorted(checkpoint.tensors.items())}
        side = self.path.with_suffix(".partial")
        save_file(tensors, side, {"invid": text, "sha256": _digest(text, tensors)})
        with side.open("rb+") as file:
            os.fsync(file.fileno())
        if self.path.exists() and self.previous is not None:
            self.path.replace(self.previous)
        side.replace(self.path)

    def load(self) -> Checkpoint | None:
        """Return the newest undamaged checkpoint of this job, or None. Others are logged."""
        for path in (self.path, self.previous):
            if path is not None and path.is_file() and (found := self._read(path)) is not None:
                return found
        return None

    def _read(self, path: Path) -> Checkpoint | None:
        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            text = header.get("invid", "")
            if header.get("sha256") != _digest(text, tensors):
                raise ValueError("its checksum is wrong")
            found = parse_json(text)
        except (SafetensorError, OSError, ValueError) as error:
            log.warning("checkpoint %s is damaged (%s); it is not used", path, error)
            return None
        if found["job"] != self.job:
            log.warning("checkpoint %s belongs to another job; it is not used", path)
            return None
        return Checkpoint(tensors, found["meta"])


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    """SHA-256 over the header's text, and name, type, shape and bytes of every tensor in order of name."""
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\0{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def job_of(
    method: str,
    generator: Any,
    problem: InversionProblem,
    settings: Any,
    seed: int,
    start: Inversion | None = None,
) -> dict[str, Any]:
    """Return what a checkpoint must agree on to be continued, as JSON values.

    Args:
        method: name of the method or stage.
        generator: the job's; its fingerprint is recorded.
        problem: the job's; frames, and whether there are masks, are recorded.
        settings: a dataclass.
        seed: of the job.
        start: the inversion that the job begins from; a digest of its tensors is recorded.
    """
    job = {
        "method": method,
        "settings": asdict(settings),
        "seed": seed,
        "generator": generator.card.fingerprint,
        "frames": [int(f) for f in problem.frames],
        "masks": problem.occluder_masks is not None,
    }
    if start is None:
        return job
    tensors = {"ws": start.ws} | with_prefix("cameras", start.cameras)
    tensors |= with_prefix("latent", start.latent) | with_prefix("seen", start.seen)
    tensors |= with_prefix("ood", start.ood) | with_prefix("generator", start.generator)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return job | {"start": _digest(f"{start.method} {start.preset}", tensors)}


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under `prefix.name`."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix.`, without it."""
    return {k.removeprefix(f"{prefix}."): v for k, v in tensors.items() if k.startswith(f"{prefix}.")}


def random_state(rng: torch.Generator) -> Tensor:
    """Return the state of a random generator, uint8 [n]."""
    return rng.get_state()


def restore_random(rng: torch.Generator, state: Tensor) -> None:
    """Set a random generator to a stored state."""
    rng.set_state(state)
