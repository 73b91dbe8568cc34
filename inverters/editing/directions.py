"""Directions in w: found against known parameters, kept in files that say which generator they belong to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from inverters.errors import CheckpointError, FingerprintError

BATCH = 256


@torch.no_grad()
def fit_directions(
    generator: Any,
    names: Sequence[str],
    scores_to_z: Callable[[Tensor], Tensor],
    n: int = 512,
    generator_rng: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """One direction [w_dim] for each parameter, of one standard deviation of it.

    The mean over `n` random heads of (w(scores + e_k) - w(scores - e_k)) / 2: the central difference of the
    mapping, so that what other parameters do cancels exactly, which a regression on random heads would only
    approach.

    Args:
        names: the parameters, in the order of a row of scores [n,len(names)], standard normal.
        scores_to_z: scores [n,P] to z [n,z_dim].
    """
    rng = generator_rng or torch.Generator().manual_seed(0)
    device = generator.backbone.mapping.w_avg.device
    scores = torch.randn(n, len(names), generator=rng).to(device)
    found: dict[str, Tensor] = {}
    for k, name in enumerate(names):
        step = torch.zeros(len(names), device=device)
        step[k] = 1.0
        total = torch.zeros(generator.config.w_dim, device=device)
        for part in scores.split(BATCH):
            above = generator.mapping(scores_to_z(part + step))[:, 0]
            below = generator.mapping(scores_to_z(part - step))[:, 0]
            total += ((above - below) / 2).sum(0)
        found[name] = (total / n).cpu()
    return found


def save_directions(path: Path, directions: Mapping[str, Tensor], fingerprint: str) -> None:
    """Write directions with the fingerprint of their generator: safetensors with a header, written aside and
    renamed.
    """
    header = {"invid": json.dumps({"kind": "directions", "fingerprint": fingerprint})}
    side = path.with_suffix(".partial")
    save_file({k: v.detach().cpu().float().contiguous().clone() for k, v in directions.items()}, side, header)
    side.replace(path)


def load_directions(path: Path, generator: Any, allow_unmarked: bool = True) -> dict[str, Tensor]:
    """Directions by name, each [w_dim] or [num_ws,w_dim], for this generator.

    Reads our own files (.safetensors), and .npz (by name) or .npy (one direction, named after the file) as
    other projects publish them: (w_dim,), (1,w_dim), (num_ws,w_dim) or (1,num_ws,w_dim). Nothing in a file is
        ever run.

    Raises:
        FingerprintError: the file belongs to another generator, or does not say and `allow_unmarked` is
        False.
        CheckpointError: missing, damaged, holds pickled objects, or of a shape that does not fit the
        generator.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file of directions at '{path}'")
    fingerprint = None
    if path.suffix == ".safetensors":
        arrays, fingerprint = _read_safetensors(path)
    elif path.suffix in (".npy", ".npz"):
        arrays = _read_numpy(path)
    else:
        raise CheckpointError(f"'{path}' is not a file of directions: .safetensors, .npz or .npy is needed")
    own = generator.card.fingerprint
    if fingerprint is None and not allow_unmarked:
        raise FingerprintError(
            f"'{path}' does not say which generator it belongs to; the one in use is {own[:12]}"
        )
    if fingerprint is not None and fingerprint != own:
        raise FingerprintError(
            f"the directions in '{path}' belong to generator {fingerprint[:12]}, "
            f"but the one in use is {own[:12]}"
        )
    return {name: _shaped(path, name, array, generator) for name, array in arrays.items()}


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], str | None]:
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("invid", "{}"))
        return load_file(path), header.get("fingerprint")
    except (SafetensorError, ValueError, OSError) as error:
        raise CheckpointError(f"'{path}' cannot be read as directions: {error}") from error


def _read_numpy(path: Path) -> dict[str, Tensor]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray) != (path.suffix == ".npy"):
            raise ValueError("its content is not what its name says")
        arrays = {path.stem: loaded} if path.suffix == ".npy" else {k: loaded[k] for k in loaded.files}
    except (ValueError, OSError, EOFError) as error:
        # A torch archive with the wrong suffix, or an array of pickled objects, ends here too.
        raise CheckpointError(f"'{path}' is not a plain numpy array: {error}") from error
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            raise CheckpointError(
                f"direction '{name}' in '{path}' holds {array.dtype}, not numbers with a fraction"
            )
    return {k: torch.from_numpy(np.ascontiguousarray(v, dtype=np.float32)) for k, v in arrays.items()}


def _shaped(path: Path, name: str, array: Tensor, generator: Any) -> Tensor:
    rows, width = generator.num_ws, generator.config.w_dim
    squeezed = array.squeeze(0) if array.ndim > 1 and array.shape[0] == 1 else array
    if squeezed.shape == (width,) or squeezed.shape == (rows, width):
        return squeezed
    raise CheckpointError(
        f"direction '{name}' in '{path}' has shape {list(array.shape)}; this generator needs [{width}] or "
        f"[{rows},{width}] (18 rows: made for a 2D StyleGAN2)"
    )
