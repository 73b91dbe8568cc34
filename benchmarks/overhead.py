"""Overhead of Prefect: the same job by the command and through `invid serve`, and a long queue.

    python -m benchmarks.overhead [--runs 5] [--queued 1000] [--out FILE]

The job is the mask sample's first two frames with all but the last stages cached, so that little but overhead
is left. `command` is the wall time of `process-video`; `run` is from a worker's pick-up (state Pending) to
the end of the run. The overhead of a stage is the time from its task's start to the next one's, minus the
stage's time in the manifest. Then `--queued` runs are submitted at once to a pool without workers, and the
server is polled as a worker polls it. PREFECT_API_DATABASE_CONNECTION_URL chooses its database.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from benchmarks.report import report
from flows.serve import Service
from pipeline.machine import machine

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "samples" / "mask.mp4"
QUEUE = "queue"
WORDS = ["--max-frames=2", "--steps=4", "--finetune-steps=2", "--edit=smile=1"]


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Service]:
    """A service on a free port, with one worker."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    service = Service("127.0.0.1", port, folder / "home", folder / "logs", lambda line: None)
    thread = threading.Thread(target=service.watch)
    try:
        service.start([{}])
        thread.start()
        yield service
    finally:
        service.stop()
        if thread.is_alive():
            thread.join()
        service.close()


def command(out: Path, environment: dict[str, str]) -> tuple[float, dict[str, Any]]:
    """`process-video`: its wall time and its manifest."""
    began = time.monotonic()
    words = ["-m", "pipeline.commands", "process", str(SAMPLE), "--out", str(out), "--quiet", *WORDS]
    subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began, json.loads((out / "manifest.json").read_text())


def through_prefect(client: httpx.Client, deployment: str, out: Path) -> dict[str, float]:
    """One run: seconds from pick-up to its end, and what its stages cost beside their own time."""
    body = {"parameters": {"video": str(SAMPLE), "out": str(out), "options": WORDS}}
    run = client.post(f"deployments/{deployment}/create_flow_run", json=body).json()["id"]
    while client.get(f"flow_runs/{run}").json()["state"]["type"] not in ("COMPLETED", "FAILED", "CRASHED"):
        time.sleep(0.3)
    states = {s["type"]: at(s["timestamp"]) for s in client.get(f"flow_run_states/?flow_run_id={run}").json()}
    if "COMPLETED" not in states:
        raise SystemExit(f"the run did not end well: {client.get(f'flow_runs/{run}').json()['state']}")
    tasks = client.post("task_runs/filter", json={"flow_runs": {"id": {"any_": [run]}}}).json()
    stages = json.loads((out / "manifest.json").read_text())["stages"]
    begins = sorted(at(task["start_time"]) for task in tasks)
    ends = max(at(task["end_time"]) for task in tasks)
    work = sum(stage["seconds"] for stage in stages)
    return {
        "run": states["COMPLETED"] - states["PENDING"],
        "started": states["RUNNING"] - states["PENDING"],
        "a_stage": (ends - begins[0] - work) / len(stages),
    }


def at(text: str) -> float:
    """A time of the server's in seconds."""
    return datetime.fromisoformat(text).timestamp()


def a_long_queue(client: httpx.Client, deployment: str, count: int) -> dict[str, Any]:
    """Submit `count` runs to a pool without workers, then ask it for work as a worker does."""
    flow = client.get(f"deployments/{deployment}").json()["flow_id"]
    client.post("work_pools/", json={"name": QUEUE, "type": "process"}).raise_for_status()
    made = client.post("deployments/", json={"name": QUEUE, "flow_id": flow, "work_pool_name": QUEUE})
    path = f"deployments/{made.raise_for_status().json()['id']}/create_flow_run"
    began, refused = time.monotonic(), 0
    for number in range(count):
        # A database that is locked is answered with 503, and asked again, as Prefect's own client does.
        while not submitted_once(client, path, number):
            refused += 1
            time.sleep(0.1)
    submitted = time.monotonic() - began
    asked = []
    for _ in range(50):
        began = time.monotonic()
        found = client.post(f"work_pools/{QUEUE}/get_scheduled_flow_runs", json={"limit": 1})
        asked.append(time.monotonic() - began)
        assert len(found.raise_for_status().json()) == 1
    rate = round(count / submitted, 1)
    return {"runs": count, "submitted_a_second": rate, "asked_again": refused, "ask_ms": ms(asked)}


def submitted_once(client: httpx.Client, path: str, number: int) -> bool:
    """One run; False where the server was too busy."""
    try:
        answer = client.post(path, json={"idempotency_key": f"{number}"})
    except httpx.TransportError:
        return False
    return answer.status_code in (200, 201)


def ms(seconds: list[float]) -> float:
    """The median in milliseconds."""
    return round(1000 * statistics.median(seconds), 1)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--queued", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        command(folder / "first", dict(os.environ))  # fills the cache
        rounds: list[dict[str, float]] = []
        with served(folder) as service, httpx.Client(base_url=f"{service.url}/", timeout=60) as client:
            token = client.get("csrf-token", params={"client": "overhead"}).raise_for_status().json()["token"]
            client.headers.update({"Prefect-Csrf-Client": "overhead", "Prefect-Csrf-Token": token})
            deployment = client.get("deployments/name/process-video/default").json()["id"]
            through_prefect(client, deployment, folder / "warm")
            for number in range(args.runs):
                seconds, manifest = command(folder / f"c{number}", dict(os.environ))
                found = through_prefect(client, deployment, folder / f"p{number}")
                work = sum(stage["seconds"] for stage in manifest["stages"])
                rounds.append(found | {"command": seconds, "stages": work})
            queue = a_long_queue(client, deployment, args.queued)
    names = ("command", "run", "started", "a_stage", "stages")
    middle = {name: round(statistics.median([r[name] for r in rounds]), 3) for name in names}
    url = os.environ.get("PREFECT_API_DATABASE_CONNECTION_URL", "sqlite")
    queue["database"] = url.partition(":")[0].partition("+")[0]
    middle["added"] = round(statistics.median([r["run"] - r["command"] for r in rounds]), 3)
    report(
        {"machine": machine(), "words": WORDS, "seconds": middle, "rounds": rounds, "queue": queue}, args.out
    )


if __name__ == "__main__":
    main()
