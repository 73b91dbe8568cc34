"""The precision of a job's convolutions: as asked, or the faster on this machine, measured once and kept."""

from __future__ import annotations

import contextlib
import json
import platform
from pathlib import Path
from typing import Any

from inverters.generators.small_files import parse_json
from storage.files import read_bounded, replacing

FILE = "precision.json"
"""In the folder of a cache: seconds by precision of each machine and generator measured."""
_MOST_BYTES = 1 << 20
_MOST_ROWS = 200


def precision_of(generator: Any, asked: str, folder: Path | None = None) -> str:
    """Return the name of the precision for a generator.

    Args:
        generator: on its device.
        asked: float32, bfloat16, or auto, the faster of the two by `generators.precision.measure`.
        folder: where measurements are kept; a file there that is damaged or cannot be written costs a new
            measurement alone.
    """
    if asked != "auto":
        return asked
    from inverters.generators.precision import faster, measure

    path = None if folder is None else folder / FILE
    rows = _read(path)
    key = _machine(generator)
    if key not in rows:
        rows[key] = {name: round(seconds, 5) for name, seconds in measure(generator).items()}
        _write(path, rows)
    return faster(rows[key])


def _machine(generator: Any) -> str:
    """What a measurement depends on: machine, device, threads, torch, and the generator's shape."""
    import torch

    device = generator.backbone.mapping.w_avg.device
    where = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    )
    config = generator.config
    shape = config.channel_base, config.channel_max, config.plane_resolution, config.superresolution
    return " ".join(map(str, (platform.node(), where, torch.__version__, *shape)))


def _read(path: Path | None) -> dict[str, dict[str, float]]:
    """The rows of a file that make sense."""
    found: dict[str, dict[str, float]] = {}
    if path is None:
        return found
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        for key, row in parse_json(read_bounded(path, _MOST_BYTES).decode()).items():
            with contextlib.suppress(ValueError, TypeError, KeyError):
                took = {name: float(row[name]) for name in ("float32", "bfloat16")}
                if all(0 < seconds < 1e6 for seconds in took.values()):
                    found[str(key)] = took
    return found


def _write(path: Path | None, rows: dict[str, dict[str, float]]) -> None:
    if path is None:
        return
    kept = dict(list(rows.items())[-_MOST_ROWS:])
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as side:
            side.write_text(json.dumps(kept, indent=1) + "\n")
