"""Fit the map from landmarks to blendshapes on true pictures of people, and compare it with MediaPipe's.

    python -m benchmarks.blendshape_map --people 1500 --blendshapes FILE

Two pictures of each person are drawn, at yaws within 0.5 and pitches within 0.2 radians; a fifth of the
people is held out to measure it. `--blendshapes` is MediaPipe's face landmarker (.task), to tell how far the
two agree. The file's card holds the correlations with the truth and with MediaPipe.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.drawn_people import SIZE, person, pixels, unseen
from benchmarks.people_expressions import true_shapes
from benchmarks.report import report
from inverters.people.picture import draw
from inverters.rendering.cameras import default_intrinsics, look_at
from pipeline.machine import machine
from pipeline.scoring.blendshapes import (
    BLENDSHAPE_MAP,
    COMPONENTS,
    NAMES,
    BlendshapeReader,
    LandmarkBlendshapes,
    MediaPipeBlendshapes,
    component,
)

VIEWS = 2
_YAW, _PITCH = 0.5, 0.2
_SPREAD = 1.15
"""Standard deviation of the scores, so that strong expressions are not rare."""
Floats = npt.NDArray[np.floating[Any]]


def collect(
    people: int, seed: int, other: BlendshapeReader | None, say: Callable[[str], None]
) -> dict[str, Floats]:
    """Draw and read people: landmarks [N,478,2], true shapes and the other reader's [N,K], person [N]."""
    scores = _SPREAD * unseen(people, seed)
    truth, finder = true_shapes(scores), LandmarkBlendshapes({})
    angle = torch.rand(people, VIEWS, 2, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    found: dict[str, list[Any]] = {"points": [], "true": [], "other": [], "person": []}
    for k, score in enumerate(scores):
        for view in range(VIEWS):
            yaw, pitch = (angle[k, view] * torch.tensor([_YAW, _PITCH])).tolist()
            cam2world = look_at(torch.tensor([yaw]), torch.tensor([pitch]))[0]
            image = pixels(draw(person(score), cam2world, default_intrinsics(1)[0], (SIZE, SIZE)).image)
            points = finder.landmarks(image)
            shapes = None if other is None else other.read(image)
            if points is None or (other is not None and shapes is None):
                continue
            found["points"].append(points)
            found["true"].append(truth[k])
            found["other"].append(np.full(len(NAMES), np.nan) if shapes is None else shapes)
            found["person"].append(k)
        if (k + 1) % 50 == 0:
            say(f"{k + 1}/{people} people, {len(found['person'])} pictures with a face")
    return {name: np.stack(rows) for name, rows in found.items()}


def correlations(ours: Floats, theirs: Floats) -> dict[str, float | None]:
    """Correlation over pictures of blendshapes [N,K] by two readers, of the edits and of each shape."""
    columns = {n: (component(ours, n), component(theirs, n)) for n in COMPONENTS}
    columns |= {n: (ours[:, k], theirs[:, k]) for k, n in enumerate(NAMES)}
    out: dict[str, float | None] = {}
    for name, (a, b) in columns.items():
        varied = np.isfinite(b).all() and a.std() > 1e-4 and b.std() > 1e-4
        out[name] = round(float(np.corrcoef(a, b)[0, 1]), 3) if varied else None
    return out


def fit(
    people: int, seed: int, other: BlendshapeReader | None, say: Callable[[str], None]
) -> LandmarkBlendshapes:
    """Fit the map; its card says how it was made and how well it reads people held out."""
    found = collect(people, seed, other, say)
    held = found["person"] % 5 == 0
    reader = LandmarkBlendshapes.fit(found["points"][~held], found["true"][~held])
    ours = reader.of(found["points"][held])
    reader.card = {
        "people": people,
        "seed": seed,
        "pictures": len(held),
        "held_out": int(held.sum()),
        "truth": correlations(ours, found["true"][held]),
        "mediapipe": None if other is None else correlations(ours, found["other"][held]),
        "mediapipe_truth": None if other is None else correlations(found["other"][held], found["true"][held]),
    }
    return reader


def main() -> None:
    """Fit, write, print the card."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--blendshapes", type=Path, metavar="FILE")
    parser.add_argument("--out", type=Path, default=BLENDSHAPE_MAP, metavar="FILE")
    args = parser.parse_args()
    other = None if args.blendshapes is None else MediaPipeBlendshapes(args.blendshapes)
    reader = fit(args.people, args.seed, other, lambda text: print(text, file=sys.stderr, flush=True))
    reader.card["machine"] = machine()
    reader.save(args.out)
    report(reader.card, None)


if __name__ == "__main__":
    main()
