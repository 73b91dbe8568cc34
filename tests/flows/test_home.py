"""One service in a home, and the processes that a killed one leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import home as homes
from flows import processes
from pipeline.errors import UserError

HOLDER = """
import sys, time
from pathlib import Path
from flows import home
with home.locked(Path(sys.argv[1])):
    home.write_state(Path(sys.argv[1]), "http://127.0.0.1:1/api", {"server": None, "worker": 7}, [])
    print("held", flush=True)
    time.sleep(60)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_service_is_refused_in_one_line(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with (
        pytest.raises(UserError, match=f"in use by invid serve .process {holder.pid} on ") as told,
        homes.locked(tmp_path),
    ):
        pass
    assert "\n" not in str(told.value) and "--stop" in str(told.value)
    said: list[str] = []
    assert homes.status(tmp_path, said.append) == 0
    assert f"process {holder.pid} on " in said[0]
    assert said[1:3] == ["  server: not running", "  worker: process 7"]
    assert "http://127.0.0.1:1/api" in said[3] and len(said) == 4
    assert homes.status(tmp_path, said.append, as_json=True) == 0
    told = json.loads(said[4])
    assert told["pid"] == holder.pid and told["parts"]["worker"] == 7 and told["health"] is None


def test_a_killed_service_leaves_no_lock(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    said: list[str] = []
    assert homes.status(tmp_path, said.append) == 1 and "no service runs" in said[0]
    with homes.locked(tmp_path), pytest.raises(UserError, match="starting or ending"):
        homes.status(tmp_path, said.append)


def test_stop_ends_the_service_and_waits_for_its_end(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    said: list[str] = []
    assert homes.stop(tmp_path, said.append) == 0
    assert holder.wait(10) == -signal.SIGTERM and "has ended" in said[0]
    with pytest.raises(UserError, match="no service runs"):
        homes.stop(tmp_path, said.append)


def test_what_is_left_behind_is_found_by_its_home_and_ended(tmp_path: Path) -> None:
    ours, others = tmp_path / "ours", tmp_path / "others"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", STUBBORN],
            env=os.environ | {processes.MARK: str(home), "PREFECT__FLOW_RUN_ID": home.name},
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        for home in (ours, others)
    ]
    try:
        for process in started:
            assert process.stdout is not None and process.stdout.readline() == b"up\n"
        assert processes.of_service(ours) == [started[0].pid]
        assert {"ours", "others"} <= (processes.running_runs() or set())
        said: list[str] = []
        began = time.monotonic()
        processes.end(processes.of_service(ours), 0.5)
        assert started[0].wait(5) == -signal.SIGKILL and time.monotonic() - began >= 0.5
        homes.end_leftovers(ours, said.append)
        assert said == [] and started[1].poll() is None
    finally:
        for process in started:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
