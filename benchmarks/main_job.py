"""The main job on a sample with known truth, through the console command: In-N-Out, W+, and a second run.

    python -m benchmarks.main_job samples/mask.mp4 --out benchmarks/results/mask.json

Each job has a fresh cache. In-N-Out runs with the compiled renderer and with the reference. `seconds` is the
wall time of the whole command, `stages` are the times in its manifest. The second run of In-N-Out changes
only `--edit`. Scores are those of `invid score`. `psnr_hidden` and `psnr_hidden_edited` compare the crops
inside the true occluder with the source, before and after the edit, which should not change it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import report
from pipeline.machine import machine
from pipeline.report.manifest import JobResult
from pipeline.samples.truth import Truth, load_truth
from pipeline.scoring.frame_metrics import psnr_of
from pipeline.scoring.score import score
from pipeline.video.warp import warp_crop

COMMAND = [
    sys.executable,
    "-c",
    "from pipeline.commands.__main__ import process_video; raise SystemExit(process_video())",
]


def run(video: Path, out: Path, cache: Path, words: list[str]) -> dict[str, Any]:
    """One `process-video`: its wall time and what its manifest says."""
    began = time.monotonic()
    command = [*COMMAND, str(video), "--out", str(out), "--cache", str(cache), "--json", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    seconds = time.monotonic() - began
    manifest = json.loads(done.stdout)
    return {
        "command": " ".join(["process-video", str(video), *words]),
        "seconds": round(seconds, 1),
        "stages": {s["name"]: round(s["seconds"], 1) for s in manifest["stages"] if not s["cached"]},
        "reconstruction": manifest["metrics"]["reconstruction"],
    }


def psnr_hidden(job: JobResult, truth: Truth, name: str) -> float | None:
    """PSNR of rendered crops `name` against the source's, inside the true occluder."""
    images, crops, affine, frames = (
        job.array(n) for n in (name, "align/crops", "align/affine", "align/frames")
    )
    if images is None or crops is None or affine is None or frames is None:
        return None
    error, count = 0.0, 0
    for row, frame in enumerate(frames.tolist()):
        hidden = np.repeat(np.uint8(255) * truth.occluded(frame)[..., None], 3, -1)
        chosen = warp_crop(hidden, affine[frame], crops.shape[1])[..., 0] > 127
        error += float(np.square(images[row][chosen].astype(np.float64) - crops[row][chosen]).sum())
        count += int(chosen.sum()) * 3
    return psnr_of(error, count)


def measure(video: Path, method: str, work: Path, words: list[str]) -> dict[str, Any]:
    """One method, from an empty cache."""
    out, cache = work / method, work / f"cache-{method}"
    found = run(video, out, cache, ["--inverter", method, "--edit", "smile=1.5", *words])
    truth_folder = video.with_suffix(".truth")
    truth, job = load_truth(truth_folder), JobResult(out)
    found["score"] = {k: None if v is None else round(v, 4) for k, v in score(out, truth_folder).items()}
    for key, name in (
        ("psnr_hidden", "finetune/reconstruction"),
        ("psnr_hidden_edited", "edit/edited/images"),
    ):
        value = psnr_hidden(job, truth, name)
        found[key] = None if value is None else round(value, 2)
    print(json.dumps({method: found}, indent=1), flush=True)
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", type=Path)
    parser.add_argument("--preset", default="draft")
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    words = ["--preset", args.preset]
    result: dict[str, Any] = {"machine": machine(), "video": str(args.video)}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        result["w+"] = measure(args.video, "w+", work, words)
        result["in-n-out"] = measure(args.video, "in-n-out", work, [*words, "--remove-occluder"])
        again = ["--inverter", "in-n-out", "--edit", "smile=1.0", *words, "--remove-occluder"]
        slow = ["--inverter", "in-n-out", "--edit", "smile=1.5", *words, "--remove-occluder"]
        result["reference renderer"] = run(
            args.video, work / "slow", work / "cache-slow", [*slow, "--renderer", "reference"]
        )
        result["second run"] = run(args.video, work / "again", work / "cache-in-n-out", again)
    ours, plain = (result[m]["reconstruction"]["psnr"] for m in ("in-n-out", "w+"))
    result["psnr_gain"] = round(ours - plain, 3)
    result["second_run_share"] = round(result["second run"]["seconds"] / result["in-n-out"]["seconds"], 3)
    report(result, args.out)


if __name__ == "__main__":
    main()
