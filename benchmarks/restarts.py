"""Restarts and kills of `invid serve` at random moments: is a run lost, or done twice?

    python -m benchmarks.restarts --rounds 50 --json [--minutes 60] [--seed 0] [--workers 1] [--out FILE]

Every round makes a real job (two frames, a few steps; each has a seed of its own, so that nothing but the
decoded clip comes from the cache), by turns as a run and by a clip in a watched folder. It waits until a run
is scheduled, pending or running, and for a random time. Then it stops the service with SIGTERM, kills it, or
kills its server, a worker, a run, or both of these, and starts again what does not start itself. A run that
has died twice is spared: it may die no third time, and a worker's death is one of its run. At the end all
runs must have completed. No round begins after `--minutes`; `rounds` is the number of those that were made.

- `lost`: runs that have not completed with results, and clips that their folder's records do not call done.
  `lost_after`: the states of each such run.
- `done_twice`: runs that completed more than once, and clips for which there is more than one run.
- `longest_wait_s`: longest time from an event to the next start of a run that was pending or running then.
- `locked`: times that the server's log says "database is locked" (SQLite).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import math
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.report import report
from flows import processes
from flows.api import Api, ServeError
from pipeline.machine import machine

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "samples" / "mask.mp4"
WORDS = ["--max-frames=2", "--steps=4", "--finetune-steps=2"]
EVENTS = ("stop", "kill service", "kill server", "kill worker", "kill run", "kill worker and run")
PARTS = {
    "server": r"flows\.server",
    "worker": "worker start --pool invid --limit",
    "run": r"prefect\.(flow_)?engine",
}
LONGEST_PAUSE = 5.0
LONGEST_WAIT = 90.0
"""Seconds that a round waits for a run to be in the state in which it is to be met."""
FINAL = ("COMPLETED", "FAILED", "CANCELLED")
PATIENCE = 300.0
"""Seconds without any progress after which what is left counts as lost."""


class Service:
    """`invid serve`, with a watched folder if `watches`, in a folder of its own."""

    def __init__(self, folder: Path, workers: int, watches: bool = True) -> None:
        self.folder, self.home = folder, folder / "home"
        self.watched, self.results = folder / "in", folder / "results"
        self.watched.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        watch = ["--watch", str(self.watched), str(self.results), "--every", "5"]
        own = ["--home", str(self.home), "--port", str(self.port), "--workers", str(workers)]
        self.words = [sys.executable, "-m", "pipeline.commands", "serve", *own]
        self.words += [*watch, *WORDS] if watches else []
        self.environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
        self.api = Api(f"http://127.0.0.1:{self.port}/api")

    def start(self) -> None:
        """Start it, and wait until it takes runs."""
        path = self.folder / "serve.log"
        with path.open("ab") as log:
            before = log.tell()
            self.process = subprocess.Popen(
                self.words, cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )
        while b"ready:" not in path.read_bytes()[before:]:
            if self.process.poll() is not None:
                raise SystemExit(path.read_text()[-2000:])
            time.sleep(0.2)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The server's answer; one that is down or starting is asked again for a minute."""
        for _ in range(120):
            with contextlib.suppress(ServeError):
                return self.api.ask(method, path, body)
            time.sleep(0.5)
        raise SystemExit(f"the server gives no answer to {path}")

    def kill(self, *parts: str, spared: set[str]) -> None:
        """Kill processes of these parts, all but the runs that are spared."""
        for pid in processes.of_service(self.home):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                variables = Path(f"/proc/{pid}/environ").read_text(errors="replace")
                if any(re.search(PARTS[part], words) for part in parts) and not any(
                    r in variables for r in spared
                ):
                    os.kill(pid, signal.SIGKILL)

    def strike(self, event: str, spared: set[str]) -> None:
        """Make an event happen, and start again what does not start itself."""
        if event in ("stop", "kill service"):
            self.process.send_signal(signal.SIGTERM if event == "stop" else signal.SIGKILL)
            self.process.wait()
            self.start()
        else:
            self.kill(*event.removeprefix("kill ").split(" and "), spared=spared)

    def close(self) -> None:
        """End it with all that it has started."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        processes.end(processes.of_service(self.home), 5.0)


def submit(service: Service, number: int) -> str:
    """A run as a page of Prefect's would make it; returns its id."""
    deployment = service.ask("GET", "deployments/name/process-video/default")["id"]
    words = [*WORDS, f"--seed={number}"]
    body = {
        "parameters": {"video": str(SAMPLE), "out": str(out_of(service, number)), "options": words},
        "idempotency_key": f"round-{number}",
    }
    return str(service.ask("POST", f"deployments/{deployment}/create_flow_run", body)["id"])


def put(service: Service, number: int) -> None:
    """A clip in the watched folder, whose content no other has."""
    clip = service.watched / f"clip{number}.mp4"
    clip.with_suffix(".yaml").write_text(f"seed: {10**6 + number}\n")
    tail = str(number).encode()
    side = clip.with_suffix(".part")
    side.write_bytes(SAMPLE.read_bytes() + (8 + len(tail)).to_bytes(4, "big") + b"free" + tail)
    os.utime(side, (time.time() - 100, time.time() - 100))
    side.rename(clip)


def out_of(service: Service, number: int) -> Path:
    """Where the results of a round's run go."""
    return service.folder / f"out{number}"


def all_runs(service: Service) -> list[dict[str, Any]]:
    """Every run of process-video with its states in order."""
    wanted = {"flows": {"name": {"any_": ["process-video"]}}, "limit": 200}
    found: list[dict[str, Any]] = []
    while page := service.ask("POST", "flow_runs/filter", wanted | {"offset": len(found)}):
        found += page
    for run in found:
        states = service.ask("GET", f"flow_run_states/?flow_run_id={run['id']}")
        run["states"] = sorted(states, key=lambda state: at(state["timestamp"]))
    return found


def at(text: str) -> float:
    """A time of the server's in seconds."""
    return datetime.fromisoformat(text).timestamp()


def records(service: Service) -> list[dict[str, Any]]:
    """What the watched folder's records say of its clips."""
    return [json.loads(path.read_text()) for path in service.results.glob(".invid/clips/*.json")]


def settle(service: Service, clips: int, say: Callable[[str], None]) -> None:
    """Wait until all has ended, or nothing has changed for a while."""
    before, since = "", time.monotonic()
    while time.monotonic() - since < PATIENCE:
        runs = all_runs(service)
        done = [record for record in records(service) if record["state"] == "done"]
        if len(done) == clips and all(run["state_type"] in FINAL for run in runs):
            return
        now = str(([(run["id"], run["state_id"]) for run in runs], len(done)))
        if now != before:
            before, since = now, time.monotonic()
            say(f"{Counter(run['state_name'] for run in runs)}, {len(done)} of {clips} clips done")
        time.sleep(3.0)


def waits(runs: list[dict[str, Any]], events: list[tuple[float, str]]) -> Iterator[float]:
    """Seconds from each event to the next start of each run that was pending or running then."""
    for run, (when, _) in itertools.product(runs, events):
        states = [(at(state["timestamp"]), state["type"]) for state in run["states"]]
        before = [kind for time, kind in states if time <= when]
        later = [time for time, kind in states if kind == "RUNNING" and time > when]
        if before and before[-1] in ("PENDING", "RUNNING") and later:
            yield later[0] - when


def wait_for(service: Service, kind: str) -> None:
    """Wait until a run is in this state, for a while."""
    until = time.monotonic() + LONGEST_WAIT
    while time.monotonic() < until and all(run["state_type"] != kind for run in all_runs(service)):
        time.sleep(0.5)


def rounds(
    service: Service, most: int, seconds: float, chance: random.Random, say: Callable[[str], None]
) -> dict[str, Any]:
    """Make the rounds that begin within so many seconds, and count what became of their runs and clips."""
    events: list[tuple[float, str]] = []
    until = time.monotonic() + seconds
    while len(events) < most and time.monotonic() < until:
        number = len(events)
        (put if number % 2 else submit)(service, number)
        kind = chance.choice(("SCHEDULED", "PENDING", "RUNNING"))
        wait_for(service, kind)
        time.sleep(chance.uniform(0.0, LONGEST_PAUSE))
        event = chance.choice(EVENTS)
        open_runs = [run for run in all_runs(service) if run["state_type"] not in FINAL]
        spared = {r["id"] for r in open_runs if sum(s["name"] == "Crashed" for s in r["states"]) >= 2}
        if event != "kill run" and spared:  # whose run would die with its worker, or without its server
            event = "stop"
        say(f"round {number}: {event} while a run is {kind.lower()}")
        events.append((time.time(), event))
        service.strike(event, spared)
    settle(service, len(events) // 2, say)
    return counted(service, len(events), events)


def locked(service: Service) -> int:
    """How often the server's log says that its database is locked."""
    logs = (service.home / "logs").glob("server.log*")
    return sum(log.read_text().count("(sqlite3.OperationalError) database is locked") for log in logs)


def told(run: dict[str, Any]) -> list[str]:
    """A run's states in order, each with its message."""
    return [f"{state['name']}: {state['message'] or ''}"[:120] for state in run["states"]]


def counted(service: Service, count: int, events: list[tuple[float, str]]) -> dict[str, Any]:
    """The figures."""
    runs = all_runs(service)
    completed = [sum(state["type"] == "COMPLETED" for state in run["states"]) for run in runs]
    taken = Counter(str(run["parameters"]["video"]) for run in runs)
    made = sum((out_of(service, number) / "manifest.json").exists() for number in range(0, count, 2))
    done = sum(record["state"] == "done" for record in records(service))
    return {
        "rounds": count,
        "runs": len(runs),
        "lost": max(completed.count(0), count - made - done),
        "lost_after": [told(run) for run, times in zip(runs, completed, strict=True) if not times],
        "done_twice": sum(n > 1 for n in completed)
        + sum(n > 1 for video, n in taken.items() if video != str(SAMPLE)),
        "longest_wait_s": round(max(waits(runs, events), default=0.0), 1),
        "locked": locked(service),
        "events": dict(Counter(event for _, event in events)),
        "taken_up_again": sum(len([s for s in r["states"] if s["type"] == "RUNNING"]) > 1 for r in runs),
    }


def main() -> None:
    """Make the rounds, print and write; the exit code is 1 where something is lost or done twice."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print nothing but the figures")
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()

    def say(line: str) -> None:
        if not args.json:
            print(line, file=sys.stderr, flush=True)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the service is ended, too
    with tempfile.TemporaryDirectory() as name:
        service = Service(Path(name), args.workers)
        service.start()
        try:
            found = rounds(service, args.rounds, 60 * args.minutes, random.Random(args.seed), say)
        finally:
            service.close()
    report({**found, "seed": args.seed, "workers": args.workers, "machine": machine()}, args.out)
    sys.exit(1 if found["lost"] or found["done_twice"] else 0)


if __name__ == "__main__":
    main()
