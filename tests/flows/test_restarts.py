"""Nothing is lost when `invid serve` is stopped, killed and started again, in whatever state a run is."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.served import ENGINE, SAMPLE, SERVER, WORKER, Served

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SHORT = ("--max-frames=2", "--steps=4", "--finetune-steps=2")
LONG = ("--max-frames=2", "--steps=200", "--finetune-steps=2")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    found = Served(tmp_path_factory.mktemp("restarted"))
    try:
        found.ready()
        yield found
    finally:
        if found.process.poll() is None:
            found.end()
    assert found.processes("") == [], "something of it is still running"


def submit(service: Served, name: str, *options: str) -> str:
    parameters = {"video": str(SAMPLE), "out": str(service.folder / name), "options": list(options)}
    return service.run_of("process-video", parameters)


def in_inversion(service: Served, name: str, seed: int) -> str:
    run = submit(service, name, *LONG, f"--seed={seed}")
    service.wait_for(service.in_stage(run, "invert"), 120, "inversion")
    return run


def put_into(service: Served, run: str, kind: str, name: str, labelled: bool = True) -> None:
    """Leave a run as a service leaves it that is stopped in this moment."""
    path = f"flow_runs/{service.state(run)['id']}"
    if labelled:
        worker = next(w["name"] for w in service.post("work_pools/invid/workers/filter", {}))
        service.ask("PATCH", f"{path}/labels", json={"prefect.worker.name": worker})
    service.post(f"{path}/set_state", {"state": {"type": kind, "name": name}, "force": True})


def test_a_planned_restart_loses_no_run_in_any_state(service: Served) -> None:
    running = in_inversion(service, "running", 21)
    states = {
        "scheduled": ("SCHEDULED", "AwaitingRetry"),
        "pending": ("PENDING", "Pending"),
        "submitting": ("PENDING", "Submitting"),
        "crashed": ("CRASHED", "Crashed"),
        "cancelling": ("CANCELLING", "Cancelling"),
    }
    runs = {name: submit(service, name, *SHORT) for name in states}
    put_into(service, runs["cancelling"], "PENDING", "Pending")  # a scheduled one would be cancelled at once
    for name, state in states.items():
        put_into(service, runs[name], *state)
    elsewhere = submit(service, "elsewhere", *SHORT)
    put_into(service, elsewhere, "PENDING", "Submitting", labelled=False)
    service.restart()
    assert service.finished(runs.pop("cancelling"))["type"] == "CANCELLED"
    for name, run in {**runs, "running": running, "elsewhere": elsewhere}.items():
        found = service.finished(run)
        assert found["type"] == "COMPLETED", (name, found["message"])
        assert (service.folder / name / "manifest.json").is_file()
    names = service.states(running)
    assert "Crashed" not in names[-4:] and "AwaitingRetry" not in names, "a planned stop costs no life"
    assert service.state(running)["run_count"] == 2


def test_planned_restarts_do_not_use_up_a_runs_lives(service: Served) -> None:
    run = submit(service, "patient", "--max-frames=2", "--steps=600", "--finetune-steps=2", "--seed=22")
    for life in (1, 2, 3, 4):

        def lives(life: int = life) -> bool:
            return bool(service.state(run)["run_count"] == life and service.in_stage(run, "")())

        service.wait_for(lives, 120, f"life {life}")
        if life < 4:
            service.restart(signal.SIGINT)
    assert service.finished(run)["type"] == "COMPLETED"


def test_a_run_that_was_interrupted_goes_on_before_those_that_came_later(service: Served) -> None:
    first = in_inversion(service, "first", 26)
    later = [submit(service, f"later{number}", *SHORT, f"--seed={27 + number}") for number in range(2)]
    service.restart()
    for run in (first, *later):
        assert service.finished(run)["type"] == "COMPLETED"
    histories = [service.get("flow_run_states/", flow_run_id=run) for run in (first, *later)]
    begun = [max(s["timestamp"] for s in states if s["type"] == "RUNNING") for states in histories]
    assert begun == sorted(begun)


def test_a_killed_service_leaves_nothing_that_the_next_one_does_not_end(service: Served) -> None:
    run = in_inversion(service, "killed", 23)
    service.end(signal.SIGKILL)
    left = {pid for words in (SERVER, WORKER, *ENGINE) for pid in service.processes(words)}
    assert len(left) >= 3, "a server, a worker and a run are left behind"
    told = service.command("serve", "--status", "--home", str(service.home))
    assert told.returncode == 1 and "a killed one has left processes" in told.stdout
    service.start()
    service.ready()
    now = {pid for words in (SERVER, WORKER, *ENGINE) for pid in service.processes(words)}
    assert not left & now
    assert service.finished(run)["type"] == "COMPLETED" and service.state(run)["run_count"] == 2
    assert "AwaitingRetry" in service.states(run)


def test_a_run_whose_worker_is_killed_with_it_is_taken_up(service: Served) -> None:
    run = in_inversion(service, "both", 24)
    assert service.kill(WORKER) + service.kill(*ENGINE, run=service.state(run)["id"]) >= 2
    assert service.finished(run)["type"] == "COMPLETED"
    assert "Crashed" in service.states(run)


def test_a_cancelled_run_is_cancelled(service: Served) -> None:
    run = in_inversion(service, "unwanted", 25)
    put_into(service, run, "CANCELLING", "Cancelling", labelled=False)
    assert service.finished(run, 120)["type"] == "CANCELLED"


def test_one_service_in_a_home_and_what_it_says_of_itself(service: Served, tmp_path: Path) -> None:
    second = service.command("serve", "--home", str(service.home), "--port", "1")
    assert second.returncode == 2 and second.stderr.count("\n") == 1
    assert f"process {service.process.pid}" in second.stderr and "invid serve --stop" in second.stderr
    told = service.command("serve", "--status", "--home", str(service.home))
    assert told.returncode == 0 and f"http://127.0.0.1:{service.port}/api\n" in told.stdout
    assert "server: process" in told.stdout and "worker-watch: process" in told.stdout
    none = service.command("serve", "--stop", "--home", str(tmp_path))
    assert none.returncode == 2 and "no service runs in" in none.stderr
    stopped = service.command("serve", "--stop", "--home", str(service.home))
    assert stopped.returncode == 0 and "has ended" in stopped.stdout
    assert service.process.wait(10) == 0 and service.processes("") == []
    assert service.command("serve", "--status", "--home", str(service.home)).returncode == 1
