"""The CUDA renderer on a real GPU: builds it, checks it against the reference, times both.

    python benchmarks/gpu_check.py --out results

Needs a CUDA device, nvcc, torch, numpy and safetensors; Invid itself need not be installed. Writes
results/gpu_check.json and prints a table. Exit code 1: a check failed; 2: no CUDA device; 3: no library.

Times are medians over CUDA events. The planes lie as the generator makes them (channels before texels), so
that the compiled renderer's copy is part of its time. The timed scenes are fog: every sample weighs
something, which is the worst case for a renderer that leaves out what does not.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from benchmarks.machine import machine, report  # noqa: E402
from inverters.rendering import backends, reference  # noqa: E402
from inverters.rendering.fields import Decoder, Field  # noqa: E402
from inverters.rendering.fused import render_rays  # noqa: E402
from inverters.rendering.sampling import Sampling  # noqa: E402
from tests.inverters.rendering.cases import (  # noqa: E402
    CASES,
    Case,
    Results,
    Scene,
    differences,
    failures,
)

LARGE = (
    Case("64 x 64 rays", size=(64, 64), coarse=48, fine=48, planes=61, ood_planes=64, two=True, colours=32),
    Case("192 samples", size=(16, 16), coarse=96, fine=96, planes=64, two=True, transmittance="sum"),
    Case("rays in no tiles", size=(50, 31), coarse=24, fine=24, planes=32, two=True, colours=32, alone=True),
)
"""Beside the cases of the emulated GPU: enough rays for every multiprocessor to have some."""

LIMITS = {"forward": 0.54, "backward": 1.12}
"""Milliseconds that the arithmetic of two-fields-128x128x96 alone takes at an H200's 67 TFLOP/s."""

CALLS = 1000


def check_cases() -> list[dict[str, Any]]:
    """Every case against the reference in double precision; the reference in single precision beside it."""
    rows = []
    for case in (*CASES, *LARGE):
        scene = Scene(case)
        expected = scene.run("reference", torch.float64, "cuda")
        single = differences(scene.run("reference", torch.float32, "cuda"), expected)
        for precision in ("fp32", "tf32"):
            backends.set_precision(precision)
            found = differences(scene.run("cuda", torch.float32, "cuda"), expected)
            rows.append(
                {
                    "case": case.name,
                    "precision": precision,
                    "outputs": _worst(found, False),
                    "gradients": _worst(found, True),
                    "reference_fp32_outputs": _worst(single, False),
                    "reference_fp32_gradients": _worst(single, True),
                    "failures": failures(found, precision),
                }
            )
        backends.set_precision("fp32")
    return rows


def _worst(distances: dict[str, float], gradients: bool) -> float:
    return max((d for name, d in distances.items() if name.startswith("d ") == gradients), default=0.0)


def check_determinism() -> list[dict[str, Any]]:
    """Whether three runs give the same bits, and right ones."""
    rows = []
    torch.use_deterministic_algorithms(True)
    try:
        for case in (CASES[4], *LARGE):
            runs = [Scene(case).run("cuda", torch.float32, "cuda") for _ in range(3)]
            expected = Scene(case).run("reference")
            rows.append(
                {
                    "case": case.name,
                    "same": all(_same(runs[0], other) for other in runs[1:]),
                    "failures": failures(differences(runs[0], expected), "fp32"),
                }
            )
    finally:
        torch.use_deterministic_algorithms(False)
    return rows


def _same(a: Results, b: Results) -> bool:
    return all(tensor.equal(b[part][name]) for part in (0, 1) for name, tensor in a[part].items())


class Fog:
    """Leaves of a timed case, and one step over them."""

    def __init__(self, two: bool, side: int, coarse: int, fine: int, resolution: int) -> None:
        from inverters.rendering.cameras import default_intrinsics, look_at
        from inverters.rendering.rays import make_rays

        g = torch.Generator().manual_seed(0)
        self.leaves: list[Tensor] = []

        def leaf(*shape: int, scale: float, trained: bool, offset: float = 0.0) -> Tensor:
            tensor = (torch.randn(shape, generator=g) * scale).cuda()
            if offset:
                tensor[0] += offset
            if trained:
                self.leaves.append(tensor.requires_grad_())
            return tensor

        def field(place: int) -> Field:
            # The generator's decoder is frozen where a second field learns, as in In-N-Out.
            trained = bool(place) or not two
            weights = [
                leaf(64, 32, scale=0.3, trained=trained),
                leaf(*((1, 64) if place else (64,)), scale=0.3, trained=trained),
                leaf(33 + place, 64, scale=0.3, trained=trained),
                leaf(33 + place, scale=0.3, trained=trained, offset=2.0),
            ]
            return Field(leaf(1, 3, 32, resolution, resolution, scale=1.0, trained=True), Decoder(*weights))

        self.field = field(0)
        self.ood = field(1) if two else None
        rays = make_rays(look_at([0.3], [0.1]), default_intrinsics(1), (side, side))
        self.origins, self.directions = (r.contiguous().cuda() for r in rays)
        self.sampling = Sampling(coarse=coarse, fine=fine)
        result = self.forward("reference")
        self.weights = [torch.randn(t.shape, generator=g).cuda() for t in self._outputs(result)]

    def forward(self, backend: str) -> Any:
        job = (self.field, self.origins, self.directions, self.sampling, self.ood)
        if backend == "reference":
            return reference.render_rays(*job, want_samples=True)
        return render_rays(*job, want_samples=True, backend=backend)  # type: ignore[arg-type]

    def _outputs(self, result: Any) -> list[Tensor]:
        # What the losses of a training step look at.
        return [
            t for t in (result.features, result.opacity, result.depth, result.sample_blend) if t is not None
        ]

    def without_gradient(self, backend: str) -> None:
        with torch.no_grad():
            self.forward(backend)

    def step(self, backend: str) -> None:
        outputs = self._outputs(self.forward(backend))
        torch.autograd.grad(outputs, self.leaves, self.weights)


SCENES = {
    "one-field-64x64x48": (False, 64, 48, 0, 128),
    "two-fields-128x128x96": (True, 128, 48, 48, 256),
}


def median_ms(work: Callable[[], None], runs: int) -> float:
    for _ in range(3):
        work()
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(runs)]
    for start, end in events:
        start.record()
        work()
        end.record()
    torch.cuda.synchronize()
    return sorted(start.elapsed_time(end) for start, end in events)[runs // 2]


def memory_mb(work: Callable[[], None]) -> float:
    gc.collect()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    work()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


VARIANTS = {
    "reference": ("reference", "fp32", False),
    "cuda": ("cuda", "fp32", False),
    "cuda tf32": ("cuda", "tf32", False),
    "cuda deterministic": ("cuda", "fp32", True),
}


def time_scenes(runs: int) -> list[dict[str, Any]]:
    """Times and memory of each scene and renderer, and what share of the reference's they are."""
    rows: list[dict[str, Any]] = []
    for name, size in SCENES.items():
        scene = Fog(*size)
        base: dict[str, float] = {}
        for label, (backend, precision, deterministic) in VARIANTS.items():
            backends.set_precision(precision)  # type: ignore[arg-type]
            torch.use_deterministic_algorithms(deterministic)
            count = runs if backend == "cuda" else max(5, runs // 5)
            row = {
                "forward_ms": median_ms(partial(scene.without_gradient, backend), count),
                "forward_backward_ms": median_ms(partial(scene.step, backend), count),
                "memory_mb": memory_mb(partial(scene.step, backend)),
            }
            base = base or row
            ratios = {
                key.rsplit("_", 1)[0] + "_ratio": round(base[key] / max(row[key], 1e-9), 2) for key in row
            }
            rows.append(
                {"case": name, "backend": label, **{k: round(v, 4) for k, v in row.items()}, **ratios}
            )
        torch.use_deterministic_algorithms(False)
        backends.set_precision("fp32")
    return rows


def share_of_limit(rows: list[dict[str, Any]]) -> dict[str, float]:
    """How near the fp32 renderer comes to what arithmetic alone would take on an H200."""
    row = next(r for r in rows if r["case"] == "two-fields-128x128x96" and r["backend"] == "cuda")
    backward = max(row["forward_backward_ms"] - row["forward_ms"], 1e-9)
    return {
        "forward": round(LIMITS["forward"] / row["forward_ms"], 3),
        "backward": round(LIMITS["backward"] / backward, 3),
    }


def check_growth() -> dict[str, float]:
    """Memory that CALLS steps leave behind: torch's, and the device's whole."""
    scene = Fog(True, 16, 8, 8, 32)

    def used() -> tuple[float, float]:
        gc.collect()
        torch.cuda.synchronize()
        free, whole = torch.cuda.mem_get_info()
        return torch.cuda.memory_allocated() / 2**20, (whole - free) / 2**20

    for _ in range(20):
        scene.step("cuda")
    before = used()
    for _ in range(CALLS):
        scene.step("cuda")
    after = used()
    return {"torch_mb": after[0] - before[0], "device_mb": after[1] - before[1]}


def build() -> str | None:
    """Compiles the library; says why there is none to check."""
    command = [sys.executable, "-m", "inverters.rendering.build", "cuda"]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        return "not built"
    found = backends.library("cuda")
    return found if isinstance(found, str) else None


def print_tables(result: dict[str, Any]) -> None:
    for row in result["checks"]:
        verdict = "ok" if not row["failures"] else f"FAILED {row['failures']}"
        print(
            f"{row['case']:34} {row['precision']}  outputs {row['outputs']:.1e}  "
            f"gradients {row['gradients']:.1e}  {verdict}"
        )
    for row in result["determinism"]:
        verdict = "same bits" if row["same"] else "DIFFERS"
        print(f"{row['case']:34} deterministic: {verdict} {row['failures'] or ''}")
    print(f"growth over {CALLS} steps: {result['growth']}")
    for row in result["rows"]:
        print(
            f"{row['case']:22} {row['backend']:19} "
            f"forward {row['forward_ms']:8.3f} ms ({row['forward_ratio']}x)  "
            f"with backward {row['forward_backward_ms']:8.3f} ms ({row['forward_backward_ratio']}x)  "
            f"{row['memory_mb']:8.1f} MB ({row['memory_ratio']}x less)"
        )
    print(f"share of the arithmetic limit: {result['share_of_limit']}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for gpu_check.json")
    parser.add_argument("--runs", type=int, default=50, help="timed calls of each kind")
    parser.add_argument("--no-times", action="store_true", help="only check")
    words = parser.parse_args()
    if not torch.cuda.is_available():
        print("gpu_check: no CUDA device here", file=sys.stderr)
        return 2
    if (problem := build()) is not None:
        print(f"gpu_check: the compiled CUDA renderer is {problem}", file=sys.stderr)
        return 3
    # The reference must not be the less exact one.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    result: dict[str, Any] = {"machine": machine() | {"cuda": torch.version.cuda or "none"}}
    result["checks"] = check_cases()
    result["determinism"] = check_determinism()
    result["growth"] = check_growth()
    result["rows"] = [] if words.no_times else time_scenes(words.runs)
    result["share_of_limit"] = share_of_limit(result["rows"]) if result["rows"] else {}
    bad = [r["case"] for r in result["checks"] + result["determinism"] if r["failures"]]
    bad += [r["case"] for r in result["determinism"] if not r["same"]]
    bad += ["growth"] if max(result["growth"].values()) > 1 else []
    result["failed"] = bad
    report(result, words.out / "gpu_check.json")
    print_tables(result)
    if bad:
        print(f"gpu_check: failed: {', '.join(bad)}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
