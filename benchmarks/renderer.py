"""The compiled renderer beside the reference: time forward, time forward and backward, and memory.

    python -m benchmarks.renderer --json [--device cpu|cuda] [--out FILE]

Both sides run in turn in one process, and the medians are compared. Memory is what a process of its own
needs at its peak for one forward and backward pass beyond its inputs (CUDA: what torch allocates). Every
sample counts: planes and decoders are random, so that nothing is empty and nothing is hidden; `head` is a
face of the bundled generator, of whose samples most lie in empty space. As in In-N-Out the first decoder is
frozen, and all of the second field learns.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import machine, report
from inverters.generators.config import GeneratorConfig
from inverters.generators.eg3d import PlaneDecoder
from inverters.generators.load import load_generator
from inverters.ood import OODInit, initial_field, ood_field
from inverters.rendering import backends
from inverters.rendering.cameras import default_intrinsics, look_at
from inverters.rendering.fields import Field
from inverters.rendering.fused import render_rays
from inverters.rendering.planes import texels_last
from inverters.rendering.rays import make_rays
from inverters.rendering.sampling import Sampling


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
        self.rays = [
            t.to(device) for t in make_rays(look_at(0.2, 0.1), default_intrinsics(1), (size.side, size.side))
        ]
        ood: dict[str, Tensor] = {}
        if size.fields == 2:
            ood = initial_field(OODInit(resolution=size.planes), 32, 32, 1, rng)
            ood = {name: t.to(device) for name, t in ood.items()}
        self.ood = ood, {name: t.contiguous() for name, t in ood.items()}

    def run(self, backend: str, backward: bool) -> Tensor:
        """One pass; the features."""
        planes = self.planes[backend == "reference"].detach().requires_grad_(backward)
        ood = {k: v.detach().requires_grad_(backward) for k, v in self.ood[backend == "reference"].items()}
        with torch.set_grad_enabled(backward):
            second = ood_field(ood, ood["phi"]) if ood else None
            field = Field(planes, self.decoder)
            seen = render_rays(field, *self.rays, self.sampling, second, backend=backend)  # type: ignore[arg-type]
            if backward:
                seen.features.square().sum().backward()
        return seen.features


def timed(work: Callable[[], Any], device: str) -> float:
    """Milliseconds of one call."""
    if device == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end))
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


def times(case: str, device: str, backend: str, repeats: int) -> dict[str, dict[str, float]]:
    """Medians by backend, both sides in turn, everything warmed up once."""
    problem = Problem(CASES[case], device)
    gathered: dict[str, dict[str, list[float]]] = {
        b: {"forward_ms": [], "forward_backward_ms": []} for b in ("reference", backend)
    }
    gc.disable()
    for repeat in range(repeats + 1):
        for name, backward in (("forward_ms", False), ("forward_backward_ms", True)):
            for side, found in gathered.items():
                taken = timed(lambda s=side, b=backward: problem.run(s, b), device)  # type: ignore[misc]
                if repeat:
                    found[name].append(taken)
        gc.collect()
    gc.enable()
    return {b: {k: statistics.median(v) for k, v in found.items()} for b, found in gathered.items()}


def memory(case: str, device: str, backend: str) -> float:
    """Peak megabytes of a forward and backward pass beyond the inputs."""
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


def memory_apart(case: str, device: str, backend: str) -> float:
    """`memory` in a process of its own."""
    words = ["--memory-of", case, "--backend", backend, "--device", device]
    command = [sys.executable, "-m", "benchmarks.renderer", *words]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def measure(cases: list[str], device: str, repeats: int) -> list[dict[str, Any]]:
    """Rows of both backends for each case; ratios are the reference's figure over this one's."""
    rows = []
    for case in cases:
        found = times(case, device, device, repeats)
        for backend, values in found.items():
            values["memory_mb"] = memory_apart(case, device, backend)
        base = found["reference"]
        for backend, values in found.items():
            ratios = {
                name: round(base[key] / values[key], 2)
                for name, key in (
                    ("forward_ratio", "forward_ms"),
                    ("forward_backward_ratio", "forward_backward_ms"),
                    ("memory_ratio", "memory_mb"),
                )
            }
            rounded = {key: round(value, 2) for key, value in values.items()}
            rows.append({"case": case, "backend": backend, **rounded, **ratios})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text."""
    lines = [f"{'case':<26}{'backend':<11}{'forward':>12}{'fwd+bwd':>12}{'memory':>11}   ratios"]
    for row in rows:
        ratios = "  ".join(
            f"{row[k]:.1f}x" for k in ("forward_ratio", "forward_backward_ratio", "memory_ratio")
        )
        lines.append(
            f"{row['case']:<26}{row['backend']:<11}{row['forward_ms']:>9.1f} ms"
            f"{row['forward_backward_ms']:>9.1f} ms{row['memory_mb']:>8.0f} MB   {ratios}"
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
    parser.add_argument("--backend", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory_of:
        print(memory(args.memory_of, args.device, args.backend))
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
