"""What a user sees while a job runs: stage, frames or steps done, losses, time left."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TextIO

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FRAME_TIME = 0.2
_LINE_EVERY, _FIRST_LINE = 5.0, 1.0


def clock(seconds: float) -> str:
    """`8 s`, `2:05` or `1:02:05`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


class Progress:
    """Silent: takes every report and shows nothing. The base of those that show something."""

    def plan(self, stages: Sequence[str]) -> None:
        """The kinds of stages that will run, in order."""

    def start(self, stage: str) -> None:
        """A stage begins."""

    def update(
        self, done: int, total: int | None = None, losses: Mapping[str, float] | None = None, unit: str = ""
    ) -> None:
        """So much of the stage is done; `unit` is what is counted."""

    def finish(self, stage: str, seconds: float, cached: bool) -> None:
        """A stage is done, by computing or from the cache."""

    def note(self, text: str) -> None:
        """Something that the user should know, in one line."""

    def say(self, text: str) -> None:
        """A line as it is."""

    def close(self) -> None:
        """Nothing more will come."""

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class TextProgress(Progress):
    """On a terminal one live line that a thread keeps moving; elsewhere a plain line every few seconds."""

    def __init__(self, stream: TextIO | None = None, live: bool | None = None) -> None:
        self._out = stream if stream is not None else sys.stdout
        self._live = self._out.isatty() if live is None else live
        self._lock = threading.RLock()
        self._stage = "starting"
        self._detail = ""
        self._began = self._job_began = time.monotonic()
        self._last_line = self._part_began = self._began
        self._done = self._part_done = self._shown = 0
        self._unit = ""
        self._ticks = 0
        self._stop = threading.Event()
        self._broken = False
        self._thread: threading.Thread | None = None
        if self._live:
            self._thread = threading.Thread(target=self._tick, daemon=True)
            self._thread.start()

    def start(self, stage: str) -> None:
        """A stage begins: say so at once."""
        with self._lock:
            self._stage, self._detail, self._began = stage, "", time.monotonic()
            self._done, self._unit = 0, ""
            self._last_line = self._began + _FIRST_LINE - _LINE_EVERY
            if self._live:
                self._draw()

    def update(
        self,
        done: int,
        total: int | None = None,
        losses: Mapping[str, float] | None = None,
        unit: str = "frames",
    ) -> None:
        """Remember the state; print it when a plain line is due."""
        now = time.monotonic()
        with self._lock:
            if done < self._done or unit != self._unit:  # a new part of the stage: its time left is its own
                self._part_began, self._part_done = (now, done) if self._unit else (self._began, 0)
            self._done, self._unit = done, unit
            seconds, counted = now - self._part_began, done - self._part_done
            self._detail = _detail(done, total, losses, unit, seconds / counted if counted > 0 else 0.0)
            if not self._live and now - self._last_line >= _LINE_EVERY:
                self._last_line = now
                self._print(f"{self._stage:<10} {self._detail}")

    def finish(self, stage: str, seconds: float, cached: bool) -> None:
        """Leave one line for each finished stage."""
        how = "from the cache" if cached else clock(seconds) if seconds >= 1 else f"{seconds:.1f} s"
        with self._lock:
            last = f"   {self._detail.partition('  ')[0]}" if self._detail and not cached else ""
            self._stage, self._detail, self._began = "", "", time.monotonic()
            self._print(f"{stage:<10} {how}{last}")

    def note(self, text: str) -> None:
        """A line of its own."""
        with self._lock:
            self._print(f"note: {text}")

    def say(self, text: str) -> None:
        """A line as it is."""
        with self._lock:
            self._print(text)

    def close(self) -> None:
        """Stop moving and clear the live line."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=1)
            self._thread = None
        with self._lock:
            self._clear()

    def _tick(self) -> None:
        while not self._stop.wait(_FRAME_TIME):
            with self._lock:
                self._ticks += 1
                self._draw()

    def _draw(self) -> None:
        if self._stop.is_set():
            return
        spin = _SPINNER[self._ticks % len(_SPINNER)]
        elapsed = clock(time.monotonic() - self._job_began)
        line = f"{spin} {self._stage:<10} {self._detail}  [{elapsed}]"
        line = line[: max(20, shutil.get_terminal_size().columns - 1)]
        self._write("\r" + line.ljust(self._shown))
        self._shown = len(line)

    def _clear(self) -> None:
        if self._live and self._shown:
            self._write("\r" + " " * self._shown + "\r")
            self._shown = 0

    def _print(self, line: str) -> None:
        self._clear()
        self._write(line + "\n")

    def _write(self, text: str) -> None:
        """Write, unless the reader has gone: a closed pipe must not stop hours of work."""
        if self._broken:
            return
        try:
            self._out.write(text)
            self._out.flush()
        except (BrokenPipeError, ValueError):
            self._broken = True
        except UnicodeEncodeError:
            self._out.write(text.encode("ascii", "replace").decode())


def _detail(done: int, total: int | None, losses: Mapping[str, float] | None, unit: str, pace: float) -> str:
    """`pace` in seconds each; 0 where it is not known yet."""
    text = f"{done}/{total} {unit}" if total else f"{done} {unit}"
    if losses:
        text += "  " + "  ".join(f"{name} {value:.4g}" for name, value in list(losses.items())[:3])
    if total and done < total and pace * done > 1:
        text += f"  about {clock(pace * (total - done))} left"
    return text
