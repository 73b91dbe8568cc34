"""Flicker of an edit with and without `--smooth` and `--steady`, on a sample with known truth.

    python -m benchmarks.calm samples/mask.mp4 --out benchmarks/results/calm.json

One inversion, rendered and composited in each way. Scores are those of `invid score`.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.main_job import run
from benchmarks.report import report
from pipeline.machine import machine
from pipeline.scoring.score import score

WAYS = {
    "as it is": [],
    "--smooth causal": ["--smooth", "causal"],
    "--smooth gaussian": ["--smooth", "gaussian"],
    "--steady": ["--steady"],
    "--smooth gaussian --steady": ["--smooth", "gaussian", "--steady"],
}
KEPT = ("flicker_edit", "psnr_true_edit", "psnr_removal", "flicker_reconstruction", "psnr_reconstruction")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", type=Path)
    parser.add_argument("--preset", default="draft")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    words = ["--preset", args.preset, "--edit", "smile=1.5", "--remove-occluder", "--codec", "ffv1"]
    result: dict[str, Any] = {"machine": machine(), "video": str(args.video), "preset": args.preset}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for number, (name, more) in enumerate(WAYS.items()):
            run(args.video, work / str(number), work / "cache", [*words, *more])
            found = score(work / str(number), args.video.with_suffix(".truth"))
            result[name] = {key: None if (value := found[key]) is None else round(value, 3) for key in KEPT}
    report(result, args.out)


if __name__ == "__main__":
    main()
