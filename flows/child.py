"""Commands as child processes of a run, whose lines reach the run's log as they are printed."""

from __future__ import annotations

import os
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
_LAST_LINES = 20_000
_LONGEST = 4000
_ENDING = 20.0


@dataclass(frozen=True)
class Ended:
    """A command that has ended: its exit code, and the last lines that it printed to each stream."""

    code: int
    out: str
    errors: str

    @property
    def reason(self) -> str:
        """Why it failed, in one line: the last one of its errors."""
        last = self.errors.strip().rpartition("\n")[2].removeprefix("invid: ")
        return last or f"exit code {self.code}"


def run_logged(command: Sequence[str], say: Callable[[str], None]) -> Ended:
    """Run a command in the project's folder; `say` is called with each line that it prints.

    The command ends with this call, whatever ends it.
    """
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    assert child.stdout is not None and child.stderr is not None
    out: deque[str] = deque(maxlen=_LAST_LINES)
    errors: deque[str] = deque(maxlen=_LAST_LINES)
    lock = threading.Lock()

    def follow(stream: IO[str], kept: deque[str]) -> None:
        for line in stream:
            kept.append(line)
            if line.strip():
                with lock:
                    say(line.rstrip()[:_LONGEST])

    thread = threading.Thread(target=follow, args=(child.stderr, errors), daemon=True)
    try:
        thread.start()
        follow(child.stdout, out)
        code = child.wait()
        thread.join()
    finally:
        _end(child)
    return Ended(code, "".join(out), "".join(errors))


def _end(child: subprocess.Popen[str]) -> None:
    """Ask, wait, and make sure."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(_ENDING)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
