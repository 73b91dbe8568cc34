"""Peak memory of a job on a long clip, stage by stage.

    python -m benchmarks.memory samples/hand.mp4 --seconds 180 --fps 30 --out benchmarks/results/memory.json

The sample is repeated and enlarged to 1080p. A generator with a small tri-plane and picture replaces the
bundled one, with its card: memory outside the inversion is that of frames and crops, and rendering every
frame would take hours. `peak` is the peak resident memory of the process in each stage, in GB, and `most`
the highest of them. --quick fits by W+ without fine-tuning and renders one edit: a third of the time. With
--bits 10 the clip has 10 bits. With --pictures it has so many different pictures a second, and its other
frames repeat them to the bit: they are read, composited and encoded, and not found or fitted again.

    python -m benchmarks.memory samples/hand.mp4 --seconds 60 --bits 10 --pictures 0.5 --quick
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import torch

from benchmarks.main_job import COMMAND
from benchmarks.report import report
from inverters.generators.checkpoint import save_generator
from inverters.generators.eg3d import Generator
from inverters.generators.load import load_generator
from pipeline.machine import machine

EDITS = ["--edit", "smile=1.5@1-20s", "--remove-occluder"]
FEW_STEPS = ["--steps", "20", "--finetune-steps", "2"]
QUICK = ["--edit", "smile=1.5", "--inverter", "w+", "--steps", "20", "--finetune-steps", "0"]
FINISHED = re.compile(r" *\d+/\d+ (\w+) +(\d+(\.\d)? s|\d+(:\d\d)+)( |$)")
"""A line that says that a stage is done, and how long it took."""


def long_clip(
    sample: Path, path: Path, seconds: float, fps: float, bits: int = 8, pictures: float | None = None
) -> None:
    """The sample over and over, with its sound, enlarged to 1920 x 1080.

    pictures: different ones a second; None: as the sample has them.
    """
    fill = "scale=1920:1080:force_original_aspect_ratio=increase,crop=1920:1080"
    held = [] if pictures is None else [f"fps={pictures}"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-stream_loop", "-1", "-i", str(sample)]
    command += ["-t", str(seconds), "-vf", ",".join([fill, *held, f"fps={fps}"]), "-preset", "ultrafast"]
    if bits > 8 or held:
        # lossless, so that what repeats is equal to the bit
        command += ["-c:v", "libx265", "-x265-params", "lossless=1:log-level=error", "-tag:v", "hvc1"]
        command += ["-pix_fmt", "yuv420p10le" if bits > 8 else "yuv420p"]
    subprocess.run([*command, str(path)], check=True)


def small_generator(path: Path) -> None:
    """Random weights in a small network that takes the bundled one's codes and cameras."""
    bundled = load_generator("bundled")
    config = dataclasses.replace(
        bundled.config,
        channel_base=512,
        channel_max=16,
        img_resolution=128,
        neural_rendering_resolution=32,
        depth_resolution=8,
        depth_resolution_importance=8,
        sr_channels=(8, 8),
    )
    torch.manual_seed(0)
    save_generator(path, Generator(config), dataclasses.replace(bundled.card, config=config))


def high_water(process: int) -> float:
    """Peak resident memory in GB since the last call, which sets it back."""
    folder = Path("/proc") / str(process)
    status = (folder / "status").read_text()
    (folder / "clear_refs").write_text("5")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024**2


def measure(
    sample: Path, seconds: float, fps: float, words: list[str], bits: int, pictures: float | None
) -> dict[str, Any]:
    """One job with these options in a fresh cache; {frames, peak: {stage: GB}, seconds: {stage: s}}."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        long_clip(sample, folder / "long.mp4", seconds, fps, bits, pictures)
        small_generator(folder / "small.safetensors")
        command = [*COMMAND, str(folder / "long.mp4"), *words, "--json"]
        command += ["--generator", str(folder / "small.safetensors")]
        command += ["--out", str(folder / "out"), "--cache", str(folder / "cache")]
        peak: dict[str, float] = {}
        with (
            (folder / "manifest").open("w+") as answer,
            subprocess.Popen(command, stdout=answer, stderr=subprocess.PIPE, text=True) as job,
        ):
            assert job.stderr is not None
            for line in job.stderr:
                print(line, end="", file=sys.stderr, flush=True)
                if (done := FINISHED.match(line)) and done[1] != "report":
                    peak[done[1]] = round(high_water(job.pid), 2)
            if job.wait():
                raise SystemExit(job.returncode)
            answer.seek(0)
            manifest = json.load(answer)
    return {
        "clip": {"seconds": seconds, "fps": fps, "bits": bits, "pictures": pictures},
        "options": words,
        "frames": manifest["frames"]["total"],
        "peak": peak,
        "most": max(peak.values()),
        "seconds": {s["name"]: round(s["seconds"], 1) for s in manifest["stages"]},
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sample", type=Path)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--bits", type=int, choices=(8, 10), default=8)
    parser.add_argument("--pictures", type=float, default=None, help="different ones a second")
    parser.add_argument("--quick", action="store_true", help="W+ without fine-tuning, one edit")
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    words = QUICK if args.quick else [*EDITS, *FEW_STEPS]
    result = {"machine": machine(), "sample": str(args.sample)}
    result |= measure(args.sample, args.seconds, args.fps, words, args.bits, args.pictures)
    report(result, args.out)


if __name__ == "__main__":
    main()
