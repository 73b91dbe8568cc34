"""Take up again the runs that have lost their process, and those that nobody starts.

Prefect does nothing of this by itself: a run whose machine dies stays Running, one whose worker stops while
it is handed over stays Pending, and a crashed one stays Crashed. Its automations forget runs at a restart of
the server, since they hold an event back whose predecessor the server has not seen. A look at all open runs
forgets none.

    python -m flows.sweep        sweeps the server at PREFECT_API_URL; `invid serve` does so itself
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from flows import processes
from flows.api import Api, ServeError
from pipeline.commands.guard import guarded, say

POOL, WATCH_POOL = "invid", "invid-watch"
EVERY = 30.0
"""Seconds between two looks."""
LIVES = 3
"""Times that a run whose process dies is started, its first time counted. A planned stop costs none."""
TAKEN_UP = ("process-video", "process-folder", "train-generator", "train-encoder")
"""Flows that go on where they were; a crashed run of another one stays crashed."""
AGAIN = "AwaitingRetry"
"""Name of the state of a run that is taken up after a death."""
_PENDING = 60.0
"""Seconds from a worker's pick-up to the start of the run; after that the worker is taken to be gone."""
_SILENT = 90.0
"""Seconds without a heartbeat, which runs send every 30 s, after which a run on another machine is dead."""
_CRASHED = 20.0
"""Seconds that a crashed run rests: its worker reports a crash twice, and would meet the run again."""
_PAGE = 200
_IN_ONE_QUERY = 10
"""Runs whose heartbeats are asked for at once; 50 events are the most that the server answers."""
Run = dict[str, Any]


@dataclass
class Sweep:
    """Looks at the open runs of our pools.

    workers: how the names of this service's workers begin. A run of theirs without a process here is dead, at
    once; others are known by their heartbeats. own: look at runs of these workers alone.
    """

    api: Api
    workers: str | None = None
    say: Callable[[str], None] = print
    own: bool = False
    _heard: dict[str, tuple[str, str, float]] = field(default_factory=dict)

    def run(self, stopping: threading.Event) -> None:
        """Look every 30 s until `stopping` is set."""
        while not stopping.wait(EVERY):
            self.look()

    def look(self, starting: bool = False) -> None:
        """Look once; a server that does not answer is asked next time.

        starting: no worker of ours is up yet, so that nothing need be waited for.
        """
        try:
            self._look(starting)
        except ServeError as error:
            self.say(f"runs could not be looked at, and will be: {error}")

    def _look(self, starting: bool) -> None:
        found = [run for run in self._runs(["PENDING", "RUNNING", "CANCELLING"]) if self._is_looked_at(run)]
        here = processes.running_runs()
        self._note_heartbeats([run for run in found if run["state_type"] == "RUNNING"])
        for run in found:
            if here is None or run["id"] not in here:
                self._carefully(run, lambda run: self._judge(run, here, starting))
        for run in self._runs(["CRASHED"], TAKEN_UP):
            if self._is_looked_at(run) and (starting or _age(run) >= _CRASHED):
                self._carefully(run, self._take_up)

    def hand_back(self, since: float) -> None:
        """Schedule what our workers leave at a planned stop that began at time `since`; it costs no life.

        Raises ServeError.
        """
        here = processes.running_runs()
        for run in self._runs(["PENDING", "RUNNING", "CANCELLING", "CRASHED"]):
            crashed_before = run["state_type"] == "CRASHED" and _when(run) < since
            if self._is_ours(run) and not crashed_before and (here is None or run["id"] not in here):
                self._carefully(run, self._hand_back)

    def _carefully(self, run: Run, act: Callable[[Run], None]) -> None:
        """Do something to a run; what the server refuses for one run keeps none from the others."""
        try:
            act(run)
        except ServeError as error:
            self.say(f"{run['name']}: stays {run['state_name']}: {error}")

    def _judge(self, run: Run, here: set[str] | None, starting: bool) -> None:
        """Change the state of a run without a process on this machine, if it is time."""
        kind, gone = run["state_type"], here is not None and self._is_ours(run)
        late = _age(run) > _PENDING or (starting and gone)
        if kind == "RUNNING" and (gone or self._is_silent(run)):
            why = "its process is gone" if gone else f"no heartbeat for {_SILENT:.0f} s"
            self._set(run, "CRASHED", "Crashed", f"Its worker or its machine has died: {why}.")
        elif kind == "PENDING" and late:
            self._set(run, "SCHEDULED", "Scheduled", "The worker that took it has not started it.")
        elif kind == "CANCELLING" and gone and late:
            self._set(run, "CANCELLED", "Cancelled", "Cancelled after its process had ended.")

    def _hand_back(self, run: Run) -> None:
        if run["state_type"] == "CANCELLING":
            self._set(run, "CANCELLED", "Cancelled", "Cancelled at a stop of its worker.")
        else:
            self._set(run, "SCHEDULED", "Scheduled", "Handed back at a planned stop of its worker.")

    def _take_up(self, run: Run) -> None:
        """Schedule a crashed run again, or fail it after its last life."""
        states = self.api.ask("GET", f"flow_run_states/?flow_run_id={run['id']}")
        deaths = 1 + sum(state["name"] == AGAIN for state in states)
        if deaths >= LIVES:
            message = f"Its process has died {deaths} times; look at the worker's log."
            self._set(run, "FAILED", "Failed", message)
        else:
            self._set(run, "SCHEDULED", AGAIN, "Taken up again after a crash.")

    def _set(self, run: Run, kind: str, name: str, message: str) -> None:
        """Change a run's state, unless it has changed since it was looked at.

        A run that is scheduled again keeps its place in the queue: it goes before those that came later.
        """
        path = f"flow_runs/{run['id']}"
        now = self.api.ask("GET", path)
        if now["state_id"] != run["state_id"]:
            return
        state: dict[str, Any] = {"type": kind, "name": name, "message": message}
        if kind == "SCHEDULED" and (place := run.get("expected_start_time")):
            state["state_details"] = {"scheduled_time": place}
        self.api.ask("POST", f"{path}/set_state", {"state": state, "force": True})
        self.say(f"{run['name']}: was {run['state_name']}, is {name}. {message}")

    def _runs(self, states: list[str], flows: Collection[str] = ()) -> Iterator[Run]:
        """Runs of our pools in one of these states, of these flows if any are named."""
        query: dict[str, Any] = {
            "flow_runs": {"state": {"type": {"any_": states}}},
            "work_pools": {"name": {"any_": [POOL, WATCH_POOL]}},
            "limit": _PAGE,
            "sort": "EXPECTED_START_TIME_ASC",
        }
        if flows:
            query["flows"] = {"name": {"any_": list(flows)}}
        found: list[Run] = []
        while len(page := self.api.ask("POST", "flow_runs/filter", query | {"offset": len(found)})) == _PAGE:
            found += page
        yield from (*found, *page)

    def _is_ours(self, run: Run) -> bool:
        name = str((run.get("labels") or {}).get("prefect.worker.name", ""))
        return self.workers is not None and name.startswith(self.workers)

    def _is_looked_at(self, run: Run) -> bool:
        return not self.own or self._is_ours(run)

    def _note_heartbeats(self, runs: list[Run]) -> None:
        """Note when a new heartbeat of a run was first seen, by this clock: those of machines may differ."""
        latest: dict[str, str] = {}
        for start in range(0, len(runs), _IN_ONE_QUERY):
            ids = [f"prefect.flow-run.{run['id']}" for run in runs[start : start + _IN_ONE_QUERY]]
            now, hour = datetime.now(UTC), timedelta(hours=1)
            wanted = {
                "event": {"name": ["prefect.flow-run.heartbeat"]},
                "resource": {"id": ids},
                "occurred": {"since": (now - hour).isoformat(), "until": (now + hour).isoformat()},
                "order": "DESC",
            }
            for event in self.api.ask("POST", "events/filter", {"filter": wanted, "limit": 50})["events"]:
                latest.setdefault(event["resource"]["prefect.resource.id"].rpartition(".")[2], event["id"])
        before, self._heard = self._heard, {}
        for run in runs:
            state, event, since = before.get(run["id"], ("", "", 0.0))
            newest = latest.get(run["id"], event)
            fresh = (state, event) != (run["state_id"], newest)
            self._heard[run["id"]] = (run["state_id"], newest, time.monotonic() if fresh else since)

    def _is_silent(self, run: Run) -> bool:
        return time.monotonic() - self._heard[run["id"]][2] > _SILENT


def _when(run: Run) -> float:
    """When a run came into its state, in seconds since 1970."""
    return datetime.fromisoformat(run["state"]["timestamp"]).timestamp()


def _age(run: Run) -> float:
    return time.time() - _when(run)


def main() -> int:
    """Sweep until ended."""
    Sweep(Api.of_environment(), say=say).run(threading.Event())
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
