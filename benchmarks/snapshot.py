"""Compare the results of two commits: hashes of every cached array and every decoded frame of every output.

    python -m benchmarks.snapshot write --command "process-video" --out before.json
    python -m benchmarks.snapshot compare before.json after.json

Hashes hold for one machine and one number of threads: kernels add up in an order that depends on both.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg

from pipeline.machine import machine

METHODS = ("in-n-out", "w", "w+", "pti", "pose-opt", "hfgi3d", "vive3d")
SHORT = ["--max-frames", "8", "--steps", "24", "--finetune-steps", "6"]
ALL = ["--edit", "smile=1.5", "--remove-occluder", "--view", "yaw=0.3"]
CONTAINERS = {
    "mkv": ["-c:v", "ffv1", "-c:a", "flac"],
    "mov": ["-c:v", "prores_ks", "-c:a", "pcm_s16le"],
    "webm": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"],
    "avi": ["-c:v", "mpeg4", "-q:v", "3", "-c:a", "mp3"],
}
"""Other forms of a sample that a job is given, by suffix, and how ffmpeg makes them."""


def cases(samples: Path, made: Path) -> dict[str, tuple[Path, list[str]]]:
    """The clip and the options of every case, by its name."""
    clips = {name: samples / f"{name}.mp4" for name in ("mask", "hand")}
    found = {
        f"{name} {method}": (clip, ["--inverter", method, "--crops", *ALL])
        for name, clip in clips.items()
        for method in METHODS
    }
    mask = clips["mask"]
    more: dict[str, list[str]] = {
        "untuned": ["--inverter", "w+", "--finetune-steps", "0", "--edit", "smile=1.5"],
        "no-entropy": ["--no-entropy", *ALL],
        "no-latent-reg": ["--no-latent-reg", *ALL],
        "occluder-masks": ["--occluder-masks", str(_masks(samples, made)), *ALL],
        "range": ["--edit", "glasses=1@0.1-0.2s", "--edit", "age=1"],
        "orbit": ["--view", "orbit", "--edit", "smile=1.5"],
        "inset": [*ALL, "--inset"],
        "inset stitch weights": [*ALL, "--inset", "--stitch", "weights"],
        "inset stitch codes": [*ALL, "--inset", "--stitch", "codes"],
        "stitch w+": ["--inverter", "w+", "--edit", "smile=1.5", "--stitch", "weights"],
        "smooth causal": [*ALL, "--smooth", "causal"],
        "smooth gaussian steady": [*ALL, "--smooth", "gaussian", "--steady"],
        "steady": [*ALL, "--steady"],
        "fast": ["--preset", "fast", "--steps", "4", "--edit", "smile=1.5"],
        "hevc": ["--codec", "hevc", "--inverter", "w+", "--edit", "smile=1.5"],
        "prores": ["--codec", "prores", "--inverter", "w+", "--edit", "smile=1.5"],
        "ffv1 decord": ["--codec", "ffv1", "--reader", "decord", "--inverter", "w+", "--edit", "smile=1.5"],
    }
    found |= {f"mask {name}": (mask, options) for name, options in more.items()}
    for suffix, how in CONTAINERS.items():
        clip = made / f"hand.{suffix}"
        if not clip.exists():
            made.mkdir(parents=True, exist_ok=True)
            exe = imageio_ffmpeg.get_ffmpeg_exe()
            source = ["-i", str(clips["hand"]), "-frames:v", "12"]
            bare = ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-threads", "1"]
            subprocess.run([exe, "-v", "error", *source, *how, *bare, "-y", str(clip)], check=True)
        found[f"hand.{suffix}"] = (clip, ["--inverter", "w+", "--edit", "smile=1.5"])
    return found


def _masks(samples: Path, made: Path) -> Path:
    """The masks of the frames that are read."""
    folder = made / "masks"
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted((samples / "mask.truth" / "mask").iterdir())[:8]:
        shutil.copy(file, folder)
    return folder


def decoded(path: Path) -> dict[str, Any]:
    """What a video holds: hashes of all its pictures and of its sound, and its time stamps."""
    found: dict[str, Any] = {}
    with av.open(str(path)) as container:
        video, times = hashlib.sha256(), []
        for frame in container.decode(video=0):
            video.update(frame.to_ndarray(format="rgb24").tobytes())
            assert frame.pts is not None and frame.time_base is not None
            times.append(str(frame.pts * frame.time_base))
        found |= {"video": video.hexdigest(), "times": times}
    with av.open(str(path)) as container:
        if container.streams.audio:
            sound = hashlib.sha256()
            for block in container.decode(audio=0):
                sound.update(block.to_ndarray().tobytes())
            found["sound"] = sound.hexdigest()
    return found


def snapshot(command: list[str], clip: Path, options: list[str], cache: Path) -> dict[str, Any]:
    """One job's arrays and outputs."""
    with tempfile.TemporaryDirectory() as folder:
        words = [*command, str(clip), *SHORT, *options, "--out", folder, "--cache", str(cache), "--json"]
        environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "2"}
        done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            raise SystemExit(f"{shlex.join(words)}: {done.stderr.strip().splitlines()[-1:]}")
        manifest = json.loads(done.stdout)
        videos = {
            name: decoded(Path(folder) / file)
            for name, file in manifest["outputs"].items()
            if name != "report"
        }
    return {"arrays": manifest["arrays"], "outputs": videos, "notes": manifest["notes"]}


def write(args: argparse.Namespace) -> int:
    """Run every case and write the hashes, as they come."""
    found: dict[str, Any] = {"machine": machine(), "cases": {}}
    for name, (clip, options) in cases(args.samples, args.made).items():
        if args.only and args.only not in name:
            continue
        found["cases"][name] = snapshot(shlex.split(args.command), clip, options, args.cache)
        print(name, file=sys.stderr, flush=True)
        args.out.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def compare(args: argparse.Namespace) -> int:
    """Tell every difference; the exit code is 1 where there is one."""
    before, after = (json.loads(path.read_text())["cases"] for path in (args.before, args.after))
    different = [f"{name}: only in one of them" for name in before.keys() ^ after.keys()]
    for name in before.keys() & after.keys():
        for kind in ("arrays", "outputs", "notes"):
            old, new = before[name][kind], after[name][kind]
            if isinstance(old, list):
                old, new = {"notes": old}, {"notes": new}
            changed = [key for key in old.keys() | new.keys() if old.get(key) != new.get(key)]
            different += [f"{name}: {kind} {key}" for key in sorted(changed)]
    print("\n".join(sorted(different)) or f"{len(before)} cases are equal")
    return bool(different)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("write")
    one.add_argument("--command", default="process-video")
    one.add_argument("--samples", type=Path, default=Path("samples"))
    one.add_argument("--made", type=Path, default=Path("out/snapshot/clips"))
    one.add_argument("--cache", type=Path, default=Path("out/snapshot/cache"))
    one.add_argument("--only", help="cases whose name has this in it")
    one.add_argument("--out", type=Path, required=True)
    one.set_defaults(run=write)
    two = commands.add_parser("compare")
    two.add_argument("before", type=Path)
    two.add_argument("after", type=Path)
    two.set_defaults(run=compare)
    args = parser.parse_args()
    return int(args.run(args))


if __name__ == "__main__":
    sys.exit(main())
