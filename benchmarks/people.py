"""Sheets of true people, and how other networks see them.

    python -m benchmarks.people --people 48 --out people.png --columns 12 --size 192
    python -m benchmarks.people --people 48 --sheet expressions --out expressions.png
    python -m benchmarks.people --people 48 --json --face-network FILE --blendshapes FILE

Sheets: `random`, `expressions` (a person a row), `ages`, `hair`, `worn`, `turned` (a person a row). With
`--json` the people are measured: `found`, share of pictures in which MediaPipe finds a face, by yaw;
`identity`, the face network's cosine between different people (mean, 95 %, share below 0.4) and of one person
across yaws; `speed`, seconds of making and drawing; `expressions`, how much of each named expression the
reader of blendshapes sees in true pictures.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.drawn_people import REST, SIZE, YAWS, pixels, true_picture, unseen, with_values
from benchmarks.generator_fidelity import speed
from benchmarks.people_expressions import expressions, lines
from benchmarks.report import report
from inverters.training.contact import save_sheet
from pipeline.clip import F32
from pipeline.faces.identity import FaceEmbedder, load_embedder
from pipeline.machine import machine
from pipeline.scoring.blendshapes import load_reader

Change = dict[str, float]

STEPS: dict[str, Sequence[Change]] = {
    "expressions": (
        *({}, {"smile": 0.4}, {"smile": 1.0}, {"smile": -0.3}, {"mouth_open": 1.0}, {"blink": 1.0}),
        *({"gaze_x": 1.0}, {"gaze_y": -1.0}, {"brows": 1.0}, {"brows": -1.0}, {"frown": 1.0}),
        *({"surprise": 1.0}, {"pucker": 1.0}, {"squint": 1.0}),
    ),
    "ages": tuple({"age": float(years)} for years in (18, 25, 33, 41, 49, 57, 65, 73, 80)),
    "hair": (
        *({"hair_length": length, "hair_curl": 0.1} for length in (0.03, 0.25, 0.45, 0.65, 0.95)),
        *({"hair_length": 0.6, "hair_curl": curl} for curl in (0.4, 0.7, 0.97)),
        *({"hair_length": 0.9, "hair_tie": 0.97}, {"hair_length": 0.5, "fringe": 0.95}),
    ),
    "worn": (
        *({"glasses": 0.97, "glasses_shape": shape} for shape in (0.05, 0.3, 0.5, 0.7, 0.95)),
        *({"earrings": 0.97, "clothing_cut": cut} for cut in (0.05, 0.25, 0.42, 0.6, 0.75, 0.95)),
        *({"gender": 0.1, "beard": beard} for beard in (0.45, 0.7, 0.97)),
    ),
}
"""Changes of a person, a column each, all other expressions at rest."""
SHEETS = ("random", "turned", *STEPS)


def sheet(kind: str, scores: Tensor, columns: int, size: int, yaw: float) -> list[Tensor]:
    """Rows of pictures [n,3,S,S] of people with these scores [N,P]."""
    if kind == "random":
        images = [true_picture(score, yaw, size).image for score in scores]
        images += [torch.ones_like(images[0])] * (-len(images) % columns)
        return [torch.stack(images[k : k + columns]) for k in range(0, len(images), columns)]
    if kind == "turned":
        turns = (-0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6)
        return [torch.stack([true_picture(score, turn, size).image for turn in turns]) for score in scores]
    rows = []
    for score in with_values(scores, **REST):
        changed = [with_values(score[None], **change)[0] for change in STEPS[kind]]
        rows.append(torch.stack([true_picture(each, yaw, size).image for each in changed]))
    return rows


def finding(scores: Tensor) -> dict[str, float]:
    """Share of true pictures in which MediaPipe's face mesh finds a face, by yaw."""
    import mediapipe

    finder = mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=True, max_num_faces=1, min_detection_confidence=0.5
    )
    hits = {f"{yaw:+.1f}": 0 for yaw in YAWS}
    for score in scores:
        for yaw in YAWS:
            seen = finder.process(pixels(true_picture(score, yaw).image))
            hits[f"{yaw:+.1f}"] += seen.multi_face_landmarks is not None
    return {yaw: round(count / len(scores), 4) for yaw, count in hits.items()}


def identity(scores: Tensor, embedder: FaceEmbedder) -> dict[str, float | None]:
    """Cosines of the face network: frontal pictures of different people, and of one person across yaws."""
    from pipeline.faces.mediapipe_mesh import MediaPipeMesh

    mesh = MediaPipeMesh()
    rows: dict[float, list[F32]] = {yaw: [] for yaw in YAWS}
    for score in scores:
        for yaw in YAWS:
            image = pixels(true_picture(score, yaw).image)
            faces = mesh.detect(image)
            found = embedder.embed([image], [faces[0].landmarks68])[0] if faces else np.full(1, np.nan)
            rows[yaw].append(found / np.linalg.norm(found))
    width = max(len(row) for row in rows[0.0])
    every = {yaw: np.stack([np.resize(r, width) for r in found]) for yaw, found in rows.items()}
    front = every[0.0]
    pairs = (front @ front.T)[np.triu_indices(len(front), 1)]
    pairs = pairs[np.isfinite(pairs)]
    out: dict[str, float | None] = {"people": len(scores)}
    if len(pairs):
        out |= {
            "different_mean": round(float(pairs.mean()), 3),
            "different_95": round(float(np.quantile(pairs, 0.95)), 3),
            "different_greatest": round(float(pairs.max()), 3),
            "different_below_0.4": round(float((pairs < 0.4).mean()), 3),
        }
    for turn in (0.3, 0.5):
        both = np.concatenate([(front * every[sign * turn]).sum(1) for sign in (1, -1)])
        both = both[np.isfinite(both)]
        out[f"same_{turn}_mean"] = round(float(both.mean()), 3) if len(both) else None
        out[f"same_{turn}_least"] = round(float(both.min()), 3) if len(both) else None
    return out


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measure the people of the command line."""
    scores = unseen(args.people, args.seed)
    result: dict[str, Any] = {"machine": machine(), "people": args.people, "seed": args.seed}
    result["found"] = finding(scores)
    _say(f"found: {result['found']}")
    if args.face_network is not None:
        result["identity"] = identity(scores, load_embedder(args.face_network))
        _say(f"identity: {result['identity']}")
    result["speed"] = speed(_TIMED, args.seed)
    reader = load_reader(args.blendshapes)
    result["expressions_judge"] = reader.name
    result["expressions"] = expressions(reader, scores[: args.expression_people])
    for line in lines(result["expressions"]):
        _say(line)
    return result


_TIMED = 24
"""People that are timed."""


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(words: list[str] | None = None) -> None:
    """Draw the sheet, or measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, metavar="FILE", help="PNG of a sheet, or JSON with --json")
    parser.add_argument("--sheet", choices=SHEETS, default="random")
    parser.add_argument("--columns", type=int, default=12)
    parser.add_argument("--size", type=int, default=SIZE, metavar="PIXELS")
    parser.add_argument("--yaw", type=float, default=0.0, metavar="RADIANS")
    parser.add_argument("--json", action="store_true", help="measure instead of drawing a sheet")
    parser.add_argument("--expression-people", type=int, default=24)
    parser.add_argument("--face-network", type=Path, metavar="FILE", help="as --identity of `invid score`")
    parser.add_argument(
        "--blendshapes", type=Path, metavar="FILE", help="MediaPipe's face landmarker (.task)"
    )
    args = parser.parse_args(words)
    if args.json:
        report(measure(args), args.out)
        return
    if args.out is None:
        parser.error("a sheet needs --out FILE.png")
    began = time.monotonic()
    rows = sheet(args.sheet, unseen(args.people, args.seed), args.columns, args.size, args.yaw)
    save_sheet(rows, args.out)
    _say(f"{sum(map(len, rows))} pictures in {time.monotonic() - began:.0f} s: {args.out}")


if __name__ == "__main__":
    main()
