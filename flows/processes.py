"""The processes of a service on this machine, found by what stands in their environment (/proc)."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

MARK = "INVID_SERVICE"
"""Variable that every process of a service has, and those that they start: the service's home."""
_RUN = b"PREFECT__FLOW_RUN_ID="
_STEP = 0.1


def of_service(home: Path) -> list[int]:
    """Processes of the service with this home, this process excepted."""
    mark = f"{MARK}={home}".encode()
    return [pid for pid, variables in _environments() if mark in variables and pid != os.getpid()]


def running_runs() -> set[str] | None:
    """Ids of the flow runs that have a process here; None where there is no /proc to see it."""
    if not Path("/proc/self/environ").exists():
        return None
    found = (v.removeprefix(_RUN) for _, variables in _environments() for v in variables if _RUN in v)
    return {run.decode(errors="replace") for run in found}


def end(pids: list[int], patience: float) -> None:
    """Ask processes to end, and kill those that have not after `patience` seconds."""
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        until = time.monotonic() + seconds
        while (pids := [pid for pid in pids if _lives(pid)]) and time.monotonic() < until:
            time.sleep(_STEP)


def _lives(pid: int) -> bool:
    """Whether a process is there and is no zombie, which only its parent can remove."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _environments() -> Iterator[tuple[int, list[bytes]]]:
    """The variables of this user's processes, as each was started."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # another user's process, or an ended one
            yield int(folder.name), (folder / "environ").read_bytes().split(b"\0")
