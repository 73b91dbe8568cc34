"""Threads: how many, how OpenMP's wait for each other, and that a user's own choice wins."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

from inverters import threads
from inverters.rendering import build, compiled
from tests.inverters.rendering.cases import Case, Scene

ROOT = Path(__file__).parents[2]
WITHOUT = {
    k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")
}
built = pytest.mark.skipif(not build.library_path("cpu").exists(), reason="no compiled CPU renderer")
measured = pytest.mark.skipif(not threads.waits(), reason="no /proc/self/task/*/schedstat here")
TELL = """
import ctypes, os, sys
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
class Torch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print("before torch:", getenv(b"OMP_WAIT_POLICY"), getenv(b"GOMP_SPINCOUNT"), flush=True)
            os._exit(0)
sys.meta_path.insert(0, Torch())
"""
"""Tells what libgomp would read at the moment in which torch is imported, and ends the process."""


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=WITHOUT | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


ENTRIES = {
    "inverters": "import inverters.base, torch",
    "pipeline": "import pipeline.errors, torch",
    "pipeline.commands": "import pipeline.commands, torch",
    "invid": "import runpy; sys.argv = ['', 'doctor']; runpy.run_module('pipeline.commands', {}, '__main__')",
    "a flow": "import flows.process_video, torch",
    "a flow by path": "import runpy; runpy.run_path('flows/process_video.py'); import torch",
    "tests": "import pytest; pytest.main(['-s', 'tests/inverters/test_metrics.py'])",
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_limit_is_set_before_torch_is_loaded(entry: str) -> None:
    told = python(TELL + ENTRIES[entry])
    assert f"before torch: None b'{threads.SPINS}'" in told.stdout, told.stderr


@pytest.mark.parametrize("entry", ["inverters", "invid"])
@pytest.mark.parametrize(
    ("name", "told"),
    [("OMP_WAIT_POLICY", "b'active' None"), ("GOMP_SPINCOUNT", "None b'77'")],
)
def test_what_the_user_has_set_stays(entry: str, name: str, told: str) -> None:
    value = {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "77"}[name]
    assert f"before torch: {told}" in python(TELL + ENTRIES[entry], **{name: value}).stdout


def test_libgomp_takes_the_limit() -> None:
    told = python("import inverters, torch", OMP_DISPLAY_ENV="VERBOSE").stderr
    if "GOMP_SPINCOUNT" not in told:
        pytest.skip("torch's OpenMP runtime is not libgomp")
    assert f"GOMP_SPINCOUNT = '{threads.SPINS}'" in told


MONITORED = """
import threading, {first}, {second}
from inverters import threads
from inverters.rendering import backends
backends.library("cpu")
print([t.name for t in threading.enumerate()], threads.describe()["waiting"])
"""


@built
@measured
@pytest.mark.skipif(threads.cores() == 1, reason="one core: nobody spins")
def test_the_renderer_starts_the_monitor_also_where_torch_came_first() -> None:
    for first, second in (("torch", "inverters"), ("inverters", "torch")):
        told = python(MONITORED.format(first=first, second=second)).stdout
        assert "invid-threads" in told and "sleep while other work wants the cores" in told


@built
def test_no_monitor_where_the_user_has_set_a_policy() -> None:
    told = python(MONITORED.format(first="torch", second="inverters"), OMP_WAIT_POLICY="passive").stdout
    assert "invid-threads" not in told and "OMP_WAIT_POLICY=passive" in told


def test_the_policy_is_the_users_alone() -> None:
    environment: dict[str, str] = {}
    threads.limit_spinning(environment)
    assert threads.policy(environment) == ""  # ours, as a child process inherits it
    assert threads.policy({"GOMP_SPINCOUNT": "77"}) == "GOMP_SPINCOUNT=77"
    ours = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
    assert threads.policy(ours) == "OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=0"


def test_contention_has_hysteresis() -> None:
    contention = threads.Contention()
    between = (threads.BUSY + threads.CALM) / 2
    for _ in range(5):  # bursts that are too short
        assert not any(contention.update(threads.BUSY) for _ in range(threads.BUSY_SAMPLES - 1))
        assert not contention.update(between)
    busy = [contention.update(threads.BUSY) for _ in range(threads.BUSY_SAMPLES)]
    assert busy == [False] * (threads.BUSY_SAMPLES - 1) + [True]
    assert all(contention.update(between) for _ in range(20))
    calm = [contention.update(0.0) for _ in range(threads.CALM_SAMPLES)]
    assert calm == [True] * (threads.CALM_SAMPLES - 1) + [False]
    for _ in range(threads.BUSY_SAMPLES):
        contention.update(1.0)
    for _ in range(5):  # pauses that are too short
        assert all(contention.update(0.0) for _ in range(threads.CALM_SAMPLES - 1))
        assert contention.update(between)


def until(what: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < 60
        time.sleep(0.02)


def gomp() -> Any:
    runtime = threads.openmp_runtime()
    if runtime is None or "gomp" not in runtime._name:
        pytest.skip("torch's OpenMP runtime is not libgomp")
    return runtime


@measured
def test_holding_makes_libgomp_manage_more_threads_than_cores_and_ends_them_again() -> None:
    monitor, counts = threads.Monitor(gomp()), []

    def hold() -> None:
        for wanted in (True, True, False, False, True, False):
            before = len(threads.waits())
            change = (wanted - monitor.holding) * monitor._runtime.omp_get_num_procs()
            monitor.hold(wanted)
            until(lambda: len(threads.waits()) == before + change)  # noqa: B023 - called at once
            counts.append(change)

    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    assert [count > 0 for count in counts] == [True, False, False, False, True, False] and sum(counts) == 0


@measured
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen here")
def test_the_monitor_notices_a_busy_process_on_the_same_core() -> None:
    code = """
import os, subprocess, sys, time, torch
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
from inverters import threads
burn = "import os\\nparent = os.getppid()\\nwhile os.getppid() == parent: pass"
monitor = threads.Monitor(threads.openmp_runtime())
if "gomp" not in monitor._runtime._name: sys.exit("no libgomp")
process = subprocess.Popen([sys.executable, "-c", burn])
try:
    monitor.start()
    began = time.monotonic()
    while not monitor.holding and time.monotonic() - began < 60: pass
    print("holding", monitor.holding)
finally:
    process.kill()
"""
    told = python(code)
    if "no libgomp" in told.stderr:
        pytest.skip("torch's OpenMP runtime is not libgomp")
    assert told.stdout == "holding True\n", told.stderr


@pytest.fixture
def number() -> Iterator[int]:
    before = torch.get_num_threads(), cv2.getNumThreads()
    yield before[0]
    threads.use(None)
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


def test_use_reaches_torch_and_opencv_and_none_takes_it_back(number: int) -> None:
    for count in (3, 1):
        threads.use(count)
        assert torch.get_num_threads() == cv2.getNumThreads() == count
    threads.use(None)
    assert torch.get_num_threads() == number
    torch.set_num_threads(3)  # the user's own choice between two jobs
    threads.use(None)
    assert torch.get_num_threads() == 3


@built
def test_the_compiled_renderer_takes_the_number(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    run = compiled._run

    def noted(call: Any, *rest: Any) -> None:
        seen.append(call.threads)
        run(call, *rest)

    monkeypatch.setattr(compiled, "_run", noted)
    threads.use(3)
    Scene(Case(size=(2, 2))).run("cpu", torch.float32)
    assert seen and set(seen) == {3}


def test_jobs_side_by_side_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 8)
    assert [threads.share(jobs, {}) for jobs in (1, 2, 3, 8, 20)] == [None, 4, 2, 1, 1]
    assert threads.share(2, {"OMP_NUM_THREADS": "5"}) is None
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert threads.shared(2) == {"OMP_NUM_THREADS": "4"} and threads.shared(1) == {}
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert threads.shared(2) == {}
