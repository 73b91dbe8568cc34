"""Time of one step of each stage of In-N-Out, with the reference renderer and with the compiled one.

    python -m benchmarks.steps [--preset draft] [--out benchmarks/results/steps.json]

The clip is eight frames of 256 x 256, rendered by the bundled generator in memory; no video is read. Both
renderers take turns in one process; times are medians. The renderer's share is the time of the step's call to
it, forward and backward, repeated alone, over the time of the step.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from benchmarks.report import report
from inverters.base import Inversion, InversionProblem
from inverters.fields.synthesis import InversionRenderer
from inverters.fitting import code_losses, joint
from inverters.fitting.codes import CodeFit
from inverters.fitting.joint import JointFit
from inverters.fitting.superresolution import SuperresolutionFit
from inverters.fitting.targets import Targets
from inverters.generators.load import load_generator
from inverters.memory import keep_freed_memory
from inverters.methods.in_n_out import PRESETS
from inverters.rendering import backends
from inverters.rendering.cameras import default_intrinsics, look_at
from inverters.rendering.fields import Decoder, Field
from inverters.rendering.fused import render_rays
from pipeline.machine import machine

FRAMES = 8
LATE = 10_000
"""Number of steps of a run, of which those in its second half are timed: all of a stage's parts move then."""


class Stages:
    """The three stages of a preset on one small clip."""

    def __init__(self, preset_name: str, device: str, precision: torch.dtype = torch.float32) -> None:
        generator = load_generator("bundled", device).requires_grad_(False)
        generator.precision = precision
        preset = PRESETS[preset_name]
        rng = torch.Generator().manual_seed(0)
        cam2world = look_at(torch.linspace(-0.25, 0.25, FRAMES), torch.zeros(FRAMES)).to(device)
        intrinsics = default_intrinsics(FRAMES).to(device)
        ws = generator.mapping(torch.randn(1, generator.config.z_dim, generator=rng).to(device))
        with torch.no_grad():
            images = torch.cat(
                [
                    generator.synthesis(ws, cam2world[k : k + 1], intrinsics[k : k + 1]).image
                    for k in range(FRAMES)
                ]
            )
        pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        problem = InversionProblem(
            crops=np.ascontiguousarray(pixels),
            frames=np.arange(FRAMES),
            cam2world=cam2world,
            intrinsics=intrinsics,
            occluder_masks=None,
        )
        size = generator.config.neural_rendering_resolution
        targets = Targets(problem, size, torch.device(device))
        codes = ws.expand(FRAMES, -1, -1).clone()
        inversion = Inversion("w+", preset_name, generator.card.fingerprint, problem.frames, codes)
        self.stages: dict[str, Any] = {
            "codes": CodeFit(generator, targets, preset.codes, LATE, 0),
            "joint": JointFit(generator, targets, codes, preset.joint, LATE, 0),
            "super-resolution": SuperresolutionFit(
                InversionRenderer(generator, inversion), targets, preset.tune, LATE, 0
            ),
        }


def timed(work: Callable[[], Any]) -> float:
    """Milliseconds of one call."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - began) * 1e3


class Recorder:
    """Stands in for the renderer and keeps what it was last called with."""

    def __init__(self) -> None:
        self.call: tuple[tuple[Any, ...], dict[str, Any]] | None = None

    def __call__(self, *words: Any, **named: Any) -> Any:
        """Keep the arguments, and render."""
        self.call = words, named
        return render_rays(*words, **named)

    def replay(self) -> None:
        """The same call alone, forward and backward."""
        if self.call is None:
            return
        words, named = self.call
        found = render_rays(*(_fresh(w) for w in words), **{k: _fresh(v) for k, v in named.items()})
        parts = [found.features, found.sample_blend, found.ood_opacity]
        total = torch.stack([p.sum() for p in parts if p is not None]).sum()
        if total.requires_grad:
            total.backward()


def _fresh(value: Any) -> Any:
    """The same values as leaves, wanting gradients where they did."""
    if isinstance(value, Tensor):
        return value.detach().requires_grad_(value.requires_grad)
    if isinstance(value, Field):
        d = value.decoder
        weights = (_fresh(t) for t in (d.weight1, d.bias1, d.weight2, d.bias2))
        return Field(_fresh(value.planes), Decoder(*weights))
    return value


def measure(preset: str, device: str, repeats: int) -> dict[str, dict[str, dict[str, float]]]:
    """Median milliseconds of a step and the renderer's share, by stage and renderer."""
    stages = Stages(preset, device).stages
    gathered: dict[str, dict[str, dict[str, list[float]]]] = {
        stage: {b: {"step": [], "renderer": []} for b in ("reference", device)} for stage in stages
    }
    number = LATE // 2
    for repeat in range(repeats + 1):
        for name, stage in stages.items():
            for backend, found in gathered[name].items():
                recorder = Recorder()
                with (
                    backends.using(backend),
                    mock.patch.object(code_losses, "render_rays", recorder),
                    mock.patch.object(joint, "render_rays", recorder),
                ):
                    step = timed(partial(stage.step, number + repeat))
                    rendering = timed(recorder.replay)
                if repeat:
                    found["step"].append(step)
                    found["renderer"].append(rendering)
    result: dict[str, dict[str, dict[str, float]]] = {}
    for name, of_stage in gathered.items():
        result[name] = {}
        for backend, found in of_stage.items():
            step, rendering = (statistics.median(found[k]) for k in ("step", "renderer"))
            result[name][backend] = {"step_ms": round(step, 1), "renderer_share": round(rendering / step, 3)}
    return result


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--preset", action="append", help="may be given several times (draft, fast)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    keep_freed_memory()
    presets = args.preset or ["draft", "fast"]
    result: dict[str, Any] = {"machine": machine(), "renderer": backends.picked(args.device)}
    result["presets"] = {name: measure(name, args.device, args.repeats) for name in presets}
    report(result, args.out)


if __name__ == "__main__":
    main()
