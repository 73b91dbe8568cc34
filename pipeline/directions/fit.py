"""`invid directions fit`: random faces, their labels, and one of the methods of inverters/editing."""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.commands.directions import names_in
from pipeline.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from inverters.editing.directions import Direction, Directions

SAMPLES, JUDGED = 8000, 1000
"""Random faces, and how many of them are drawn for the judge unless --samples says."""
UNIT = "one standard deviation of w along it"


def fit(generator: Any, args: argparse.Namespace, on_note: Callable[[str], None]) -> Directions:
    """The directions asked for, each a step of one standard deviation of w along it.

    Raises UserError for options that cannot be met; InverterError from the methods.
    """
    from inverters.editing.directions import Directions

    if args.samples is not None and args.samples < 2:
        raise UserError(f"--samples must be 2 or more, not {args.samples}")
    if args.method != "interfacegan":
        for option in ("condition_on", "names"):
            if getattr(args, option) is not None:
                raise UserError(f"--{option.replace('_', '-')} is for --method interfacegan")
    layers = layers_in(args.layers, generator.num_ws)
    if args.method == "interfacegan":
        found = _interfacegan(generator, args, on_note)
    else:
        found = _components(generator, args, layers)
    if layers is not None:
        found = {name: one.in_layers(layers, generator.num_ws) for name, one in found.items()}
    return Directions(found, generator.card.fingerprint, generator.card.name)


def _components(generator: Any, args: argparse.Namespace, layers: range | None) -> dict[str, Direction]:
    import torch

    from inverters.editing.directions import Direction
    from inverters.editing.ganspace import principal_components
    from inverters.editing.sampling import sample_codes
    from inverters.editing.sefa import factorize, style_weights

    width, samples = generator.config.w_dim, args.samples or SAMPLES
    if not 1 <= args.components <= min(width, samples - 1):
        raise UserError(f"--components goes from 1 to {min(width, samples - 1)}, not {args.components}")
    codes, _ = sample_codes(generator, samples, torch.Generator().manual_seed(args.seed))
    if args.method == "ganspace":
        rows, _ = principal_components(codes, args.components)
        method = f"GANSpace: principal component of w over {samples} random faces"
    else:
        rows, _ = factorize(style_weights(generator, layers or range(generator.num_ws)), args.components)
        method = "SeFa: eigenvector of the weights of the style affines"
    spread = (codes @ rows.T).std(0)
    return {
        f"{'pc' if args.method == 'ganspace' else 'sefa'}{k}": Direction(row * length, UNIT, method)
        for k, (row, length) in enumerate(zip(rows, spread, strict=True))
    }


def _interfacegan(
    generator: Any, args: argparse.Namespace, on_note: Callable[[str], None]
) -> dict[str, Direction]:
    import torch

    from inverters.editing.directions import Direction
    from inverters.editing.interfacegan import conditional, fit_boundary

    codes, scores, source = _labelled(generator, args, on_note)
    names = names_in(args.names, tuple(scores)) if args.names else list(scores)
    if args.condition_on in (None, "all"):
        others = names if args.condition_on else []
    else:
        others = names_in(args.condition_on, tuple(scores))
    rng = torch.Generator().manual_seed(args.seed)
    planes = {name: fit_boundary(codes, scores[name], rng=rng) for name in dict.fromkeys([*names, *others])}
    found: dict[str, Direction] = {}
    for name in names:
        fixed = [planes[other].normal for other in others if other != name]
        normal = planes[name].normal
        if fixed:
            normal = conditional(normal, torch.stack(fixed))
        known = scores[name].isfinite()
        method = f"InterfaceGAN on {int(known.sum())} faces, {source}; "
        method += f"{planes[name].accuracy:.1%} of held-out faces right"
        if fixed:
            left = ", ".join(o for o in others if o != name) if len(fixed) <= 5 else f"{len(fixed)} others"
            method += f"; conditional on {left}"
        found[name] = Direction(normal * (codes @ normal).std(), UNIT, method)
    return found


def _labelled(
    generator: Any, args: argparse.Namespace, on_note: Callable[[str], None]
) -> tuple[Tensor, dict[str, Tensor], str]:
    """Codes [N,w_dim], scores [N] by name, and in words where they are from."""
    import torch

    from inverters.editing.sampling import sample_codes

    rng = torch.Generator().manual_seed(args.seed)
    parameters = generator.card.parameters
    if args.labels == "parameters":
        if not parameters:
            raise UserError(
                f"generator '{generator.card.name}' has no named parameters; give scores with --labels FILE"
            )
        codes, scores = sample_codes(generator, args.samples or SAMPLES, rng)
        return codes, dict(zip(parameters, scores.T, strict=True)), "labelled by their true parameters"
    if args.labels == "judge":
        return _judged(generator, args, rng, on_note)
    if args.samples is not None:
        raise UserError("--samples is for random faces; the faces are those of your --labels file")
    return _from_file(generator, Path(args.labels))


def _judged(
    generator: Any, args: argparse.Namespace, rng: Any, on_note: Callable[[str], None]
) -> tuple[Tensor, dict[str, Tensor], str]:
    """Pictures of random faces, read by the judge, which learnt from procedural heads alone."""
    import torch

    from inverters.editing.sampling import sample_codes
    from inverters.heads.params import PARAMETERS
    from pipeline.directions.strips import draw_codes
    from pipeline.scoring.judge import Judge

    judge, count = Judge(), args.samples or JUDGED
    codes, _ = sample_codes(generator, count, rng)
    parts = []
    for start in range(0, count, 100):
        parts.append(judge.scores(draw_codes(generator, codes[start : start + 100])))
        on_note(f"{start + len(parts[-1])} of {count} faces drawn and judged")
    scores = torch.from_numpy(np.concatenate(parts))
    return codes, {p.name: scores[:, k] for k, p in enumerate(PARAMETERS)}, "labelled by the judge"


def _from_file(generator: Any, path: Path) -> tuple[Tensor, dict[str, Tensor], str]:
    """A user's scores: .csv with a column `seed` (faces of EG3D's gen_samples.py) and one for each attribute,
    or .npz with `codes` [N,w_dim] and one array [N] for each. An empty cell, or NaN, is unknown."""
    import torch

    from inverters.editing.sampling import codes_of_seeds

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
        codes = codes_of_seeds(generator, [int(seed) for seed in first])
    else:
        codes = torch.from_numpy(first).float()
    if codes.ndim != 2 or codes.shape[1] != generator.config.w_dim or not codes.isfinite().all():
        raise UserError(f"--labels {path}: 'codes' must be finite, [N,{generator.config.w_dim}]")
    for name, column in columns.items():
        if column.shape != (len(codes),):
            raise UserError(f"--labels {path}: '{name}' has shape {list(column.shape)}, not [{len(codes)}]")
    scores = {name: torch.from_numpy(column).float() for name, column in columns.items()}
    return codes, scores, f"labelled by {path.name}"


def _csv_columns(path: Path) -> dict[str, Any]:
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
    from inverters.editing.direction_files import numpy_content
    from inverters.errors import CheckpointError

    try:
        found = numpy_content(path)
    except CheckpointError as error:
        raise UserError(f"--labels {path}: no .csv file, and no .npz file of numbers ({error})") from error
    if not isinstance(found, dict) or any(a.dtype.kind not in "fiub" for a in found.values()):
        raise UserError(f"--labels {path}: an .npz file of numbers is needed")
    return {name: np.asarray(array, np.float64) for name, array in found.items()}


def layers_in(text: str | None, num_ws: int) -> range | None:
    """The layers of `A-B` or `A`, both ends included; None for None. Raises UserError."""
    if text is None:
        return None
    fits = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if not fits or not int(fits[1]) <= int(fits[2] or fits[1]) < num_ws:
        raise UserError(f"--layers {text}: give A-B, from 0 to {num_ws - 1}")
    return range(int(fits[1]), int(fits[2] or fits[1]) + 1)
