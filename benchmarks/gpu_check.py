"""The CUDA renderer on a GPU: build it, check it against the reference, time both.

    python benchmarks/gpu_check.py --out results

Needs a CUDA device, nvcc, torch, numpy and safetensors; Invid itself need not be installed. Writes
results/gpu_check.json and prints a table. Exit code 1: a check failed; 2: no CUDA device; 3: no library.

Times and memory are those of benchmarks/renderer.py.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from benchmarks import renderer  # noqa: E402
from benchmarks.report import report  # noqa: E402
from inverters.rendering import backends  # noqa: E402
from pipeline.machine import machine  # noqa: E402
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
    problem = renderer.Problem(renderer.Size(16, 8, 8, 32, fields=2), "cuda")

    def used() -> tuple[float, float]:
        gc.collect()
        torch.cuda.synchronize()
        free, whole = torch.cuda.mem_get_info()
        return torch.cuda.memory_allocated() / 2**20, (whole - free) / 2**20

    for _ in range(20):
        problem.run("cuda", True)
    before = used()
    for _ in range(CALLS):
        problem.run("cuda", True)
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
    """Print checks and measurements as lines."""
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
    print(renderer.table(result["rows"]))
    print(f"share of the arithmetic limit: {result['share_of_limit']}")


def main() -> int:
    """Check, measure and write; 1 where a check failed."""
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
    result["rows"] = [] if words.no_times else renderer.measure(list(renderer.CASES), "cuda", words.runs)
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
