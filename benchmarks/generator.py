"""Quality of a generator on people that it never saw.

    python -m benchmarks.generator --people 500 --seed 1 --json --out benchmarks/results/generator.json

Each person is rendered at one of the yaws 0, +-0.3, +-0.5 (in turn; `--all-yaws` takes all five) and compared
with the true picture of 256 x 256: PSNR and LPIPS (alex) of the whole picture, PSNR of the windows around
eyes and mouth, the share of the generator's pictures in which MediaPipe finds a face, and the face network's
cosine. `gain`: change of blendshapes between two expressions of one person in the generator's pictures over
that in the true ones (`benchmarks.generator_edits`). `directions`: the card's directions, read by the judge.
`real`: codes alone on clips (`benchmarks.generator_clips`). Whatever needs a file that is not named is null,
except `gain`, which a map of our own then reads. `gain` takes at most 200 people, `directions` 100.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.generator_edits import directions, gains
from benchmarks.generator_fidelity import fidelity, speed
from benchmarks.report import report
from inverters.errors import CheckpointError
from inverters.generators.eg3d import Generator
from inverters.generators.load import BUNDLED, load_generator
from pipeline.machine import machine
from pipeline.scoring.blendshapes import COMPONENTS, BlendshapeReader, LandmarkBlendshapes, load_reader

MOST_GAIN, MOST_DIRECTIONS = 200, 100
Say = Callable[[str], None]


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--generator", default="bundled", metavar="FILE")
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--all-yaws", action="store_true")
    parser.add_argument("--clips", type=Path, nargs="+", default=[], metavar="FILE")
    parser.add_argument("--face-network", type=Path, metavar="FILE", help="as --identity of `invid score`")
    parser.add_argument("--lpips", type=Path, metavar="FILE", help="torchvision's AlexNet features (.pth)")
    parser.add_argument(
        "--blendshapes", type=Path, metavar="FILE", help="MediaPipe's face landmarker (.task)"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="leave the rest null")
    parser.add_argument("--into", type=Path, metavar="FILE", help="earlier result that keeps its other parts")
    parser.add_argument("--json", action="store_true", help="print the result as JSON alone")
    parser.add_argument("--out", type=Path, metavar="FILE")
    parser.add_argument("--log", type=Path, metavar="FILE", help="add a row to a table of checkpoints (JSON)")
    parser.add_argument("--card", action="store_true", help="write the result into the generator's card too")
    return parser.parse_args(words)


def measure(args: argparse.Namespace, generator: Generator, say: Say) -> dict[str, Any]:
    """Measure the parts of `args.only`."""
    from benchmarks.generator_clips import clips

    embedder = None
    if args.face_network is not None:
        from pipeline.faces.identity import load_embedder

        embedder = load_embedder(args.face_network)
    found: dict[str, Any] = dict.fromkeys(FIELDS)
    if "fidelity" in args.only:
        found |= fidelity(generator, args.people, args.seed, args.all_yaws, args.lpips, embedder, say)
    if "gain" in args.only:
        reader = load_reader(args.blendshapes)
        found["gain"] = gains(generator, min(args.people, MOST_GAIN), args.seed, reader, say)
        found["gain_judge"] = {"name": reader.name} | agreement(reader)
    if "directions" in args.only:
        found["directions"] = _directions(generator, min(args.people, MOST_DIRECTIONS), args.seed, say)
    if "speed" in args.only:
        found |= speed(min(args.people, 30), args.seed)
    if "real" in args.only and args.clips:
        found["real"] = clips(args.generator, args.clips, embedder, say)
    return found


def agreement(reader: BlendshapeReader) -> dict[str, Any]:
    """Correlation of our own map with MediaPipe's reading of each edit, as its card has it."""
    if not isinstance(reader, LandmarkBlendshapes) or not reader.card.get("mediapipe"):
        return {}
    return {"correlation_with_mediapipe": {name: reader.card["mediapipe"][name] for name in COMPONENTS}}


def _directions(generator: Generator, people: int, seed: int, say: Say) -> dict[str, Any] | None:
    from pipeline.scoring.judge import Judge

    try:
        judge = Judge()
    except CheckpointError as error:
        say(f"directions: {error}")
        return None
    return directions(generator, people, seed, judge, say)


def log(path: Path, generator: Generator, result: dict[str, Any]) -> None:
    """Add a row to the table of checkpoints at `path`, made where missing; a measured one is replaced."""
    training = generator.card.reports.get("training", {})
    hours = training.get("hours", training["seconds"] / 3600 if "seconds" in training else None)
    row = {name: result[name] for name in ("fingerprint", "people", "seed", *FIGURES)}
    row |= {"steps": training.get("steps"), "hours": hours, "date": result["machine"]["date"]}
    row["same"] = (result["identity"] or {}).get("same")
    row["gain"] = {name: each["gain"] for name, each in (result["gain"] or {}).items()}
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = [other for other in rows if other["fingerprint"] != row["fingerprint"]] + [row]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


def write_card(source: str, result: dict[str, Any]) -> None:
    """Write the result into the generator's card, under reports["people"]."""
    path = (BUNDLED if source == "bundled" else Path(source)).with_suffix(".json")
    card = json.loads(path.read_text())
    card["reports"]["people"] = result
    path.write_text(json.dumps(card, indent=2) + "\n")


def earlier_result(path: Path, now: dict[str, Any]) -> dict[str, Any]:
    """An earlier result; exits where it is of another generator, people or seed than `now`."""
    earlier: dict[str, Any] = json.loads(path.read_text())
    for name, value in now.items():
        if earlier[name] != value:
            sys.exit(f"--into {path}: its {name} is {earlier[name]}, not {value}")
    return earlier


def joined(earlier: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """An earlier result with what this one has measured."""
    return result | earlier | {name: value for name, value in result.items() if value is not None}


FIGURES = ("psnr", "lpips", "psnr_eyes", "psnr_mouth", "found")
PARTS = ("fidelity", "gain", "directions", "speed", "real")
FIELDS = (
    *("psnr", "lpips", "psnr_eyes", "psnr_mouth", "found", "gain", "gain_judge", "directions", "identity"),
    *("picture_s", "person_s", "by_yaw", "by_label"),
)


def main(words: list[str] | None = None) -> None:
    """Measure, print and write."""
    args = arguments(words)
    generator = load_generator(args.generator)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {text}", file=sys.stderr, flush=True)

    now = {"fingerprint": generator.card.fingerprint, "people": args.people, "seed": args.seed}
    earlier = {} if args.into is None else earlier_result(args.into, now)
    torch.manual_seed(0)
    result = measure(args, generator, say)
    result |= {"machine": machine(), **now, "seconds": round(time.monotonic() - began)}
    result = joined(earlier, result)
    if args.log is not None:
        log(args.log, generator, result)
    if args.card:
        write_card(args.generator, result)
    if args.json:
        report(result, args.out)
        return
    if args.out is not None:
        report(result, args.out)
    for name in FIELDS:
        print(f"{name:<12}{result[name]}")


if __name__ == "__main__":
    main()
