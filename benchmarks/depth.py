"""Time and memory of a job on the same clip with 8 bits, with 10 bits, and as HLG.

    python -m benchmarks.depth samples/mask.mp4 --seconds 2 --out benchmarks/results/depth.json

The sample is repeated and enlarged to 1080p. A generator with a small tri-plane and picture replaces the
bundled one (`benchmarks.memory`), so that frames, of which depth makes the difference, take most of the time:
with the bundled one the ratio is nearer to one. All jobs write HEVC. `seconds` is wall time, `cpu` the
processor time of the job, `stages` the wall time by kind of stage; `most` the peak resident memory in GB;
`ratio` is that of `cpu` to the 8-bit job's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import imageio_ffmpeg

from benchmarks.main_job import COMMAND
from benchmarks.memory import QUICK, small_generator
from benchmarks.report import report
from pipeline.machine import machine

_FILL = "scale=1920:1080:force_original_aspect_ratio=increase,crop=1920:1080"
_HLG = "zscale=transfer=arib-std-b67:primaries=bt2020:matrix=bt2020nc:npl=203:range=limited"
_X265 = [
    "-c:v",
    "libx265",
    "-preset",
    "ultrafast",
    "-tag:v",
    "hvc1",
    "-x265-params",
    "log-level=error:crf=12",
]
CLIPS = {
    "8 bits": f"{_FILL},format=yuv420p",
    "10 bits": f"{_FILL},format=yuv420p10le",
    "HLG": f"{_FILL},{_HLG},format=yuv420p10le",
}


def clip_of(sample: Path, path: Path, filters: str, seconds: float) -> None:
    """The sample over and over, filtered, as HEVC."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-stream_loop", "-1", "-i", str(sample), "-an"]
    subprocess.run([*command, "-t", str(seconds), "-vf", filters, *_X265, str(path)], check=True)


def measure(clip: Path, generator: Path, folder: Path) -> dict[str, Any]:
    """One job in a fresh cache."""
    words = [*QUICK, "--codec", "hevc", "--generator", str(generator), "--json", "--quiet"]
    places = ["--out", str(folder / "out"), "--cache", str(folder / "cache")]
    began = time.monotonic()
    with (
        (folder / "manifest").open("w+") as answer,
        subprocess.Popen([*COMMAND, str(clip), *words, *places], stdout=answer) as job,
    ):
        peak, used = 0, 0
        while job.poll() is None:
            try:
                status = Path(f"/proc/{job.pid}/status").read_text()
                peak = max(peak, int(status.split("VmHWM:")[1].split()[0]))
                times = Path(f"/proc/{job.pid}/stat").read_text().rpartition(")")[2].split()
                used = sum(int(value) for value in times[11:15])  # with that of its children
            except (OSError, IndexError):
                pass
            time.sleep(0.1)
        if job.returncode:
            raise SystemExit(job.returncode)
        answer.seek(0)
        manifest = json.load(answer)
    return {
        "frames": manifest["frames"]["total"],
        "seconds": round(time.monotonic() - began, 1),
        "cpu": round(used / 100, 1),
        "stages": {stage["name"]: round(stage["seconds"], 1) for stage in manifest["stages"]},
        "most": round(peak / 1024**2, 2),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sample", type=Path)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    result: dict[str, Any] = {"machine": machine(), "sample": str(args.sample)}
    result |= {"clip": {"seconds": args.seconds}, "jobs": {}}
    with tempfile.TemporaryDirectory() as name:
        generator = Path(name) / "small.safetensors"
        small_generator(generator)
        for kind, filters in CLIPS.items():
            folder = Path(name) / kind.replace(" ", "")
            folder.mkdir()
            clip_of(args.sample, folder / "clip.mp4", filters, args.seconds)
            result["jobs"][kind] = measure(folder / "clip.mp4", generator, folder)
            first = result["jobs"]["8 bits"]["cpu"]
            result["ratio"] = {kind: round(job["cpu"] / first, 2) for kind, job in result["jobs"].items()}
            report(result, args.out)


if __name__ == "__main__":
    main()
