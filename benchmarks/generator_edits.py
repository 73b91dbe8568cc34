"""What edits do to a generator's pictures: the gain of expressions, and the directions of the card."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.drawn_people import REST, generated, pixels, synthesised, true_picture, unseen, with_values
from benchmarks.people_expressions import regression
from inverters.base import Inversion
from inverters.editing.directions import own_directions
from inverters.editing.edit import edit_inversion
from inverters.generators.eg3d import Generator
from inverters.people.params import PARAMETERS, index, to_z
from pipeline.request.edits import Edit
from pipeline.scoring.blendshapes import NAMES, BlendshapeReader, component
from pipeline.scoring.edit_metrics import READABLE
from pipeline.scoring.judge import Judge

Floats = npt.NDArray[np.floating[Any]]
Say = Callable[[str], None]

GAINS: Mapping[str, tuple[str, float, float, bool]] = {
    "smile": ("smile", 0.3, 1.0, False),
    "jaw": ("mouth_open", 0.65, 1.0, False),
    "blink": ("blink", 0.75, 1.0, False),
    "gaze": ("gaze_x", 0.25, 1.0, True),
    "brows": ("brows", 0.25, 1.0, True),
}
"""Parameter, least and greatest value at the edit's end, and whether it starts at minus that or at rest."""

VISIBLE: Mapping[str, Mapping[str, float]] = {
    "beard": {"gender": 0.15},
    "hair_colour": {"hair_length": 0.6, "age": 25.0, "hair_grey": -0.8},
    "age": {"hair_length": 0.5},
}
"""Values at which an edit can be seen at all: only men have beards, grey hair has no other colour."""
DIRECTIONS = ("glasses", "beard", "age", "hair_colour")
_STEP = 0.75
"""Standard deviations of its parameter to which an edit goes, from as many below the middle."""
_TURN = 0.3
"""The people are seen at yaws within this angle, in radians."""
_BESIDE = 0.1
"""Angle in radians of the second camera, from which true pictures are read once more."""


def turns(people: int) -> list[float]:
    """Yaws of the people's pictures, in radians."""
    return torch.linspace(-_TURN, _TURN, people)[torch.randperm(people, generator=_rng(0))].tolist()


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gains(
    generator: Generator, people: int, seed: int, reader: BlendshapeReader, say: Say
) -> dict[str, dict[str, Any]]:
    """Gain and correlation of each edit of GAINS, by name.

    Each person is rendered with the parameter low and high, all other expressions at rest: truly and by the
    generator. How far the edit goes is drawn for each person, so that there is something to correlate.

    Returns:
        gain, slope through the origin of the generator's change over the true picture's; correlation of the
        two over people; seen, the mean true change; pairs, the people in whose pictures a face was found;
        and in `truth` gain and correlation of true pictures from a camera _BESIDE, where all that is missing
        is the reader's.
    """
    scores = with_values(unseen(people, seed), **REST)
    far = torch.rand(len(GAINS), people, generator=_rng(seed + 17))
    yaw = turns(people)
    changes = {name: np.full((people, 3), np.nan) for name in GAINS}
    for k, score in enumerate(scores):
        rest = _read(generator, score, yaw[k], reader)
        for row, (name, (parameter, least, greatest, both)) in enumerate(GAINS.items()):
            reach = least + (greatest - least) * float(far[row, k])
            high = _read(generator, with_values(score[None], **{parameter: reach})[0], yaw[k], reader)
            low = rest
            if both:
                low = _read(generator, with_values(score[None], **{parameter: -reach})[0], yaw[k], reader)
            changes[name][k] = component(high, name) - component(low, name)
        if (k + 1) % 5 == 0 or k + 1 == people:
            say(f"gain: {k + 1}/{people} people, " + _so_far(changes))
    return {name: _gain(change) for name, change in changes.items()}


def _read(generator: Generator, score: Tensor, yaw: float, reader: BlendshapeReader) -> Floats:
    """Blendshapes [3,len(NAMES)] of a person [P]; NaN: no face.

    Of the true picture, of the generator's, and of the true one from a camera beside.
    """
    true, beside = (true_picture(score, angle).image for angle in (yaw, yaw - math.copysign(_BESIDE, yaw)))
    images = true, generated(generator, score, yaw), beside
    rows = [reader.read(pixels(image)) for image in images]
    return np.stack([np.full(len(NAMES), np.nan) if row is None else row for row in rows])


def _gain(change: Floats) -> dict[str, Any]:
    slope, correlation = regression(change[:, 0], change[:, 1])
    own_slope, own = regression(change[:, 0], change[:, 2])
    known = np.isfinite(change[:, :2]).all(1)
    mean = float(change[known, 0].mean()) if known.any() else None
    return {
        **_rounded({"gain": slope, "correlation": correlation, "seen": mean}),
        "pairs": int(known.sum()),
        "truth": _rounded({"gain": own_slope, "correlation": own}),
    }


def _rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 3) for name, value in values.items()}


def _so_far(changes: Mapping[str, Floats]) -> str:
    return ", ".join(f"{name} {_gain(change)['gain']}" for name, change in changes.items())


def directions(
    generator: Generator, people: int, seed: int, judge: Judge, say: Say
) -> dict[str, dict[str, Any] | None]:
    """Judged effect of edits by the card's directions of DIRECTIONS; None where the card lacks one.

    Returns:
        By name: sign_right, share of people whose parameter rises; leakage, mean absolute change in standard
        deviations of the other parameters that the judge reads (correlation with the truth from 0.5 on);
        mean_rise; worst_leak and worst_leak_into; judge_correlation; and in `truth` the same of true pictures
        of the same change, where all leakage is the judge's.
    """
    found: dict[str, dict[str, Any] | None] = {}
    known, yaw = own_directions(generator).named, turns(people)
    if list(judge.correlation) != [p.name for p in PARAMETERS]:
        say("directions: the judge reads other parameters than people have")
        return dict.fromkeys(DIRECTIONS)
    for name in DIRECTIONS:
        if name not in known:
            say(f"directions: the generator's card has no direction {name}")
            found[name] = None
            continue
        scores = with_values(unseen(people, seed), **VISIBLE.get(name, {}))
        scores[:, index(name)] = -_STEP
        raised = scores.clone()
        raised[:, index(name)] = _STEP
        edit = Edit(name, 2 * _STEP)
        pictures: dict[str, list[Any]] = {"before": [], "after": [], "true before": [], "true after": []}
        for score, high, turn in zip(scores, raised, yaw, strict=True):
            ws = generator.mapping(to_z(score[None], generator.config.z_dim))
            face = Inversion("w", "", generator.card.fingerprint, np.zeros(1, np.int64), ws)
            edited = edit_inversion(generator, face, [0.0], [edit], known)
            pictures["before"].append(pixels(synthesised(generator, ws, turn)))
            pictures["after"].append(pixels(synthesised(generator, edited, turn)))
            pictures["true before"].append(pixels(true_picture(score, turn).image))
            pictures["true after"].append(pixels(true_picture(high, turn).image))
        read = {when: judge.scores(np.stack(images)) for when, images in pictures.items()}
        truth = judged(read["true after"] - read["true before"], name, judge.correlation)
        found[name] = judged(read["after"] - read["before"], name, judge.correlation) | {"truth": truth}
        say(f"direction {name}: {found[name]}")
    return found


def judged(change: Floats, name: str, correlation: Mapping[str, float]) -> dict[str, Any]:
    """Sign, rise and leakage of judged changes [N,P] by an edit of a parameter; NaN without a face."""
    own = change[:, index(name)]
    others = [
        p.name for p in PARAMETERS if p.name != name and correlation[p.name] >= READABLE
    ]  # the judge's guess of what it cannot read says nothing
    known = ~np.isnan(own)
    moved = np.abs(change[known][:, [index(n) for n in others]])
    some = ~np.isnan(moved).all(axis=0)  # the mesh reads nothing where it finds no face; the network does
    others = [n for n, any_read in zip(others, some, strict=True) if any_read]
    leaks = np.nanmean(moved[:, some], axis=0)
    worst = int(leaks.argmax()) if len(leaks) else None
    return {
        "sign_right": round(float((own > 0).mean()), 4),  # a picture without a face counts as wrong
        "leakage": None if worst is None else round(float(leaks.mean()), 3),
        "mean_rise": round(float(own[known].mean()), 3) if known.any() else None,
        "worst_leak": None if worst is None else round(float(leaks[worst]), 3),
        "worst_leak_into": None if worst is None else others[worst],
        "judge_correlation": round(correlation[name], 3),
    }
