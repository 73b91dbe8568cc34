"""Statistics of P_N in a file beside a generator's: NAME.p_n.safetensors, float64, with its fingerprint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from inverters.errors import CheckpointError
from inverters.fitting.p_space import PStatistics, from_moments, generator_statistics
from inverters.generators.plain_pickle import shown
from inverters.generators.small_files import open_regular, parse_json, write_whole

SUFFIX = ".p_n.safetensors"
_KIND = "statistics of P_N"
FEWER = 100_000
"""Random codes where a generator has no such file: they are drawn at the start of a fit."""
_MOST_WIDTH = 1 << 13


def beside(generator: Path) -> Path:
    """Return the path of the statistics of the generator at a path."""
    return generator.with_suffix(SUFFIX)


def save_statistics(path: Path, statistics: PStatistics) -> None:
    """Write statistics to the side and rename: mean [D], and covariance as its lower triangle [D(D+1)/2].

    Raises:
        CheckpointError: a disk error.
    """
    covariance = (statistics.axes * statistics.variances) @ statistics.axes.T
    rows, columns = torch.tril_indices(*covariance.shape)
    tensors = {"mean": statistics.mean, "covariance": covariance[rows, columns]}
    about = {"kind": _KIND, "fingerprint": statistics.fingerprint, "samples": statistics.samples}
    try:
        write_whole(path, save({k: v.contiguous() for k, v in tensors.items()}, {"invid": json.dumps(about)}))
    except OSError as error:
        raise CheckpointError(f"cannot write '{path}': {error.strerror or error}") from error


def load_statistics(path: Path) -> PStatistics:
    """Return the statistics in a file.

    Raises:
        CheckpointError: the file is missing, damaged or of another kind.
    """
    try:
        open_regular(path).close()
        with safe_open(path, framework="pt") as file:
            about = parse_json((file.metadata() or {}).get("invid", "{}"))
            if about.get("kind") != _KIND:
                raise ValueError("it is of another kind")
            mean, triangle = (file.get_tensor(name).clone() for name in ("mean", "covariance"))
        width, fingerprint, samples = len(mean), about["fingerprint"], int(about["samples"])
        if mean.ndim != 1 or not 1 <= width <= _MOST_WIDTH or not isinstance(fingerprint, str):
            raise ValueError("its mean is no code, or its fingerprint no text")
        return from_moments(_finite(mean), _square(_finite(triangle), width), fingerprint, samples)
    except OSError as error:
        raise CheckpointError(f"cannot read '{path}': {error.strerror or error}") from error
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"'{path}' cannot be read as statistics of P_N ({shown(str(error))}); renew it with "
            "'invid calibrate'"
        ) from error


def known_statistics(generator: Any) -> PStatistics:
    """Return the statistics beside a generator's file; those of FEWER random codes where there are none.

    Raises:
        CheckpointError: the file cannot be read.
        FingerprintError: it belongs to another generator.
    """
    path = stored(generator)
    if path is None:
        return generator_statistics(generator, FEWER)
    found = load_statistics(path)
    found.check_generator(generator.card.fingerprint)
    if len(found.mean) != generator.config.w_dim:
        raise CheckpointError(f"'{path}' has codes of {len(found.mean)} numbers; renew it")
    return found


def stored(generator: Any) -> Path | None:
    """Return the path of a generator's statistics; None if it has none."""
    path = None if generator.card.path is None else beside(generator.card.path)
    return path if path is not None and path.exists() else None


def _finite(tensor: Tensor) -> Tensor:
    if tensor.dtype != torch.float64 or not torch.isfinite(tensor).all():
        raise ValueError("its numbers are not float64, or not finite")
    return tensor


def _square(triangle: Tensor, width: int) -> Tensor:
    """Symmetrical matrix [D,D] of its lower triangle. Raises ValueError for another size."""
    if triangle.shape != (width * (width + 1) // 2,):
        raise ValueError(f"its covariance has {list(triangle.shape)} numbers")
    rows, columns = torch.tril_indices(width, width)
    square = triangle.new_empty(width, width)
    square[rows, columns] = triangle
    square[columns, rows] = triangle
    return square
