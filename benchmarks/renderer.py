"""The compiled renderer against the reference: time forward, time forward and backward, and memory.

    python -m benchmarks.renderer --json [--device cpu|cuda] [--out FILE]

Both sides run in turn in one process; medians are compared. Memory is the peak of a separate process for one
forward and backward pass, beyond its inputs (CUDA: what torch allocates). Planes and decoders are random, so
no sample is empty or hidden and all are computed; `head` is a face of the bundled generator, whose samples
lie mostly in empty space. As in In-N-Out the first decoder is frozen and all of the second field is trained.
On CUDA `tf32` and the deterministic mode have rows of their own.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.report import report
from inverters.fields.ood import OODInit, initial_field, ood_field
from inverters.generators.config import GeneratorConfig
from inverters.generators.eg3d import PlaneDecoder
from inverters.generators.load import load_generator
from inverters.rendering import backends
from inverters.rendering.cameras import default_intrinsics, look_at
from inverters.rendering.fields import Field
from inverters.rendering.fused import render_rays
from inverters.rendering.planes import texels_last
from inverters.rendering.rays import make_rays
from inverters.rendering.sampling import Sampling
from pipeline.machine import machine


@dataclass(frozen=True)
class Size:
    """One case: rays, samples, planes, fields."""

    side: int
    coarse: int
    fine: int
    planes: int
    fields: int = 1
    head: bool = False


CASES = {
    "one-field-64x64x48": Size(64, 48, 0, 128),
    "one-field-64x64x48-head": Size(64, 48, 0, 128, head=True),
    "two-fields-128x128x96": Size(128, 48, 48, 256, fields=2),
}


class Problem:
    """The tensors of a case on a device, and one pass over them."""

    def __init__(self, size: Size, device: str) -> None:
        self.size = size
        rng = torch.Generator().manual_seed(0)
        if size.head:
            generator = load_generator("bundled")
            code = generator.mapping(torch.randn(1, generator.config.z_dim, generator=rng))
            planes, decoder = generator.planes(code).detach(), generator.decoder
            sampling = generator.sampling(size.coarse, size.fine)
        else:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                decoder = PlaneDecoder(GeneratorConfig()).requires_grad_(False)
            planes = torch.randn(1, 3, 32, size.planes, size.planes, generator=rng)
            sampling = Sampling(coarse=size.coarse, fine=size.fine)
        self.sampling = sampling
        # Each side gets the order in memory that it reads: channels last as the backbone makes planes now, or
        # plane by plane.
        self.planes = texels_last(planes).to(device), planes.contiguous().to(device)
        self.decoder = decoder.to(device).weights()
        origins, directions = make_rays(look_at(0.2, 0.1), default_intrinsics(1), (size.side, size.side))
        self.rays = origins.to(device), directions.to(device)
        ood: dict[str, Tensor] = {}
        if size.fields == 2:
            ood = initial_field(OODInit(resolution=size.planes), 32, 32, 1, rng)
            ood = {name: t.to(device) for name, t in ood.items()}
        self.ood = ood, {name: t.contiguous() for name, t in ood.items()}

    def run(self, backend: backends.Backend, backward: bool) -> Tensor:
        """One pass; the features."""
        planes = self.planes[backend == "reference"].detach().requires_grad_(backward)
        ood = {k: v.detach().requires_grad_(backward) for k, v in self.ood[backend == "reference"].items()}
        with torch.set_grad_enabled(backward):
            second = ood_field(ood, ood["phi"]) if ood else None
            field = Field(planes, self.decoder)
            seen = render_rays(field, *self.rays, self.sampling, second, backend=backend)
            if backward:
                seen.features.square().sum().backward()
        return seen.features


@dataclass(frozen=True)
class Side:
    """One way to render."""

    backend: backends.Backend
    precision: backends.Precision = "fp32"
    deterministic: bool = False

    @contextmanager
    def chosen(self) -> Iterator[None]:
        """Its precision and determinism for the time of a `with` block."""
        before = torch.are_deterministic_algorithms_enabled()
        backends.set_precision(self.precision)
        torch.use_deterministic_algorithms(self.deterministic)
        try:
            yield
        finally:
            backends.set_precision("fp32")
            torch.use_deterministic_algorithms(before)


SIDES = {
    "cpu": {"reference": Side("reference"), "cpu": Side("cpu")},
    "cuda": {
        "reference": Side("reference"),
        "cuda": Side("cuda"),
        "cuda tf32": Side("cuda", "tf32"),
        "cuda deterministic": Side("cuda", deterministic=True),
    },
}


def timed(work: Callable[[], Any], device: str) -> Callable[[], float]:
    """Makes one call; its milliseconds can be asked for once the device is done with all that was queued."""
    if device == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        return partial(start.elapsed_time, end)
    began = time.perf_counter()
    work()
    taken = (time.perf_counter() - began) * 1e3
    return lambda: taken


def times(case: str, device: str, repeats: int) -> dict[str, dict[str, float]]:
    """Medians by side, all sides in turn, everything warmed up once."""
    problem = Problem(CASES[case], device)
    gathered: dict[str, dict[str, list[Callable[[], float]]]] = {
        label: {"forward_ms": [], "forward_backward_ms": []} for label in SIDES[device]
    }
    gc.disable()
    for repeat in range(repeats + 1):
        for name, backward in (("forward_ms", False), ("forward_backward_ms", True)):
            for label, side in SIDES[device].items():
                with side.chosen():
                    taken = timed(partial(problem.run, side.backend, backward), device)
                if repeat:
                    gathered[label][name].append(taken)
        gc.collect()
    gc.enable()
    if device == "cuda":
        torch.cuda.synchronize()
    return {
        label: {name: statistics.median(taken() for taken in values) for name, values in found.items()}
        for label, found in gathered.items()
    }


def memory(case: str, device: str, label: str) -> float:
    """Peak megabytes of a forward and backward pass beyond the inputs."""
    with SIDES[device][label].chosen():
        return _memory(case, device, SIDES[device][label].backend)


def _memory(case: str, device: str, backend: backends.Backend) -> float:
    problem = Problem(CASES[case], device)
    small = Problem(Size(8, 4, 4 * (CASES[case].fine > 0), 8, CASES[case].fields), device)
    small.run(backend, True)  # what loads at first use is not counted
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        problem.run(backend, True)
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = _status("VmRSS")
    problem.run(backend, True)
    return (_status("VmHWM") - before) / 1024


def _status(name: str) -> int:
    line = next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith(f"{name}:"))
    return int(line.split()[1])


def memory_apart(case: str, device: str, label: str) -> float:
    """`memory` in a process of its own."""
    words = ["--memory-of", case, "--side", label, "--device", device]
    command = [sys.executable, "-m", "benchmarks.renderer", *words]
    root = Path(__file__).resolve().parent.parent
    return float(subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout)


def measure(cases: list[str], device: str, repeats: int) -> list[dict[str, Any]]:
    """Rows of all sides for each case; ratios are the reference's figure over this one's."""
    rows = []
    for case in cases:
        found = times(case, device, repeats)
        for label, values in found.items():
            values["memory_mb"] = memory_apart(case, device, label)
        base = found["reference"]
        for label, values in found.items():
            ratios = {
                name: round(base[key] / values[key], 2)
                for name, key in (
                    ("forward_ratio", "forward_ms"),
                    ("forward_backward_ratio", "forward_backward_ms"),
                    ("memory_ratio", "memory_mb"),
                )
            }
            rounded = {key: round(value, 2) for key, value in values.items()}
            rows.append({"case": case, "backend": label, **rounded, **ratios})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text."""
    lines = [f"{'case':<26}{'backend':<20}{'forward':>12}{'fwd+bwd':>12}{'memory':>11}   ratios"]
    for row in rows:
        ratios = "  ".join(
            f"{row[k]:.1f}x" for k in ("forward_ratio", "forward_backward_ratio", "memory_ratio")
        )
        lines.append(
            f"{row['case']:<26}{row['backend']:<20}{row['forward_ms']:>9.2f} ms"
            f"{row['forward_backward_ms']:>9.2f} ms{row['memory_mb']:>8.0f} MB   {ratios}"
        )
    return "\n".join(lines)


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--case", action="append", choices=CASES, help="instead of all")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    parser.add_argument("--memory-of", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory_of:
        print(memory(args.memory_of, args.device, args.side))
        return
    rows = measure(args.case or list(CASES), args.device, args.repeats)
    result = {"machine": machine(), "renderer": backends.picked(args.device), "rows": rows}
    if args.json:
        report(result, args.out)
        return
    print(table(rows))
    if args.out is not None:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
