"""Fit the map from landmarks to blendshapes on true pictures of people, and compare it with MediaPipe's.

    python -m benchmarks.blendshape_map --people 1500 --blendshapes FILE
    python -m benchmarks.blendshape_map --people 4000 --blendshapes FILE --stored runs/people

The second reads the stored pictures that a generator learns from, which takes minutes instead of an hour; the
set must be of today's people. Without it, two pictures of each person are drawn, at yaws within 0.5 and
pitches within 0.2 radians. A fifth of the people is held out to measure it. `--blendshapes` is MediaPipe's
face landmarker (.task), to tell how far the two agree. The file's card holds the correlations with the truth
and with MediaPipe.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
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
from pipeline.clip import U8
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
Shot = tuple[int, Floats, U8]
"""Number of a person, its true shapes [K], and a picture uint8 [S,S,3]."""


def collect(pictures: Iterable[Shot], other: BlendshapeReader | None) -> dict[str, Floats]:
    """Read pictures: landmarks [N,478,2], true shapes and the other reader's [N,K], person [N]."""
    finder = LandmarkBlendshapes({})
    found: dict[str, list[Any]] = {"points": [], "true": [], "other": [], "person": []}
    for number, truth, image in pictures:
        points = finder.landmarks(image)
        shapes = None if other is None else other.read(image)
        if points is None or (other is not None and shapes is None):
            continue
        found["points"].append(points)
        found["true"].append(truth)
        found["other"].append(np.full(len(NAMES), np.nan) if shapes is None else shapes)
        found["person"].append(number)
    return {name: np.stack(rows) for name, rows in found.items()}


def drawn(people: int, seed: int, say: Callable[[str], None]) -> Iterator[Shot]:
    """Draw VIEWS pictures of each of `people` people."""
    scores = _SPREAD * unseen(people, seed)
    truth = true_shapes(scores)
    angle = torch.rand(people, VIEWS, 2, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    for k, score in enumerate(scores):
        for view in range(VIEWS):
            yaw, pitch = (angle[k, view] * torch.tensor([_YAW, _PITCH])).tolist()
            cam2world = look_at(torch.tensor([yaw]), torch.tensor([pitch]))[0]
            yield (
                k,
                truth[k],
                pixels(draw(person(score), cam2world, default_intrinsics(1)[0], (SIZE, SIZE)).image),
            )
        if (k + 1) % 50 == 0:
            say(f"{k + 1}/{people} people")


def stored(folder: Path, people: int, say: Callable[[str], None]) -> Iterator[Shot]:
    """Read VIEWS pictures of each of at most `people` stored people."""
    from inverters.training.people_pictures import open_set

    kept = open_set(folder)
    for k in range(min(people, len(kept))):
        found = kept.read([k], [list(range(VIEWS))], ("image", "scores"))
        truth = true_shapes(found["scores"])[0]
        for image in found["image"][0]:
            yield k, truth, image.permute(1, 2, 0).contiguous().numpy()
        if (k + 1) % 200 == 0:
            say(f"{k + 1} people")


def correlations(ours: Floats, theirs: Floats) -> dict[str, float | None]:
    """Correlation over pictures of blendshapes [N,K] by two readers, of the edits and of each shape."""
    columns = {n: (component(ours, n), component(theirs, n)) for n in COMPONENTS}
    columns |= {n: (ours[:, k], theirs[:, k]) for k, n in enumerate(NAMES)}
    out: dict[str, float | None] = {}
    for name, (a, b) in columns.items():
        varied = np.isfinite(b).all() and a.std() > 1e-4 and b.std() > 1e-4
        out[name] = round(float(np.corrcoef(a, b)[0, 1]), 3) if varied else None
    return out


def fit(pictures: Iterable[Shot], other: BlendshapeReader | None) -> LandmarkBlendshapes:
    """Fit the map; its card says how well it reads people held out."""
    found = collect(pictures, other)
    held = found["person"] % 5 == 0
    reader = LandmarkBlendshapes.fit(found["points"][~held], found["true"][~held])
    ours = reader.of(found["points"][held])
    reader.card = {
        "people": int(found["person"].max()) + 1,
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
    parser.add_argument("--stored", type=Path, metavar="DIR", help="a stored set of pictures of people")
    parser.add_argument("--out", type=Path, default=BLENDSHAPE_MAP, metavar="FILE")
    args = parser.parse_args()
    other = None if args.blendshapes is None else MediaPipeBlendshapes(args.blendshapes)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    if args.stored is None:
        pictures = drawn(args.people, args.seed, say)
    else:
        pictures = stored(args.stored, args.people, say)
    reader = fit(pictures, other)
    reader.card["machine"] = machine()
    reader.save(args.out)
    report(reader.card, None)


if __name__ == "__main__":
    main()
