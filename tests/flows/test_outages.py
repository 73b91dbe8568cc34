"""`invid serve`, for real, when things go wrong: a stopped worker, a lost database, a poisoned run."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import httpx
import pytest

from tests.flows.served import ENGINE, SERVER, WORKER, Served, put

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


SIDE_FILE = "max_frames: 2\nsteps: 4\nfinetune_steps: 2\n"


def test_a_folder_that_the_service_watches(served: Served) -> None:
    put(served.watched / "good.mp4", SIDE_FILE + "edit: [smile=1]\n")
    put(served.watched / "sub/bad.mp4", SIDE_FILE + "edit: [sneer=1]\n")
    note = served.results / "failed/sub__bad.txt"
    served.wait_for(lambda: (served.results / "good/edited.mp4").exists() and note.exists(), 300, "results")
    assert "sneer" in note.read_text() and "Delete this file" in note.read_text()
    records = served.results / ".invid/clips"

    def states() -> list[str]:
        return sorted(json.loads(path.read_text())["state"] for path in records.glob("*.json"))

    served.wait_for(lambda: states() == ["done", "failed"], 60, "entries")
    names = [run["name"] for run in served.post("flow_runs/filter", {"limit": 200})]
    assert names.count("good.mp4 smile=1") == 1 and names.count("bad.mp4 sneer=1") == 1
    looks = {"flows": {"name": {"any_": ["watch-folder"]}}}
    assert served.post("flow_runs/filter", looks) == [], "looks at a folder are no runs"


def test_a_folder_once(served: Served, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        put(tmp_path / "in" / name, SIDE_FILE)
    parameters = {"folder": str(tmp_path / "in"), "out": str(tmp_path / "out")}
    for _ in range(2):
        run = served.run_of("process-folder", parameters)
        assert served.finished(run)["type"] == "COMPLETED"
    served.wait_for(
        lambda: all((tmp_path / "out" / name / "manifest.json").exists() for name in "ab"), 300, "results"
    )
    names = [run["name"] for run in served.post("flow_runs/filter", {"limit": 200})]
    assert names.count("a.mp4") == 1 and names.count("b.mp4") == 1
    missing = parameters | {"folder": str(tmp_path / "none")}
    state = served.finished(served.run_of("process-folder", missing))
    assert state["type"] == "FAILED" and "no such folder" in state["message"]


def long_run(served: Served, name: str, seed: int) -> str:
    """A run in its inversion, which will take a while."""
    words = ("--max-frames=2", "--steps=200", "--finetune-steps=2", f"--seed={seed}")
    run = served.submit(name, *words)
    served.wait_for(served.in_stage(run, "invert"), 120, "inversion")
    return run


def test_a_worker_that_is_stopped_leaves_its_run_to_another(served: Served) -> None:
    run = long_run(served, "stopped", 11)
    assert served.kill(WORKER, number=signal.SIGTERM) >= 1
    served.wait_for(lambda: served.state(run)["run_count"] == 2, 200, "second life")
    assert served.finished(run)["type"] == "COMPLETED"


def test_a_run_that_kills_its_process_is_given_up_after_three_times(served: Served) -> None:
    run = long_run(served, "poison", 12)
    for life in (1, 2, 3):

        def lives(life: int = life) -> bool:
            return bool(served.state(run)["run_count"] == life and served.in_stage(run, "")())

        served.wait_for(lives, 120, "life")
        time.sleep(1)
        assert served.kill(*ENGINE, run=served.state(run)["id"]) == 1
        served.wait_for(lambda: served.state(run)["type"] == "CRASHED", 60, "crash")
    found = served.finished(run)
    assert found["type"] == "FAILED" and "died 3 times" in found["message"]
    assert not (served.folder / "poison/manifest.json").exists()


HOLDER = """
import sys, time
from prefect.concurrency.sync import concurrency
with concurrency(
    "budget", occupy=1, strict=True, lease_duration=60, raise_on_lease_renewal_failure=False
):
    print("held", flush=True)
    time.sleep(float(sys.argv[1]))
"""


def slots(served: Served) -> int:
    return int(served.get("v2/concurrency_limits/budget")["active_slots"])


def hold(served: Served, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), str(seconds)],
        env=served.environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_slot_outlives_the_server_but_not_its_holder(served: Served) -> None:
    """What docs/scaling.md says of budgets across machines."""
    served.post("v2/concurrency_limits/", {"name": "budget", "limit": 1})
    holder = hold(served, 25)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    assert slots(served) == 1
    assert served.kill(SERVER)
    served.wait_for(lambda: not served.answers(), 20, "end of the server")
    served.wait_for(served.answers, 120, "server")
    assert slots(served) == 1, "the restart gave away a slot that is held"
    assert holder.wait(120) == 0
    served.wait_for(lambda: slots(served) == 0, 60, "return of the slot")
    killed = hold(served, 600)
    assert killed.stdout is not None and killed.stdout.readline() == "held\n"
    killed.kill()
    killed.wait()
    began = time.monotonic()
    other = hold(served, 0)
    assert other.stdout is not None and other.stdout.readline() == "held\n" and other.wait(60) == 0
    assert time.monotonic() - began < 150


def test_a_lost_database_loses_no_work(served: Served) -> None:
    run = long_run(served, "lost", 13)
    assert served.kill(SERVER)
    for file in (served.folder / "home").glob("prefect.db*"):
        file.unlink()
    shutil.rmtree(served.folder / "home/storage", ignore_errors=True)
    served.wait_for(lambda: not served.answers(), 20, "end of the server")
    served.wait_for(served.answers, 120, "server")

    def known() -> bool:
        path = f"{served.api}/deployments/name/process-video/default"
        try:
            return httpx.get(path, timeout=90).status_code == 200
        except httpx.TransportError:
            return False

    served.wait_for(known, 240, "deployments")
    run = served.submit("lost", "--max-frames=2", "--steps=200", "--finetune-steps=2", "--seed=13")
    assert served.finished(run)["type"] == "COMPLETED"
    manifest = json.loads((served.folder / "lost/manifest.json").read_text())
    assert (served.folder / "lost" / manifest["outputs"]["report"]).is_file()
    pools = served.post("work_pools/filter", {})
    assert {pool["name"] for pool in pools} == {"invid", "invid-watch"}
    assert not any("command" in pool["base_job_template"]["variables"]["properties"] for pool in pools)
