"""Quality and time of presets on one clip with known truth.

    python -m benchmarks.presets samples/mask.mp4 --preset draft --preset fast --preset paper --max-frames 4

Each runs through the console command with a fresh cache, one after the other. `--steps paper=3000` cuts a
preset short, and its row says so.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.main_job import run
from benchmarks.report import report
from pipeline.machine import machine
from pipeline.scoring.score import score


def measure(
    video: Path, preset: str, steps: str | None, max_frames: int | None, work: Path
) -> dict[str, Any]:
    """One preset from an empty cache: seconds, stages, scores."""
    words = ["--preset", preset, "--edit", "smile=1.5", "--remove-occluder"]
    words += ["--steps", steps] if steps else []
    words += ["--max-frames", str(max_frames)] if max_frames else []
    out = work / preset
    found = run(video, out, work / f"cache-{preset}", words)
    scores = score(out, video.with_suffix(".truth"))
    found["score"] = {name: None if value is None else round(value, 4) for name, value in scores.items()}
    found["steps"] = steps or "all"
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--preset", action="append", required=True)
    parser.add_argument("--steps", action="append", default=[], metavar="PRESET=N")
    parser.add_argument("--max-frames", type=int)
    parser.add_argument("--out", type=Path, help="results of other presets on the same clip stay in the file")
    args = parser.parse_args()
    cut = dict(word.split("=", 1) for word in args.steps)
    known: dict[str, Any] = {}
    if args.out is not None and args.out.exists():
        earlier = json.loads(args.out.read_text())
        if (earlier["video"], earlier["frames"]) == (str(args.video), args.max_frames):
            known = earlier["presets"]
    with tempfile.TemporaryDirectory() as folder:
        for preset in args.preset:
            known[preset] = measure(args.video, preset, cut.get(preset), args.max_frames, Path(folder))
    result = {"machine": machine(), "video": str(args.video), "frames": args.max_frames, "presets": known}
    report(result, args.out)


if __name__ == "__main__":
    main()
