"""The sheets of docs/generator.md: people true above generated, one person's edits, and real clips.

    python -m benchmarks.generator_sheets --out runs/sheets
    python -m benchmarks.generator_sheets --out runs/sheets --clips FILE FILE

`people.jpg`: unseen people, each true above generated. `edits.jpg`: one unseen person through twelve edits,
true above generated. `clips.jpg`, only with `--clips`: a column each, the crop above the codes alone above
In-N-Out.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.drawn_people import REST, YAWS, generated, true_picture, unseen, with_values
from benchmarks.generator_clips import WORDS
from benchmarks.main_job import run
from inverters.generators.eg3d import Generator
from inverters.generators.load import load_generator
from inverters.training.contact import save_sheet
from pipeline.report.manifest import JobResult

EDITS: tuple[dict[str, float], ...] = (
    *({}, {"smile": 1.0}, {"smile": -0.3}, {"mouth_open": 1.0}, {"blink": 1.0}, {"gaze_x": 1.0}),
    *({"brows": 1.0}, {"frown": 1.0}, {"age": 75.0}, {"glasses": 0.95}, {"hair_colour": 0.9}),
    {"hair_length": 0.9},
)
"""Twelve changes of one person, the first none."""


def pair(generator: Generator, scores: Tensor, yaws: list[float]) -> list[Tensor]:
    """True pictures and the generator's [n,3,S,S] of people [n,P] at these yaws."""
    size = generator.config.img_resolution
    both = list(zip(scores, yaws, strict=True))
    truth = torch.stack([true_picture(score, yaw, size).image for score, yaw in both])
    return [truth, torch.stack([generated(generator, score, yaw) for score, yaw in both])]


def people(generator: Generator, count: int, columns: int, seed: int) -> list[Tensor]:
    """Rows: true people, then the generator's, `columns` at a time."""
    scores = unseen(count // columns * columns, seed)
    rows = []
    for start in range(0, len(scores), columns):
        yaws = [YAWS[k % len(YAWS)] for k in range(start, start + columns)]
        rows += pair(generator, scores[start : start + columns], yaws)
    return rows


def edits(generator: Generator, seed: int) -> list[Tensor]:
    """Rows: one person through EDITS, true and the generator's."""
    score = with_values(unseen(1, seed), **REST, glasses=0.2, age=35.0)
    return pair(generator, torch.cat([with_values(score, **each) for each in EDITS]), [0.15] * len(EDITS))


def clips(videos: list[Path], source: str) -> list[Tensor]:
    """Rows: a crop of each clip, the codes alone, and In-N-Out, at the fourth frame."""
    own = () if source == "bundled" else ("--generator", source)
    columns = []
    for video in videos:
        column = []
        for words in (WORDS, ("--inverter", "in-n-out", "--max-frames", "8")):
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "out"
                run(video, out, Path(folder) / "cache", [*words, *own])
                job = JobResult(out)
                found = [job.array("align/crops"), job.shown("reconstruction")]
                column += [
                    np.array(images[min(3, len(images) - 1)]) for images in found if images is not None
                ]
        columns.append([column[0], column[1], column[3]])
    pictures = torch.from_numpy(np.array(columns)).permute(1, 0, 4, 2, 3).float() / 127.5 - 1
    return list(pictures)


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--generator", default="bundled", metavar="FILE")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--people", type=int, default=24)
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--clips", type=Path, nargs="+", default=[], metavar="FILE")
    args = parser.parse_args()
    generator = load_generator(args.generator)
    save_sheet(people(generator, args.people, args.columns, args.seed), args.out / "people.jpg")
    save_sheet(edits(generator, args.seed), args.out / "edits.jpg")
    if args.clips:
        save_sheet(clips(args.clips, args.generator), args.out / "clips.jpg")


if __name__ == "__main__":
    main()
