"""How much of each named expression of a true person a reader of blendshapes sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.drawn_people import REST, pixels, true_picture, with_values
from inverters.people.expressions import actions_of
from inverters.people.params import to_values
from pipeline.scoring.blendshapes import NAMES, BlendshapeReader

Floats = npt.NDArray[np.floating[Any]]

EXPRESSIONS: Mapping[str, tuple[str, tuple[float, ...]]] = {
    "smile": ("smile", (0.3, 0.6, 1.0)),
    "corners down": ("smile", (-0.3,)),
    "mouth open": ("mouth_open", (0.7, 0.85, 1.0)),
    "blink": ("blink", (0.8, 0.9, 1.0)),
    "gaze to the right": ("gaze_x", (0.4, 1.0)),
    "gaze to the left": ("gaze_x", (-0.4, -1.0)),
    "gaze up": ("gaze_y", (0.4, 1.0)),
    "gaze down": ("gaze_y", (-0.4, -1.0)),
    "brows up": ("brows", (0.4, 1.0)),
    "brows down": ("brows", (-0.4, -1.0)),
    "frown": ("frown", (0.87, 1.0)),
    "surprise": ("surprise", (0.9, 1.0)),
    "pucker": ("pucker", (0.9, 1.0)),
    "squint": ("squint", (0.87, 1.0)),
}
"""Parameter and its values, the strongest last."""
_SEEN = 0.08
"""A blendshape counts as moved from this change on."""


def true_shapes(scores: Tensor) -> Floats:
    """Blendshapes [N,len(NAMES)] of the people with these scores [N,P] as their makers moved them."""
    actions = actions_of(to_values(scores))
    rows = [actions[n].flatten() if n in actions else torch.zeros(len(scores)) for n in NAMES]
    return torch.stack(rows, dim=1).numpy()


def regression(true: Floats, seen: Floats) -> tuple[float | None, float | None]:
    """Slope through the origin and correlation of `seen` [N] over `true` [N]; None where undefined."""
    known = np.isfinite(true) & np.isfinite(seen)
    x, y = true[known].astype(np.float64), seen[known].astype(np.float64)
    if len(x) < 2 or not (x * x).sum() > 1e-9:
        return None, None
    slope = float((x * y).sum() / (x * x).sum())
    varied = x.std() > 1e-6 and y.std() > 1e-6
    return slope, float(np.corrcoef(x, y)[0, 1]) if varied else None


def read(reader: BlendshapeReader, scores: Tensor, yaw: float = 0.0) -> Floats:
    """Blendshapes [len(NAMES)] read in the true picture of one person [P]; NaN without a face."""
    found = reader.read(pixels(true_picture(scores, yaw).image))
    return np.full(len(NAMES), np.nan, np.float32) if found is None else found


def expressions(reader: BlendshapeReader, scores: Tensor) -> dict[str, Any]:
    """What the reader sees of each of EXPRESSIONS in people with these scores [N,P], by expression.

    The change from the same person at rest: `levels` has the mean change read at each value, for the
    blendshapes that are moved in truth and for others that seem to; `actions` compares truth and reading over
    people and values by slope (through the origin) and correlation.
    """
    scores = with_values(scores, **REST)
    rest = np.stack([read(reader, row) for row in scores])
    true_rest = true_shapes(scores)
    found: dict[str, Any] = {"rest": _strong(rest[np.isfinite(rest).all(1)])}
    for name, (parameter, values) in EXPRESSIONS.items():
        true, seen, levels = [], [], {}
        for value in values:
            moved = with_values(scores, **{parameter: value})
            true.append(true_shapes(moved) - true_rest)
            seen.append(np.stack([read(reader, row) for row in moved]) - rest)
            levels[f"{value:g}"] = _level(true[-1], seen[-1])
        every, read_all = np.concatenate([0 * true_rest, *true]), np.concatenate([0 * rest, *seen])
        actions = {}
        for k, action in enumerate(NAMES):
            if np.abs(every[:, k]).max() > 0.02:
                slope, correlation = regression(every[:, k], read_all[:, k])
                actions[action] = {"slope": _rounded(slope), "correlation": _rounded(correlation)}
        found[name] = {"parameter": parameter, "levels": levels, "actions": actions}
    return found


def _level(true: Floats, seen: Floats) -> dict[str, dict[str, float]]:
    """Mean change in truth and as read, of blendshapes in which either is not small."""
    known = seen[np.isfinite(seen).all(1)]
    means = true.mean(0), known.mean(0) if len(known) else np.zeros(len(NAMES))
    return {
        name: {"true": round(float(means[0][k]), 3), "read": round(float(means[1][k]), 3)}
        for k, name in enumerate(NAMES)
        if max(abs(means[0][k]), abs(means[1][k])) > _SEEN
    }


def _strong(shapes: Floats) -> dict[str, float]:
    means = shapes.mean(0) if len(shapes) else np.zeros(len(NAMES))
    return {n: round(float(v), 3) for n, v in zip(NAMES, means, strict=True) if v > _SEEN}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def lines(found: Mapping[str, Any]) -> Sequence[str]:
    """The result as text, one line an expression and value."""
    out = [f"rest: {_joined(found['rest'])}"]
    for name, entry in found.items():
        if name == "rest":
            continue
        for value, level in entry["levels"].items():
            pairs = ", ".join(_pair(n, v) for n, v in _merged(level).items())
            out.append(f"{name} {value}: {pairs}")
    return out


def _merged(level: Mapping[str, Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """Left and right as one where both are there."""
    merged: dict[str, list[tuple[float, float]]] = {}
    for name, change in level.items():
        short = name.removesuffix("Left").removesuffix("Right") if "Look" not in name else name
        merged.setdefault(short, []).append((change["true"], change["read"]))
    return {n: (sum(v[0] for v in vs) / len(vs), sum(v[1] for v in vs) / len(vs)) for n, vs in merged.items()}


def _pair(name: str, change: tuple[float, float]) -> str:
    return f"{name} {change[0]:+.2f}->{change[1]:+.2f}"


def _joined(values: Mapping[str, float]) -> str:
    return ", ".join(f"{n} {v:.2f}" for n, v in values.items())
