"""Faces with scores to fit a boundary to: true parameters, the judge's readings, or a user's file."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

SAMPLES, JUDGED = 8000, 1000
"""Default number of random faces, without and with the judge, which has to see each one rendered."""
_RENDERED_AT_ONCE = 100


@dataclass(frozen=True)
class LabelledFaces:
    """codes [N,w_dim]; scores: by attribute, [N], NaN where unknown; source: where the scores are from.

    z [N,z_dim] of the codes, None where it is not known.
    """

    codes: Tensor
    scores: dict[str, Tensor]
    source: str
    z: Tensor | None


def labelled_faces(
    generator: Any, labels: str, samples: int | None, seed: int, on_note: Callable[[str], None]
) -> LabelledFaces:
    """Sample or read faces of `generator` and their scores.

    labels: `parameters`, `judge`, or the path of a score file (`read_scores`). samples: number of random
    faces, None for the default. on_note is called with a line of progress. Raises UserError.
    """
    import torch

    from inverters.editing.sampling import mapped
    from inverters.fitting.latents import random_z

    rng = torch.Generator().manual_seed(seed)
    parameters = generator.card.parameters
    if labels == "parameters":
        if not parameters:
            raise UserError(
                f"generator '{generator.card.name}' has no named parameters; give scores with --labels FILE"
            )
        z = random_z(generator, samples or SAMPLES, rng)
        named = dict(zip(parameters, z[:, : len(parameters)].T, strict=True))
        return LabelledFaces(mapped(generator, z), named, "labelled by their true parameters", z)
    if labels == "judge":
        return _judged_faces(generator, samples or JUDGED, rng, on_note)
    if samples is not None:
        raise UserError("--samples is for random faces; the faces are those of your --labels file")
    return read_scores(generator, Path(labels))


def _judged_faces(generator: Any, count: int, rng: Any, on_note: Callable[[str], None]) -> LabelledFaces:
    """Render `count` random faces and let the judge, trained on made-up people alone, score them."""
    import torch

    from inverters.editing.sampling import mapped
    from inverters.fitting.latents import random_z
    from inverters.people.params import PARAMETERS
    from pipeline.directions.strips import draw_codes
    from pipeline.scoring.judge import Judge

    judge = Judge()
    z = random_z(generator, count, rng)
    codes = mapped(generator, z)
    parts = []
    for start in range(0, count, _RENDERED_AT_ONCE):
        images = draw_codes(generator, codes[start : start + _RENDERED_AT_ONCE])
        parts.append(judge.scores(images))
        on_note(f"{start + len(parts[-1])} of {count} faces drawn and judged")
    scores = torch.from_numpy(np.concatenate(parts))
    named = {p.name: scores[:, k] for k, p in enumerate(PARAMETERS)}
    return LabelledFaces(codes, named, "labelled by the judge", z)


def read_scores(generator: Any, path: Path) -> LabelledFaces:
    """Read a user's scores of faces.

    A .csv has a column `seed` (faces of EG3D's gen_samples.py) and one for each attribute; an .npz has
    `codes` [N,w_dim] and one array [N] for each attribute. An empty cell, or NaN, is unknown. Raises
    UserError.
    """
    import torch

    from inverters.editing.sampling import mapped, z_of_seeds

    if not path.is_file():
        raise UserError(f"--labels {path}: no such file; give parameters, judge, or a .csv or .npz file")
    columns = _csv_columns(path) if path.suffix == ".csv" else _npz_columns(path)
    key = "seed" if path.suffix == ".csv" else "codes"
    if key not in columns or len(columns) < 2:
        raise UserError(f"--labels {path}: '{key}' and at least one column of scores are needed")
    first = columns.pop(key)
    if key == "seed":
        if not (np.isfinite(first) & (first >= 0) & (first < 2**32) & (first % 1 == 0)).all():
            raise UserError(f"--labels {path}: a seed is a whole number from 0 to {2**32 - 1}")
        z = z_of_seeds(generator, [int(seed) for seed in first])
        codes = mapped(generator, z)
    else:
        z = None
        codes = torch.from_numpy(first).float()
    if codes.ndim != 2 or codes.shape[1] != generator.config.w_dim or not codes.isfinite().all():
        raise UserError(f"--labels {path}: 'codes' must be finite, [N,{generator.config.w_dim}]")
    for name, column in columns.items():
        if column.shape != (len(codes),):
            raise UserError(f"--labels {path}: '{name}' has shape {list(column.shape)}, not [{len(codes)}]")
    scores = {name: torch.from_numpy(column).float() for name, column in columns.items()}
    return LabelledFaces(codes, scores, f"labelled by {path.name}", z)


def _csv_columns(path: Path) -> dict[str, Any]:
    """Columns float64 [N] by name of a .csv file with a header line."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            names = [name.strip() for name in next(reader, [])]
            rows = [row for row in reader if row]
        if any(len(row) != len(names) for row in rows):
            raise ValueError(f"not every line has {len(names)} cells")
        cells = np.array([[float(c) if c.strip() else np.nan for c in row] for row in rows], np.float64)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"--labels {path}: cannot be read as a table of numbers ({error})") from error
    if not len(cells) or len(set(names)) != len(names):
        raise UserError(f"--labels {path}: it has no lines, or two columns of one name")
    return dict(zip(names, cells.T, strict=True))


def _npz_columns(path: Path) -> dict[str, Any]:
    """Arrays float64 by name of an .npz file."""
    from inverters.editing.direction_files import numpy_content
    from inverters.errors import CheckpointError

    try:
        found = numpy_content(path)
    except CheckpointError as error:
        raise UserError(f"--labels {path}: no .csv file, and no .npz file of numbers ({error})") from error
    if not isinstance(found, dict) or any(a.dtype.kind not in "fiub" for a in found.values()):
        raise UserError(f"--labels {path}: an .npz file of numbers is needed")
    return {name: np.asarray(array, np.float64) for name, array in found.items()}
