"""CPU threads: how many a job uses, and how long OpenMP's threads spin before they sleep. Loads no torch.

An OpenMP thread that waits for its team spins for a while, then sleeps. On an idle machine spinning is
faster. Beside another busy process a spinning thread holds the core that the rest of its team waits for, and
a step can take seconds. `python -m benchmarks.busy` measures both.

- `limit_spinning` lowers libgomp's limit from 300,000 spins (7 ms) to SPINS, before libgomp is loaded.
- `adapt` starts a thread that measures how long the process's threads wait for a core. While that is long, it
  keeps idle OpenMP threads of its own: libgomp then manages more threads than there are cores, and in that
  case its limit is 100 spins. This also works if torch was loaded first.

Neither acts where the user has set OMP_WAIT_POLICY or GOMP_SPINCOUNT in the environment.

Source: the libgomp manual, sections GOMP_SPINCOUNT and omp_pause_resource; /proc/PID/task/TID/schedstat as in
the Linux kernel's sched-stats.rst.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ctypes

SPINS = 10_000
"""Most spins of a waiting thread, 0.2 ms: as fast on an idle machine as the default of 300,000."""
INTERVAL = 0.15
"""Seconds between two measurements. One takes about 0.2 ms."""
BUSY, CALM = 0.2, 0.1
"""Share of the time that a thread waits for a core: from BUSY on threads sleep at once, below CALM they spin.
Measured on two cores: up to 0.05 on an idle machine, 0.25 to 0.8 beside one busy process.
"""
BUSY_SAMPLES, CALM_SAMPLES = 2, 3
"""Measurements in a row after which threads sleep at once, or spin again. A burst of the job's own threads,
such as a face detector's, lasts about one.
"""

_POLICIES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
_SOFT = 1
"""omp_pause_soft of omp.h."""

_lock = threading.Lock()
_monitor: Monitor | None = None
_set: tuple[int, int] | None = None
"""Torch's number of threads before `use` set one, and the number set."""


def limit_spinning(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set GOMP_SPINCOUNT where the user has set no policy. Has no effect once libgomp is loaded."""
    if not any(environment.get(name) for name in _POLICIES):
        environment["GOMP_SPINCOUNT"] = str(SPINS)


def policy(environment: Mapping[str, str] = os.environ) -> str:
    """The wait policy that the user has set, such as `OMP_WAIT_POLICY=PASSIVE`; empty for none."""
    ours = {"GOMP_SPINCOUNT": str(SPINS)}
    found = {name: environment[name] for name in _POLICIES if environment.get(name)}
    return "" if found == ours else " ".join(f"{name}={value}" for name, value in found.items())


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share(jobs: int, environment: Mapping[str, str] = os.environ) -> int | None:
    """Threads for each of `jobs` jobs that run side by side on this machine, at least 1.

    None where the number is left alone: one job, or OMP_NUM_THREADS set by the user.
    """
    return None if jobs <= 1 or environment.get("OMP_NUM_THREADS") else max(1, cores() // jobs)


def shared(jobs: int) -> dict[str, str]:
    """Environment variables for each of `jobs` child processes that share the cores, as `share` says."""
    count = share(jobs)
    return {} if count is None else {"OMP_NUM_THREADS": str(count)}


def use(count: int | None = None) -> None:
    """Compute with `count` threads from now on; None: the number before, one a core or OMP_NUM_THREADS.

    Applies to torch, the compiled renderer, which takes torch's number, and OpenCV where it is loaded. Torch
    keeps the number by thread: call it in the thread that computes. Also calls `adapt`.

    Results depend on the number: torch and the renderer's gradients sum in another order. A render differs by
    rounding (2e-7 in [-1, 1]), a fit by more, as each step starts from the one before.
    """
    global _set
    import torch

    with _lock:
        now = torch.get_num_threads()
        before = _set[0] if _set is not None and now == _set[1] else now
        wanted = before if count is None else count
        _set = None if count is None else (before, wanted)
    if count is not None or wanted != now:
        torch.set_num_threads(wanted)
        if (opencv := sys.modules.get("cv2")) is not None:
            opencv.setNumThreads(wanted)
    adapt()


def adapt() -> bool:
    """Let OpenMP's threads sleep at once while other work wants the cores; one monitor for the process.

    False where there is no libgomp, no schedstat, one core, or a wait policy set by the user.
    """
    global _monitor
    with _lock:
        if _monitor is None or not _monitor.is_alive():  # not alive: this process was forked
            runtime = openmp_runtime()
            usable = (
                runtime is not None and hasattr(runtime, "omp_pause_resource") and "gomp" in runtime._name
            )
            if policy() or not usable or cores() == 1 or not waits():
                return False
            _monitor = Monitor(runtime)
            _monitor.start()
    return True


def openmp_runtime() -> ctypes.CDLL | None:
    """The OpenMP runtime that torch has loaded into this process; None where there is none."""
    import ctypes

    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return None
    loaded = dict.fromkeys(line.split(maxsplit=5)[5] for line in maps.splitlines() if len(line.split()) > 5)
    found = [p for p in loaded if "omp" in Path(p).name and ".so" in Path(p).name]
    # Several packages bring one; torch's is the one that computes.
    for path in sorted(found, key=lambda p: f"{os.sep}torch{os.sep}" not in p):
        try:
            runtime = ctypes.CDLL(path)
        except OSError:
            continue
        if hasattr(runtime, "GOMP_parallel"):
            return runtime
    return None


def waits() -> dict[str, int]:
    """Nanoseconds that each thread of this process has waited for a core, by its id; empty if not known."""
    found = {}
    try:
        for thread in os.listdir("/proc/self/task"):  # noqa: PTH208 - paths would take twice the time
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # it has ended
                file = os.open(f"/proc/self/task/{thread}/schedstat", os.O_RDONLY)
                try:
                    found[thread] = int(os.read(file, 100).split()[1])
                finally:
                    os.close(file)
    except (OSError, IndexError, ValueError):
        return {}
    return found


class Contention:
    """Decides from the share of time waited whether other work wants the cores, with hysteresis."""

    def __init__(self) -> None:
        self.busy = False
        self._high = self._low = 0

    def update(self, waited: float) -> bool:
        """Take the largest share, from 0 to 1, that a thread waited; returns whether the cores are wanted."""
        self._high = self._high + 1 if waited >= BUSY else 0
        self._low = self._low + 1 if waited < CALM else 0
        self.busy = self._low < CALM_SAMPLES if self.busy else self._high >= BUSY_SAMPLES
        return self.busy


class Monitor(threading.Thread):
    """Measures contention, and keeps idle OpenMP threads while there is some."""

    def __init__(self, runtime: Any) -> None:
        super().__init__(name="invid-threads", daemon=True)
        self._runtime = runtime
        self.holding = False

    def run(self) -> None:
        """Measure until the process ends."""
        contention, before, since = Contention(), waits(), time.monotonic()
        while True:
            time.sleep(INTERVAL)
            now, clock = waits(), time.monotonic()
            waited = max((ns - before.get(thread, 0) for thread, ns in now.items()), default=0)
            self.hold(contention.update(waited / 1e9 / (clock - since)))
            before, since = now, clock

    def hold(self, wanted: bool) -> None:
        """Start the idle threads, or end them. They belong to the thread that calls."""
        import ctypes

        if wanted and not self.holding:
            # A region that does nothing, for one thread more than there are cores; its threads stay.
            nothing = ctypes.cast(self._runtime.omp_get_thread_num, ctypes.c_void_p)
            self._runtime.GOMP_parallel(nothing, None, self._runtime.omp_get_num_procs() + 1, 0)
        elif self.holding and not wanted:
            self._runtime.omp_pause_resource(_SOFT, self._runtime.omp_get_initial_device())
        self.holding = wanted


def describe() -> dict[str, str | int]:
    """What `invid doctor` says: torch's number of threads, cores, and how OpenMP's threads wait."""
    import torch

    if named := policy():
        waiting = f"as the environment says: {named}"
    elif adapt():
        waiting = "spin on an idle machine, sleep while other work wants the cores"
    else:
        waiting = f"GOMP_SPINCOUNT={os.environ.get('GOMP_SPINCOUNT', 'not set')}"
    return {"count": torch.get_num_threads(), "cores": cores(), "waiting": waiting}
