"""Convolutions in float32 and in bfloat16: steps of a fit, pictures a second, and the main job.

    python -m benchmarks.precision --video samples/mask.mp4 --out benchmarks/results/precision.json

Both precisions take turns in one process. `steps`: median milliseconds of a step of each stage of In-N-Out.
`rendering`: pictures a second of an inversion of eight frames, in batches of four, by all threads, with the
samples of `draft` and with the generator's own; `psnr`: least PSNR between the pictures of both. With
`--video` (a sample with known truth) `jobs` has seconds, reconstruction and scores of a job in each.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.main_job import run
from benchmarks.report import report
from benchmarks.steps import FRAMES, LATE, Stages, timed
from inverters.base import Inversion
from inverters.fields.synthesis import InversionRenderer
from inverters.generators.load import load_generator
from inverters.generators.precision import DTYPES
from inverters.memory import keep_freed_memory
from inverters.metrics import psnr
from inverters.rendering.cameras import default_intrinsics, look_at
from pipeline.machine import machine
from pipeline.scoring.score import score

SAMPLES: dict[str, tuple[int, int] | None] = {"draft": (24, 24), "generator": None}
SCORES = ("psnr_true_edit", "psnr_removal", "edit_sign_share")
_BATCH = 4


def steps(preset: str, device: str, repeats: int) -> dict[str, dict[str, float]]:
    """Median milliseconds of a step, by stage and precision."""
    sides = {name: Stages(preset, device, dtype).stages for name, dtype in DTYPES.items()}
    times: dict[str, dict[str, list[float]]] = {}
    for repeat in range(repeats + 1):
        for name, stages in sides.items():
            for stage, fit in stages.items():
                took = timed(partial(fit.step, LATE // 2 + repeat))
                if repeat:
                    times.setdefault(stage, {}).setdefault(name, []).append(took)
    return {
        stage: {name: round(statistics.median(values), 1) for name, values in found.items()}
        for stage, found in times.items()
    }


def rendering(samples: tuple[int, int] | None, device: str, repeats: int) -> dict[str, float]:
    """Pictures a second by precision, and the least PSNR between both."""
    generator = load_generator("bundled", device).requires_grad_(False)
    rng = torch.Generator().manual_seed(0)
    ws = generator.mapping(torch.randn(FRAMES, generator.config.z_dim, generator=rng).to(device))
    inversion = Inversion("w+", "draft", generator.card.fingerprint, np.arange(FRAMES), ws.cpu())
    if samples is not None:
        inversion.info["render"] = dict(zip(("coarse", "fine"), samples, strict=True))
    renderer = InversionRenderer(generator, inversion)
    poses = look_at(torch.linspace(-0.4, 0.4, FRAMES), torch.zeros(FRAMES))
    intrinsics = default_intrinsics(FRAMES)
    batches = np.split(np.arange(FRAMES), FRAMES // _BATCH)
    pictures: dict[str, torch.Tensor] = {}
    times: dict[str, list[float]] = {name: [] for name in DTYPES}

    def all_frames(name: str) -> None:
        made = [renderer.render(rows, poses[rows], intrinsics[rows]).image for rows in batches]
        pictures[name] = torch.cat(made)

    for repeat in range(repeats + 1):
        for name, dtype in DTYPES.items():
            generator.precision = dtype
            took = timed(partial(all_frames, name))
            if repeat:
                times[name].append(took)
    found = {name: round(FRAMES / statistics.median(values) * 1e3, 1) for name, values in times.items()}
    return found | {"psnr": round(float(psnr(*(pictures[name] for name in DTYPES)).min()), 1)}


def job(video: Path, precision: str, work: Path) -> dict[str, Any]:
    """One job with an empty cache: seconds, stages, reconstruction, scores."""
    out = work / precision
    words = ["--preset", "draft", "--edit", "smile=1.5", "--remove-occluder", "--precision", precision]
    found = run(video, out, work / f"cache-{precision}", words)
    scores = score(out, video.with_suffix(".truth"))
    return found | {name: scores[name] for name in SCORES}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--video", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    keep_freed_memory()
    result: dict[str, Any] = {"machine": machine(), "threads": torch.get_num_threads()}
    result["steps"] = steps("draft", args.device, args.repeats)
    result["rendering"] = {
        name: rendering(samples, args.device, args.repeats) for name, samples in SAMPLES.items()
    }
    if args.video is not None:
        result["video"] = str(args.video)
        with tempfile.TemporaryDirectory() as folder:
            result["jobs"] = {name: job(args.video, name, Path(folder)) for name in DTYPES}
    report(result, args.out)


if __name__ == "__main__":
    main()
