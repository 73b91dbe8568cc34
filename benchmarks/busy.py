"""The fit beside other work: `samples/mask.mp4` alone, beside one busy process and beside two.

    python -m benchmarks.busy [--json] [--against DIR] [--out benchmarks/results/busy.json]

`seconds` is the time of the stages `invert` and `finetune` of `process-video` with few frames and steps; the
stages before them come from a cache. The loads take turns, and a figure is the median of all rounds. A busy
process computes in one thread without a pause.

Fair share: a scheduler gives every runnable thread the same part of the cores. Beside N busy processes a job
of T threads gets T / (T + N) of C cores, and never more than T. So `fair_share_seconds` is the time alone
times max(1, (T + N) / C); with T = C = 2 that is 1.5 times beside one process and 2 times beside two. `ratio`
is `seconds` over `fair_share_seconds`.

`others` are the cores used by programs that are neither the job nor the load: near 0 on a machine that is fit
for this benchmark.

--against DIR also runs the fit of another checkout, alone, in turn with this one; `slower` is the median over
the pairs of our time over theirs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inverters import threads
from pipeline.machine import machine

ROOT = Path(__file__).resolve().parents[1]
CLIP = ROOT / "samples" / "mask.mp4"
FIT = ("invert", "finetune")
WORDS = ["--max-frames=8", "--steps=120", "--finetune-steps=15"]
BURN = "import os, sys\nwhile os.getppid() == int(sys.argv[1]):\n    for _ in range(10**6): pass"
"""Ends by itself when this script has ended in whatever way."""


@contextmanager
def busy(count: int) -> Iterator[list[int]]:
    """Busy processes; their ids."""
    processes = [subprocess.Popen([sys.executable, "-c", BURN, str(os.getpid())]) for _ in range(count)]
    try:
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()


class Checkout:
    """A folder with Invid's sources, and a cache that holds all stages before the fit."""

    def __init__(self, folder: Path, work: Path) -> None:
        self.folder, self.work, self._runs = folder, work, 0
        new = folder / "pipeline" / "commands" / "__main__.py"
        self._module = "pipeline.commands" if new.exists() else "pipeline.cli"
        work.mkdir()
        self.fit(seed=0)

    def fit(self, seed: int) -> float:
        """Seconds of one fit. A seed that was not used before, so that no stage of it is in the cache."""
        self._runs += 1
        out = self.work / f"out{self._runs}"
        command = [sys.executable, "-m", self._module, "process", str(CLIP), f"--seed={seed}", "--quiet"]
        command += [*WORDS, f"--out={out}", f"--cache={self.work / 'cache'}"]
        environment = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
        environment["PYTHONPATH"] = str(self.folder)
        subprocess.run(command, cwd=self.folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        stages = json.loads((out / "manifest.json").read_text())["stages"]
        return sum(float(stage["seconds"]) for stage in stages if stage["name"] in FIT)


def loaded(checkout: Checkout, load: int, seed: int) -> tuple[float, float]:
    """Seconds of one fit beside `load` busy processes, and the cores that other programs used."""
    with busy(load) as burning:
        before, since, own = _used(burning), time.monotonic(), os.times()
        seconds = checkout.fit(seed)
        after, now = os.times(), _used(burning)
        wall = time.monotonic() - since
    children = after.children_user + after.children_system - own.children_user - own.children_system
    return seconds, max(0.0, (now - before - children) / wall)


def _used(except_for: list[int]) -> float:
    """Seconds of CPU time that the machine has used, without those processes."""
    tick = os.sysconf("SC_CLK_TCK")
    numbers = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    total = sum(numbers[:3]) + sum(numbers[5:8])
    for pid in except_for:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total -= int(fields[11]) + int(fields[12])
    return total / tick


def rows_of(found: dict[int, list[tuple[float, float]]], count: int, cores: int) -> list[dict[str, Any]]:
    """One row for each load, from its (seconds, others) of each round, for a job of `count` threads."""
    alone = statistics.median(seconds for seconds, _ in found[0])
    rows = []
    for load, runs in found.items():
        seconds = statistics.median(seconds for seconds, _ in runs)
        fair = alone * max(1.0, (count + load) / cores)
        rows.append(
            {
                "load": load,
                "seconds": round(seconds, 2),
                "fair_share_seconds": round(fair, 2),
                "ratio": round(seconds / fair, 3),
                "others": round(max(others for _, others in runs), 2),
            }
        )
    return rows


def against(ours: Checkout, folder: Path, work: Path, rounds: int) -> dict[str, Any]:
    """The fit alone, ours and another checkout's in turn."""
    theirs = Checkout(folder, work)
    asked = ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    pairs = []
    for number in range(rounds):
        seed = 1000 + number
        both = [loaded(checkout, 0, seed) for checkout in (ours, theirs)]
        pairs.append({"ours": round(both[0][0], 2), "theirs": round(both[1][0], 2)})
        pairs[-1]["others"] = round(max(others for _, others in both), 2)
        _say(f"ours and {commit}: {pairs[-1]}")
    slower = statistics.median(pair["ours"] / pair["theirs"] for pair in pairs)
    return {"commit": commit, "slower": round(slower, 3), "pairs": pairs}


def measure(rounds: int, other: Path | None) -> dict[str, Any]:
    """All loads in turn, `rounds` times; then the pairs with another checkout, if there is one."""
    cores = threads.cores()
    found: dict[int, list[tuple[float, float]]] = {0: [], 1: [], 2: []}
    with tempfile.TemporaryDirectory() as name:
        ours = Checkout(ROOT, Path(name) / "ours")
        for number in range(rounds):
            for load, runs in found.items():
                runs.append(loaded(ours, load, 1 + number * len(found) + load))
                _say(f"beside {load}: {runs[-1][0]:.1f} s, others {runs[-1][1]:.2f} cores")
        result = {"machine": machine(), "words": WORDS, "threads": cores, "rounds": rounds}
        result["rows"] = rows_of(found, cores, cores)
        if other is not None:
            result["against"] = against(ours, other.resolve(), Path(name) / "theirs", 2 * rounds)
    return result


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the result as JSON instead of a table")
    parser.add_argument("--rounds", type=int, default=2, help="times that all loads are measured (2)")
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout, measured in turn")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the result there, as JSON")
    args = parser.parse_args()
    result = measure(args.rounds, args.against)
    text = json.dumps(result, indent=1)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text + "\n")
    if args.json:
        print(text)
        return
    print(f"{'load':>4} {'seconds':>8} {'fair share':>11} {'ratio':>6}")
    for row in result["rows"]:
        print(f"{row['load']:>4} {row['seconds']:>8} {row['fair_share_seconds']:>11} {row['ratio']:>6}")
    if (paired := result.get("against")) is not None:
        print(f"alone: {paired['slower']:.3f} times the seconds of {paired['commit']}")


if __name__ == "__main__":
    main()
