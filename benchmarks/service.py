"""What `invid serve` costs when it has nothing to do, and how soon it starts a run.

    python -m benchmarks.service [--seconds 120] [--runs 5] [--workers 1] [--json] [--out FILE]

- `idle_percent_of_a_core`: CPU time of all processes of a service without runs over `--seconds`, after it
  has rested for a minute; `parts` has each process's. Other work on the machine changes it little.
- `first_stage_s`: from the request that makes a run of two frames to the start of its first stage, the median
  of `--runs` runs, one after the other. It is wall time: `busy` says what share of the cores was in use just
  before.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.report import report
from benchmarks.restarts import FINAL, Service, at, submit
from flows import processes
from pipeline.machine import machine

NAMES = {
    "server": r"flows\.server",
    "results": r"flows\.results",
    "worker for clips": "worker start --pool invid --limit",
    "worker for folders": "worker start --pool invid-watch",
    "serve": r"pipeline\.commands serve",
}
REST = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(service: Service) -> dict[str, float]:
    """CPU time of each process of a service, with its ended children, by name."""
    found: dict[str, float] = {}
    for pid in [service.process.pid, *processes.of_service(service.home)]:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        name = next((name for name, pattern in NAMES.items() if re.search(pattern, words)), words[:60])
        found[name] = found.get(name, 0.0) + sum(map(int, stat[11:15])) / _TICKS
    return found


def idle(service: Service, seconds: float) -> dict[str, float]:
    """Percent of a core that each process takes over so many seconds."""
    before, began = cpu_seconds(service), time.monotonic()
    time.sleep(seconds)
    after, passed = cpu_seconds(service), time.monotonic() - began
    return {name: round(100 * (after[name] - before.get(name, 0.0)) / passed, 2) for name in after}


def busy(seconds: float = 2.0) -> float:
    """Share of the cores that is in use now, 0 to 1."""

    def ticks() -> tuple[int, int]:
        fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(fields), fields[3] + fields[4]

    before = ticks()
    time.sleep(seconds)
    whole, free = (now - then for now, then in zip(ticks(), before, strict=True))
    return round(1.0 - free / max(whole, 1), 2)


def first_stage(service: Service, number: int) -> dict[str, float]:
    """Seconds from the request for a run to the start of its first stage."""
    used = busy()
    began = time.time()
    run = submit(service, number)
    while service.ask("GET", f"flow_runs/{run}")["state"]["type"] not in FINAL:
        time.sleep(0.5)
    states = service.ask("GET", f"flow_run_states/?flow_run_id={run}")
    times = {state["type"]: at(state["timestamp"]) - began for state in states}
    if "COMPLETED" not in times:
        raise SystemExit(f"the run did not end well: {states[-1]}")
    tasks = service.ask("POST", "task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
    first = min(at(task["start_time"]) for task in tasks) - began
    named = {"taken": times["PENDING"], "running": times["RUNNING"], "first_stage": first}
    return {name: round(value, 2) for name, value in named.items()} | {"busy": used}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print nothing but the figures")
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the service is ended, too
    with tempfile.TemporaryDirectory() as name:
        service = Service(Path(name), args.workers, watches=False)
        service.start()
        try:
            time.sleep(REST)
            parts = idle(service, args.seconds)
            if not args.json:
                print(parts, file=sys.stderr)
            runs = [first_stage(service, number) for number in range(args.runs)]
        finally:
            service.close()
    found: dict[str, Any] = {
        "workers": args.workers,
        "seconds": args.seconds,
        "idle_percent_of_a_core": round(sum(parts.values()), 2),
        "parts": parts,
    }
    if runs:
        found |= {"first_stage_s": statistics.median(run["first_stage"] for run in runs), "runs": runs}
    report({**found, "machine": machine()}, args.out)


if __name__ == "__main__":
    main()
