"""The state of a training run on disk: safetensors files under 16 MB and a JSON file, in one folder.

A new state is written beside the old one, which is then renamed away.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from inverters.errors import CheckpointError
from inverters.generators.small_files import read_json

MAX_FILE_BYTES = 15_000_000


def save_state(folder: Path, tensors: dict[str, Tensor], info: dict[str, Any]) -> None:
    """Write `tensors` and `info` to `folder`, in files of at most MAX_FILE_BYTES or one larger tensor."""
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    shards: list[dict[str, Tensor]] = [{}]
    used = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if used and used + size > MAX_FILE_BYTES:
            shards.append({})
            used = 0
        shards[-1][name] = tensor.detach().cpu().contiguous()
        used += size
    for k, shard in enumerate(shards):
        save_file(shard, fresh / f"state-{k:02d}.safetensors")
    (fresh / "state.json").write_text(json.dumps({"files": len(shards), **info}, indent=1))
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read what `save_state` wrote; None if there is no run in `folder`.

    Raises:
        CheckpointError: the state is damaged.
    """
    if not (folder / "state.json").exists():
        old = folder.with_name(folder.name + ".old")
        if not (old / "state.json").exists():
            return None
        folder = old  # killed between the two renames of save_state
    try:
        info = read_json(folder / "state.json")
        tensors: dict[str, Tensor] = {}
        for k in range(info.pop("files")):
            tensors |= load_file(folder / f"state-{k:02d}.safetensors")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise CheckpointError(
            f"the training state in {folder} cannot be read ({error}); remove it to start anew"
        ) from error
    return tensors, info


def optimiser_tensors(optimiser: torch.optim.Optimizer, names: list[str]) -> dict[str, Tensor]:
    """Return Adam's moments and step counts by parameter name (`adam.NAME.exp_avg` ...)."""
    state = optimiser.state_dict()["state"]
    return {f"adam.{names[k]}.{key}": value for k, entry in state.items() for key, value in entry.items()}


def restore_optimiser(optimiser: torch.optim.Optimizer, names: list[str], tensors: dict[str, Tensor]) -> None:
    """Load the moments and step counts that `optimiser_tensors` returned.

    Moments get the memory layout of their parameters, which a fused optimiser takes for granted.
    """
    state = optimiser.state_dict()
    keys = ("step", "exp_avg", "exp_avg_sq")
    state["state"] = {
        k: {key: tensors[f"adam.{name}.{key}"] for key in keys}
        for k, name in enumerate(names)
        if f"adam.{name}.step" in tensors
    }
    optimiser.load_state_dict(state)
    for parameter, entry in optimiser.state.items():
        for key in keys[1:]:
            entry[key] = torch.empty_like(parameter).copy_(entry[key])


def trained(before: Mapping[str, float], steps: int, seconds: float) -> dict[str, float]:
    """Return `steps` and `hours` of a run for a card, with those of what it began at (its card's, or {})."""
    hours = before.get("hours", 0.0) + seconds / 3600
    return {"steps": int(before.get("steps", 0)) + steps, "hours": round(hours, 3)}
