"""The sweep over open runs, on a server that only remembers states; `test_restarts` has a real one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows import processes, sweep
from flows.sweep import LIVES, Sweep

OURS, OTHERS = "box-1234-cpu0", "other-9999-cpu0"


class Server:
    """Runs with their states, answered as by Prefect's API."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.history: dict[str, list[str]] = {}
        self.heartbeats: dict[str, str] = {}
        self.changed_meanwhile = False

    def add(self, kind: str, age: float, worker: str = OURS, flow: str = "process-video") -> str:
        run = f"run{len(self.runs)}"
        self.runs[run] = {"id": run, "name": run, "flow": flow, "labels": {"prefect.worker.name": worker}}
        self.history[run] = []
        self.put(run, kind, kind.title(), age)
        return run

    def put(self, run: str, kind: str, name: str, age: float = 0.0) -> None:
        when = datetime.now(UTC) - timedelta(seconds=age)
        number = f"{run}-{len(self.history[run])}"
        self.runs[run] |= {"state_type": kind, "state_name": name, "state_id": number}
        self.runs[run]["state"] = {"timestamp": when.isoformat()}
        self.history[run].append(name)

    def kind(self, run: str) -> str:
        return str(self.runs[run]["state_type"])

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        if path == "flow_runs/filter":
            kinds = body["flow_runs"]["state"]["type"]["any_"]
            flows = body.get("flows", {}).get("name", {}).get("any_")
            found = [r for r in self.runs.values() if r["state_type"] in kinds]
            found = [dict(r) for r in found if flows is None or r["flow"] in flows]
            return found[body["offset"] : body["offset"] + body["limit"]]
        if path.startswith("flow_run_states/"):
            return [{"name": name} for name in self.history[path.rpartition("=")[2]]]
        if path == "events/filter":
            ids = [one.rpartition(".")[2] for one in body["filter"]["resource"]["id"]]
            known = [(run, self.heartbeats[run]) for run in ids if run in self.heartbeats]
            return {
                "events": [
                    {"id": e, "resource": {"prefect.resource.id": f"prefect.flow-run.{r}"}} for r, e in known
                ]
            }
        run = path.split("/")[1]
        if method == "GET":
            if self.changed_meanwhile:
                self.put(run, "COMPLETED", "Completed")
            return self.runs[run]
        self.put(run, body["state"]["type"], body["state"]["name"])
        self.runs[run]["asked"] = body["state"].get("state_details")
        return {}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(processes, "running_runs", lambda: {"run-alive"})
    return Server()


def swept(server: Server, **how: Any) -> Sweep:
    return Sweep(server, "box-1234-", lambda line: None, **how)  # type: ignore[arg-type]


def test_a_run_of_ours_without_a_process_crashes_and_is_taken_up_after_a_rest(server: Server) -> None:
    run = server.add("RUNNING", 30)
    found = swept(server)
    found.look()
    assert server.history[run] == ["Running", "Crashed"], "the worker may still report the crash"
    server.put(run, "CRASHED", "Crashed", 25)
    found.look()
    assert server.runs[run]["state_name"] == "AwaitingRetry"


@pytest.mark.parametrize("kind", ["PENDING", "CRASHED"])
def test_what_is_scheduled_again_keeps_its_place_in_the_queue(server: Server, kind: str) -> None:
    run = server.add(kind, 100)
    server.runs[run]["expected_start_time"] = "2026-01-01T00:00:00Z"
    swept(server).look()
    assert server.kind(run) == "SCHEDULED"
    assert server.runs[run]["asked"] == {"scheduled_time": "2026-01-01T00:00:00Z"}


def test_what_runs_is_left_alone(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = ("RUNNING", "PENDING", "CANCELLING")
    runs = [server.add(kind, 1000) for kind in kinds]
    monkeypatch.setattr(processes, "running_runs", lambda: set(runs))
    swept(server).look()
    swept(server).hand_back(0.0)
    assert [server.kind(run) for run in runs] == list(kinds)


def test_a_run_elsewhere_is_dead_when_its_heartbeats_cease(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(sweep.time, "monotonic", lambda: clock[0])
    living, dead = server.add("RUNNING", 5, OTHERS), server.add("RUNNING", 5, OTHERS)
    found = swept(server)
    for beat in range(5):
        server.heartbeats[living] = f"beat{beat}"
        found.look()
        clock[0] += 30
    assert server.kind(living) == "RUNNING" and server.kind(dead) == "CRASHED"


def test_nobody_starts_a_pending_run_for_a_minute(server: Server) -> None:
    old, young, cancelled = server.add("PENDING", 61), server.add("PENDING", 20), server.add("CANCELLING", 61)
    swept(server).look()
    assert [server.kind(run) for run in (old, young, cancelled)] == ["SCHEDULED", "PENDING", "CANCELLED"]
    swept(server).look(starting=True)
    assert server.kind(young) == "SCHEDULED", "no worker of ours is up that could start it"


@given(st.lists(st.sampled_from(["death", "stop"]), max_size=12))
def test_deaths_are_counted_and_planned_stops_are_not(events: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "running_runs", set)
        server = Server()
        run, found = server.add("RUNNING", 30), swept(server)
        for event in events:
            if server.kind(run) == "FAILED":
                break
            server.put(run, "RUNNING", "Running", 30)
            if event == "stop":
                found.hand_back(0.0)
                assert server.kind(run) == "SCHEDULED"
            else:
                found.look(starting=True)
        assert (server.kind(run) == "FAILED") == (events.count("death") >= LIVES)


def test_a_run_that_has_changed_since_it_was_looked_at_is_left_alone(server: Server) -> None:
    run = server.add("RUNNING", 30)
    server.changed_meanwhile = True
    swept(server).look()
    assert server.kind(run) == "COMPLETED"


def test_a_sweep_beside_workers_for_another_server_looks_at_their_runs_alone(server: Server) -> None:
    ours, others = server.add("CRASHED", 60), server.add("CRASHED", 60, OTHERS)
    swept(server, own=True).look()
    assert server.kind(ours) == "SCHEDULED" and server.kind(others) == "CRASHED"


def test_flows_that_begin_anew_are_not_taken_up_and_many_runs_are_all_seen(server: Server) -> None:
    bench = server.add("CRASHED", 60, flow="bench")
    runs = [server.add("PENDING", 61) for _ in range(450)]
    swept(server).look()
    assert server.kind(bench) == "CRASHED" and {server.kind(run) for run in runs} == {"SCHEDULED"}
