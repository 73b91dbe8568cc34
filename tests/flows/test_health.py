"""The health record from the answers of a server, its line, and its metrics."""

from __future__ import annotations

import json
import os
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flows.health import STATES, Health, Queue, health, prometheus, stage_figures
from flows.queues import set_priorities
from pipeline.request.options import parse
from pipeline.stages.plan import KINDS, plan_of
from pipeline.watch.watcher import looked_at


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


class Server:
    """Answers as Prefect's does: two workers of which one is gone, four runs in the queues."""

    def __init__(self) -> None:
        self.queues = {"default": 1}
        self.asked: list[str] = []

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        self.asked.append(f"{method} {path}")
        if path == "work_pools/invid-watch/workers/filter":
            return []
        if path == "work_pools/invid/workers/filter":
            states = (("a", "ONLINE", 3), ("b", "OFFLINE", 900))
            return [{"name": n, "status": s, "last_heartbeat_time": ago(t)} for n, s, t in states]
        if path == "work_pools/invid/queues/filter":
            return [{"name": n, "priority": p, "is_paused": False} for n, p in self.queues.items()]
        if path == "work_pools/invid/queues":
            self.queues[body["name"]] = body["priority"]
        if path.startswith("work_pools/invid/queues/"):
            self.queues[path.rpartition("/")[2]] = body["priority"]
        if path == "flow_runs/history":
            counts = {"RUNNING": 1, "SCHEDULED": 2, "FAILED": 2}.items()
            states = [{"state_type": state, "count_runs": count} for state, count in counts]
            return [{"states": [*states, {"state_type": "SCHEDULED", "count_runs": 1}]}]
        if path == "flow_runs/count":
            return 3
        if path == "flow_runs/filter":
            return [{"expected_start_time": ago(60)}][: body["limit"]]
        if path == "task_runs/history":
            (kind,) = body["task_runs"]["name"]["any_"]
            state = {"state_type": "COMPLETED", "count_runs": 2, "sum_estimated_run_time": 8.5}
            return [{"states": [state] if kind == "invert" else []}]
        return None


def test_the_record_and_its_line(tmp_path: Path) -> None:
    for name, seconds in (("one", 12), ("other", 5)):
        out = tmp_path / name
        looked_at(out).parent.mkdir(parents=True)
        looked_at(out).touch()
        os.utime(looked_at(out), (time.time() - seconds,) * 2)
    watched = [tmp_path / "one", tmp_path / "other", tmp_path / "new"]
    found = health(Server().ask, [tmp_path / "not" / "there"], watched)
    assert [(w.name, w.online) for w in found.workers] == [("a", True), ("b", False)]
    assert found.queues[0].waiting == 3 and 60 <= (found.queues[0].oldest or 0) < 90
    assert re.fullmatch(
        r"workers 1 of 2; 1 running, 3 waiting, 2 failed; queue default: 3 waiting for 1:0\d; "
        r"last look 1\d s ago; \d+ GB free",
        found.line,
    )
    told = json.loads(json.dumps(found.record()))
    assert told["line"] == found.line and told["runs"] == dict.fromkeys(STATES, 0) | found.runs
    assert told["runs"]["FAILED"] == 2 and told["runs"]["SCHEDULED"] == 3
    queues = (Queue("urgent", 1, True, 0, None), Queue("default", 2, False, 0, None))
    empty = Health("", (), queues, {}, None, ())
    assert "no folder is watched" in empty.line
    assert [line for line in empty.lines if "queue" in line] == ["queue urgent: 0 waiting, paused"]


def test_metrics_name_state_and_stage_and_can_be_read_by_a_parser() -> None:
    server = Server()
    text = prometheus(health(server.ask, [Path("/")]), stage_figures(server.ask))
    assert 'invid_runs{state="FAILED"} 2\n' in text
    assert 'invid_stage_seconds{stage="invert",state="COMPLETED"} 8.5\n' in text
    for line in text.splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) invid_\w+ .*|invid_\w+(\{(\w+="[^"]*",?)+\})? [-+.\de]+', line), (
            line
        )
    odd = Health("", (), (), {'a"b\n\\': 1}, None, ())
    assert r'invid_runs{state="a\"b\n\\"} 1' in prometheus(odd)


def test_queues_get_their_priorities_once() -> None:
    server = Server()
    set_priorities(server.ask)
    assert server.queues == {"urgent": 1, "default": 2, "background": 3}
    asked = len(server.asked)
    set_priorities(server.ask)
    assert len(server.asked) == asked + 1, "queues that are right were written again"


def test_every_stage_of_a_plan_has_figures() -> None:
    words = [
        "--edit=smile=1",
        "--view=yaw=0.3",
        "--inset",
        "--stitch",
        "--smooth=causal",
        "--remove-occluder",
    ]
    kinds = plan_of(parse(["clip.mp4", *words]).settings).kinds
    assert [kind for kind in KINDS if kind in kinds] == list(kinds)
