"""The parts of a service: processes that are started, started again when they die, and ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.logs import rotating

ROOT = Path(__file__).resolve().parent.parent
_ENDING = 20.0
_SHORT = 60.0
"""Seconds of life after which a death does not count as one of a row."""


@dataclass
class Part:
    """A process of the service; its lines go to `log`, which rotates."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    deaths: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _since: float = 0.0

    def start(self) -> None:
        """Start it, in a session of its own."""
        with rotating(self.log) as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_heed_signals,
            )
        self._since = time.monotonic()

    @property
    def pid(self) -> int | None:
        """Of its process; None before its first start."""
        return None if self._process is None else self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code of a process that has ended."""
        return None if self._process is None else self._process.poll()

    def died(self) -> float:
        """Count a death in a row; the seconds after which it may be started again."""
        self.deaths = self.deaths + 1 if time.monotonic() - self._since < _SHORT else 1
        return min(10.0, 0.5 * 2.0 ** min(self.deaths, 5))

    def end(self) -> None:
        """Ask, wait, and then make sure."""
        if self._process is None:
            return
        for number, seconds in ((signal.SIGTERM, _ENDING), (signal.SIGKILL, 5.0)):
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                break
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                continue
        self._process.poll()


def _heed_signals() -> None:
    """A process that a shell put into the background ignores Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
