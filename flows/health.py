"""Health of a service and figures of its runs, asked of Prefect's API.

    found = health(api.ask, [Path("/results")])
    print(found.line)    # workers 2 of 2; 1 running, 3 waiting, 0 failed; last look 12 s ago; 512 GB free
    print(json.dumps(found.record()))
    print(prometheus(found, stage_figures(api.ask)))

`invid serve --status` shows the lines, with `--json` the record; `flows.results` serves record and metrics.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flows.api import Ask
from flows.sweep import POOL, WATCH_POOL
from pipeline.job.progress import clock
from pipeline.stages.plan import KINDS
from pipeline.watch.watcher import looked_at

FLOW = "process-video"
_EVER = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))
STATES = ("SCHEDULED", "PENDING", "RUNNING", "CANCELLING", "COMPLETED", "FAILED", "CRASHED", "CANCELLED")
_WAITING = ("SCHEDULED", "PENDING")
SINCE = timedelta(hours=24)
"""The time of which `stage_figures` tells."""


@dataclass(frozen=True)
class Worker:
    """A worker that the server knows; `seen` is seconds since its last sign of life."""

    name: str
    pool: str
    online: bool
    seen: float | None


@dataclass(frozen=True)
class Queue:
    """A queue of the pool for clips; 1 is the highest priority. `waiting` counts its runs."""

    name: str
    priority: int
    paused: bool
    waiting: int
    oldest: float | None
    """Seconds for which its first run has been due."""

    @property
    def line(self) -> str:
        """The same in words."""
        due = f" for {clock(self.oldest)}" if self.oldest else ""
        return f"queue {self.name}: {self.waiting} waiting{due}{', paused' if self.paused else ''}"


@dataclass(frozen=True)
class Disk:
    """The disk that a folder lies on, in bytes."""

    folder: str
    free: int
    total: int


@dataclass(frozen=True)
class Health:
    """A service as it is now.

    runs: clips by the type of their state. last_look: seconds since a folder was looked at, of several the
    one that waits longest; None where none is watched.
    """

    when: str
    workers: tuple[Worker, ...]
    queues: tuple[Queue, ...]
    runs: Mapping[str, int]
    last_look: float | None
    disks: tuple[Disk, ...]

    @property
    def lines(self) -> list[str]:
        """The same in words, one fact a line."""
        online = sum(worker.online for worker in self.workers)
        waiting = sum(self.runs.get(state, 0) for state in _WAITING)
        failed = self.runs.get("FAILED", 0) + self.runs.get("CRASHED", 0)
        look = "no folder is watched" if self.last_look is None else f"last look {clock(self.last_look)} ago"
        free = min((disk.free for disk in self.disks), default=None)
        return [
            f"workers {online} of {len(self.workers)}",
            f"{self.runs.get('RUNNING', 0)} running, {waiting} waiting, {failed} failed",
            *(queue.line for queue in self.queues if queue.waiting or queue.paused),
            look,
            *([] if free is None else [f"{free / 1e9:.0f} GB free"]),
        ]

    @property
    def line(self) -> str:
        """The same in one line."""
        return "; ".join(self.lines)

    def record(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self) | {"line": self.line}


@dataclass(frozen=True)
class StageFigure:
    """Runs of one stage that ended in one state, or are in it, and the seconds that they took together."""

    stage: str
    state: str
    runs: int
    seconds: float


def health(ask: Ask, folders: Sequence[Path], watched: Sequence[Path] = ()) -> Health:
    """Ask the server for its workers, queues and runs, and the system for the disks of `folders`.

    watched: the folder for results of each watched folder. Raises what `ask` raises.
    """
    return Health(
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        workers=tuple(worker for pool in (POOL, WATCH_POOL) for worker in _workers(ask, pool)),
        queues=_queues(ask),
        runs=dict.fromkeys(STATES, 0) | _counts(ask),
        last_look=_last_look(watched),
        disks=tuple(_disks((*folders, *watched))),
    )


def stage_figures(ask: Ask, since: timedelta = SINCE) -> tuple[StageFigure, ...]:
    """Runs and seconds by stage and state, of the stages of clips that were to start within `since`."""
    now = datetime.now(UTC)
    between = (now - since, now + timedelta(seconds=1))
    return tuple(
        StageFigure(kind, state["state_type"], state["count_runs"], float(state["sum_estimated_run_time"]))
        for kind in KINDS
        for state in _history(ask, "task_runs", between, task_runs={"name": {"any_": [kind]}})
    )


def prometheus(found: Health, figures: Sequence[StageFigure] = ()) -> str:
    """The record in the text format that Prometheus reads."""
    lines: list[str] = []

    def gauge(name: str, text: str, values: Iterable[tuple[Mapping[str, str], float]]) -> None:
        lines.extend((f"# HELP invid_{name} {text}", f"# TYPE invid_{name} gauge"))
        for labels, value in values:
            inner = ",".join(f'{key}="{_quoted(label)}"' for key, label in labels.items())
            lines.append(f"invid_{name}{{{inner}}} {value:.10g}" if inner else f"invid_{name} {value:.10g}")

    gauge("worker_online", "1 for a worker that is alive.", [_of_worker(w) for w in found.workers])
    gauge("queue_waiting", "Runs that wait.", [({"queue": q.name}, q.waiting) for q in found.queues])
    gauge("runs", "Clips by state.", [({"state": s}, n) for s, n in found.runs.items()])
    gauge("disk_free_bytes", "Free space.", [({"folder": d.folder}, d.free) for d in found.disks])
    if found.last_look is not None:
        gauge("last_look_seconds", "Time since a folder was looked at.", [({}, found.last_look)])
    by_stage = [({"stage": f.stage, "state": f.state}, f) for f in figures]
    day = f"of the last {SINCE.total_seconds() / 3600:g} hours"
    gauge("stage_runs", f"Stages {day}, by state.", [(labels, f.runs) for labels, f in by_stage])
    gauge("stage_seconds", f"Seconds of stages {day}.", [(labels, f.seconds) for labels, f in by_stage])
    return "\n".join(lines) + "\n"


def _of_worker(worker: Worker) -> tuple[dict[str, str], float]:
    return {"worker": worker.name, "pool": worker.pool}, float(worker.online)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _workers(ask: Ask, pool: str) -> list[Worker]:
    found = ask("POST", f"work_pools/{pool}/workers/filter", {})
    return [
        Worker(one["name"], pool, one["status"] == "ONLINE", _seconds_since(one["last_heartbeat_time"]))
        for one in found
    ]


def _queues(ask: Ask) -> tuple[Queue, ...]:
    found = []
    for one in ask("POST", f"work_pools/{POOL}/queues/filter", {}):
        waiting = {
            "flow_runs": {"state": {"type": {"any_": list(_WAITING)}}},
            "work_pools": {"name": {"any_": [POOL]}},
            "work_pool_queues": {"name": {"any_": [one["name"]]}},
        }
        count, oldest = int(ask("POST", "flow_runs/count", waiting)), None
        if count:
            first = {"sort": "EXPECTED_START_TIME_ASC", "limit": 1}
            for run in ask("POST", "flow_runs/filter", waiting | first):
                oldest = _seconds_since(run["expected_start_time"])
        found.append(Queue(one["name"], one["priority"], bool(one["is_paused"]), count, oldest))
    return tuple(sorted(found, key=lambda queue: queue.priority))


def _counts(ask: Ask) -> dict[str, int]:
    """Runs of clips by the type of their state."""
    found: Counter[str] = Counter()
    for state in _history(ask, "flow_runs", _EVER):
        found[state["state_type"]] += state["count_runs"]
    return found


def _history(
    ask: Ask, kind: str, between: tuple[datetime, datetime], **chosen: Any
) -> list[Mapping[str, Any]]:
    """By state, how many runs of clips, or stages of them, were to start in this time, and their seconds."""
    start, end = between
    body = {
        "history_start": start.isoformat(),
        "history_end": end.isoformat(),
        "history_interval_seconds": (end - start).total_seconds(),
        "flows": {"name": {"any_": [FLOW]}},
    }
    return [state for one in ask("POST", f"{kind}/history", body | chosen) for state in one["states"]]


def _last_look(watched: Sequence[Path]) -> float | None:
    """Seconds since the look that is longest ago, of the folders for results of all watched folders."""
    times = []
    for out in watched:
        with contextlib.suppress(OSError):  # there was no look yet
            times.append(looked_at(out).stat().st_mtime)
    return max(0.0, round(time.time() - min(times), 1)) if times else None


def _disks(folders: Sequence[Path]) -> Iterable[Disk]:
    for folder in folders:
        there = next((one for one in (folder, *folder.parents) if one.exists()), None)
        if there is not None:
            usage = shutil.disk_usage(there)
            yield Disk(str(folder), usage.free, usage.total)


def _seconds_since(text: str | None) -> float | None:
    if not text:
        return None
    return max(0.0, round(time.time() - datetime.fromisoformat(text).timestamp(), 1))
