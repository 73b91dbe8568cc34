"""In-N-Out against W+ on a sample clip whose truth is known; true cameras and crops, so that only the
inversion counts.

    python -m benchmarks.in_n_out samples/mask.mp4 --preset draft --out benchmarks/results/in_n_out.json

Prints JSON: a row for each method with the PSNR of its crops after super-resolution was tuned, the agreement
of the blend above one half with the true mask (pooled over frames), and how near the removal comes to the
true face inside the mask, beside the same for the input. Crops are the generator's size; PSNR is per frame,
then averaged.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.machine import machine
from inverters.base import Inversion, InversionProblem, get_inverter
from inverters.finetune import finetune
from inverters.generators.eg3d import Generator
from inverters.generators.load import load_generator
from inverters.metrics import mask_iou, psnr
from inverters.rendering.cameras import default_intrinsics
from inverters.synthesis import InversionRenderer
from pipeline.truth import frames_of, load_truth
from pipeline.video.warp import warp_crop


@dataclass(frozen=True)
class Scene:
    """A sample as an inversion problem: clean crops and masks are the truth that no method is shown."""

    problem: InversionProblem
    clean: Tensor  # [K,3,S,S] in [-1,1]
    masks: Tensor  # [K,1,S,S], 1 on the occluder


def load_scene(video: Path, size: int, every: int) -> Scene:
    """Every `every`-th frame of a sample, cropped to `size` by the true crop."""
    truth = load_truth(video)
    frames = np.arange(0, truth.frames, every)
    chosen = set(frames.tolist())
    affine = truth.affine * (size / truth.crop_size)

    def crops(path: Path) -> np.ndarray:
        found = enumerate(frames_of(path, truth.size))
        return np.stack([warp_crop(frame, affine[t], size) for t, frame in found if t in chosen])

    hidden = [np.repeat(np.uint8(255) * truth.occluded(t)[..., None], 3, -1) for t in frames.tolist()]
    masks = np.stack([warp_crop(m, affine[t], size) for t, m in zip(frames.tolist(), hidden, strict=True)])
    return Scene(
        InversionProblem(
            crops=crops(video),
            frames=frames,
            cam2world=torch.from_numpy(truth.cam2world[frames]),
            intrinsics=default_intrinsics(len(frames)),
        ),
        clean=_unit(crops(truth.clean)),
        masks=torch.from_numpy(masks[..., :1]).permute(0, 3, 1, 2).float() / 255,
    )


def _unit(crops: np.ndarray) -> Tensor:
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1


def run_method(generator: Generator, scene: Scene, method: str, preset: str) -> tuple[Inversion, float]:
    """The tuned inversion and its wall seconds."""
    began = time.perf_counter()
    found = get_inverter(method)(generator, scene.problem, preset=preset)
    found = finetune(generator, scene.problem, found, preset=preset)
    return found, time.perf_counter() - began


def measure(generator: Generator, scene: Scene, inversion: Inversion) -> dict[str, float | None]:
    """The figures of one method."""
    renderer, problem = InversionRenderer(generator, inversion), scene.problem
    wanted = _unit(np.asarray(problem.crops))
    seen, removed, blends = [], [], []
    for row in range(len(problem.frames)):
        at = np.array([row])
        cameras = problem.cam2world[at], problem.intrinsics[at]
        shown = renderer.render(at, *cameras)
        seen.append(shown.image)
        removed.append(renderer.render(at, *cameras, remove_occluder=True).image)
        if shown.blend is not None:
            blends.append(shown.blend)
    iou = None
    if blends:
        blend = F.interpolate(torch.cat(blends), size=scene.masks.shape[-2:], mode="bilinear")
        iou = float(mask_iou(blend > 0.5, scene.masks, pooled=True))
    inside = scene.masks > 0.5
    return {
        "psnr_crop": float(psnr(torch.cat(seen), wanted).mean()),
        "mask_iou": iou,
        "psnr_removal_inside_mask": float(psnr(torch.cat(removed), scene.clean, inside).nanmean()),
        "psnr_input_inside_mask": float(psnr(wanted, scene.clean, inside).nanmean()),
    }


def main(argv: list[str] | None = None) -> int:
    """Run the methods asked for and print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sample", type=Path, help="a clip that `invid sample` wrote, its truth beside it")
    parser.add_argument("--generator", default="bundled")
    parser.add_argument("--preset", default="draft")
    parser.add_argument("--methods", default="w+,in-n-out", help="comma separated")
    parser.add_argument("--every", type=int, default=1, help="use every N-th frame")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    args = parser.parse_args(argv)
    generator = load_generator(args.generator, args.device)
    scene = load_scene(args.sample, generator.config.img_resolution, args.every)
    rows: list[dict[str, Any]] = []
    for method in args.methods.split(","):
        inversion, seconds = run_method(generator, scene, method, args.preset)
        figures = measure(generator, scene, inversion)
        rows.append({"method": method, "preset": args.preset, **figures, "seconds": round(seconds, 1)})
    report = {
        "sample": args.sample.name,
        "frames": len(scene.problem.frames),
        "generator": generator.card.fingerprint[:12],
        "rows": rows,
        "machine": machine(),
    }
    text = json.dumps(report, indent=2)
    print(text)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
