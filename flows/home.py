"""The home of `invid serve`: one service at a time, its state, and what a killed one has left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flows import processes
from flows.api import Api, ServeError
from pipeline.errors import UserError
from storage.files import replacing
from storage.locks import FileLock

_LOCK, _STATE = "serve.lock", "serve.json"
_ENDING = 150.0
"""Seconds that a service may take to end: each of its parts has twenty."""


@contextlib.contextmanager
def locked(home: Path) -> Iterator[None]:
    """Context in which no other service runs in `home`. Raises UserError where one does."""
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / _LOCK)
    if not lock.acquire(wait=False):
        raise UserError(
            f"{home} is in use by {_holder(_read(home))}; end it with `invid serve --stop`, "
            "or give --home another folder"
        )
    try:
        (home / _STATE).unlink(missing_ok=True)
        yield
    finally:
        (home / _STATE).unlink(missing_ok=True)
        lock.release()


def write_state(home: Path, url: str, parts: Mapping[str, int | None], watched: Sequence[Path]) -> None:
    """Note the service's own process, its address, the process of each part, and folders for results."""
    state = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "url": url,
        "parts": dict(parts),
        "watched": [str(out) for out in watched],
    }
    with replacing(home / _STATE) as side:
        side.write_text(json.dumps(state, indent=1))


def end_leftovers(home: Path, say: Callable[[str], None]) -> None:
    """End what a killed service has left running; call this in `locked`."""
    if pids := processes.of_service(home):
        say(f"ending what a killed service has left behind: processes {', '.join(map(str, sorted(pids)))}")
        processes.end(pids, 5.0)


def status(home: Path, say: Callable[[str], None], as_json: bool = False) -> int:
    """Say what the service in `home` does, one fact a line; the exit code is 1 where there is none.

    as_json: the same as one object, with the record of `flows.health` as `health`, null where no server
    answers.
    """
    from flows.health import health
    from pipeline.job.caches import default_cache

    if (state := _running(home)) is None:
        left = processes.of_service(home)
        say(f"no service runs in {home}" + (f"; a killed one has left processes {left}" if left else ""))
        return 1
    found, problem = None, ""
    try:
        watched = [Path(out) for out in state["watched"]]
        found = health(Api(str(state["url"])).ask, [default_cache()], watched)
    except ServeError as error:
        problem = str(error)
    if as_json:
        say(json.dumps(state | {"health": None if found is None else found.record()}, indent=1))
        return 0
    say(f"{_holder(state)}, {state['url']}")
    for name, pid in state["parts"].items():
        say(f"  {name}: " + (f"process {pid}" if pid else "not running"))
    for line in [problem] if found is None else found.lines:
        say(f"  {line}")
    return 0


def stop(home: Path, say: Callable[[str], None]) -> int:
    """End the service in `home` as Ctrl-C does, and wait until it has. Raises UserError if there is none."""
    if (state := _running(home)) is None:
        raise UserError(f"no service runs in {home}")
    if state["host"] != socket.gethostname():
        raise UserError(f"{_holder(state)} runs on another machine; stop it there")
    os.kill(int(state["pid"]), signal.SIGTERM)
    began = time.monotonic()
    while _running(home) is not None:
        if time.monotonic() - began > _ENDING:
            raise UserError(f"{_holder(state)} has not ended; see {home / 'logs'}")
        time.sleep(0.2)
    say(f"{_holder(state)} has ended")
    return 0


def _running(home: Path) -> dict[str, Any] | None:
    """What the running service says of itself; None where none runs."""
    if not home.is_dir():
        return None
    lock = FileLock(home / _LOCK)
    if lock.acquire(wait=False):
        lock.release()
        return None
    return _read(home)


def _read(home: Path) -> dict[str, Any]:
    """The state of a service that is up; of one that is only starting, its lock."""
    for _ in range(20):
        with contextlib.suppress(OSError, ValueError):
            return dict(json.loads((home / _STATE).read_text()))
        time.sleep(0.1)
    raise UserError(f"{home} is in use by a service that is starting or ending; try again in a few seconds")


def _holder(state: dict[str, Any]) -> str:
    return f"invid serve (process {state['pid']} on {state['host']}, since {state['since']})"
