"""Progress of a job: a live bar on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import IO, TYPE_CHECKING, TextIO, cast

from pipeline.errors import printable

if TYPE_CHECKING:
    from pipeline.job.live_bar import LiveBar

_LINE_EVERY, _FIRST_LINE = 5.0, 1.0  # seconds between plain lines of a stage, and before its first one


def clock(seconds: float) -> str:
    """`8 s`, `2:05` or `1:02:05`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


class Progress:
    """Takes every report and shows nothing. The base of the classes that show something."""

    def plan(self, stages: Sequence[str]) -> None:
        """The names of all stages of the job, in order: from here on a stage is shown as one of so many."""

    def start(self, stage: str) -> None:
        """A stage begins."""

    def update(
        self, done: int, total: int | None = None, losses: Mapping[str, float] | None = None, unit: str = ""
    ) -> None:
        """`done` of `total` units of the stage are done; `unit` names what is counted."""

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
    """Progress as text: on a terminal a live bar, elsewhere a plain line every few seconds.

    stream: where it goes, standard output by default. live: whether it is drawn as a bar; None asks the
    stream. A stream that cannot be written any more is left alone, without an error.
    """

    def __init__(self, stream: TextIO | None = None, live: bool | None = None) -> None:
        self._out = Output(sys.stdout if stream is None else stream)
        self._lock = threading.RLock()
        self._stages: Sequence[str] = ()
        self._stage = self._detail = ""
        self._began = self._last_line = time.monotonic()
        self._part = Part("", self._began)
        self._bar: LiveBar | None = None
        if self._out.is_terminal() if live is None else live:
            from pipeline.job.live_bar import LiveBar

            began = self._began
            self._bar = LiveBar(cast(IO[str], self._out), lambda: clock(time.monotonic() - began))

    def plan(self, stages: Sequence[str]) -> None:
        """The names of all stages of the job, in order."""
        with self._lock:
            self._stages = list(stages)

    def start(self, stage: str) -> None:
        """Begin a stage: a live bar shows it at once."""
        with self._lock:
            self._stage, self._detail, self._began = self._name(stage), "", time.monotonic()
            self._part = Part("", self._began)
            self._last_line = self._began + _FIRST_LINE - _LINE_EVERY
            if self._bar is not None:
                self._bar.begin(self._stage)

    def update(
        self,
        done: int,
        total: int | None = None,
        losses: Mapping[str, float] | None = None,
        unit: str = "frames",
    ) -> None:
        """Show the state on a live bar; print it where a plain line is due."""
        now = time.monotonic()
        with self._lock:
            if done < self._part.done or unit != self._part.unit:  # its time left is counted from here
                first = not self._part.unit
                self._part = Part(unit, self._began if first else now, 0 if first else done)
            self._part.done = done
            counted, left = self._part.text(total), self._part.time_left(total, now)
            self._detail = "  ".join(text for text in (counted, _losses(losses), left) if text)
            if self._bar is not None:
                self._bar.update(done, total, self._detail)
            elif now - self._last_line >= _LINE_EVERY:
                self._last_line = now
                self._line(f"{self._column(self._stage)} {self._detail}")

    def finish(self, stage: str, seconds: float, cached: bool) -> None:
        """Print one line for the finished stage."""
        how = "from the cache" if cached else clock(seconds) if seconds >= 1 else f"{seconds:.1f} s"
        with self._lock:
            last = f"   {self._detail.partition('  ')[0]}" if self._detail and not cached else ""
            self._stage = self._detail = ""
            self._line(f"{self._column(self._name(stage))} {how}{last}")
            if self._bar is not None:
                self._bar.begin("")

    def note(self, text: str) -> None:
        """Print a line of its own."""
        self._line(f"note: {text}")

    def say(self, text: str) -> None:
        """Print a line as it is."""
        self._line(text)

    def close(self) -> None:
        """Remove the live bar."""
        with self._lock:
            if self._bar is not None:
                self._bar.close()

    def _name(self, stage: str) -> str:
        """`3/10 invert`, or `invert` where it is in no plan."""
        if stage not in self._stages:
            return stage
        width = len(str(len(self._stages)))
        return f"{self._stages.index(stage) + 1:>{width}}/{len(self._stages)} {stage}"

    def _column(self, name: str) -> str:
        """A name of `_name`, padded to the widest of the plan, so that lines align."""
        return name.ljust(max([10, *(len(self._name(stage)) for stage in self._stages)]))

    def _line(self, text: str) -> None:
        text = printable(text)  # it may hold the names of files
        with self._lock:
            if self._bar is not None:
                self._bar.line(text)
            else:
                self._out.write(text + "\n")
                self._out.flush()


class Part:
    """A part of a stage that counts one unit from its start to its end, with a time left of its own."""

    def __init__(self, unit: str, began: float, first: int = 0) -> None:
        self.unit = unit
        self.done = first
        self._began, self._first = began, first

    def text(self, total: int | None) -> str:
        """`12/100 steps`."""
        return f"{self.done}/{total} {self.unit}" if total else f"{self.done} {self.unit}"

    def time_left(self, total: int | None, now: float) -> str:
        """`about 2:05 left`; "" where that is not known yet or there is nothing left."""
        counted = self.done - self._first
        pace = (now - self._began) / counted if counted > 0 else 0.0
        if not total or self.done >= total or pace * self.done <= 1:
            return ""
        return f"about {clock(pace * (total - self.done))} left"


def _losses(losses: Mapping[str, float] | None) -> str:
    """The first three losses by name."""
    return "  ".join(f"{name} {value:.4g}" for name, value in list((losses or {}).items())[:3])


def discard(stream: TextIO) -> None:
    """Let a stream that cannot be written lead nowhere, so that it is not written once more at exit."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


class Output:
    """A text stream whose reader may go: a closed pipe or terminal must not stop hours of work."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_open = True
        self.encoding = getattr(stream, "encoding", None) or "utf-8"

    def is_terminal(self) -> bool:
        """Whether a line can be drawn again on it."""
        return self.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._ask(self._stream.isatty) is True

    def fileno(self) -> int:
        """The stream's file descriptor; raises OSError (io.UnsupportedOperation) where it has none."""
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Write; characters that the stream's encoding lacks become question marks."""
        try:
            self._ask(lambda: self._stream.write(text))
        except UnicodeEncodeError:
            plain = text.encode(self.encoding, "replace").decode(self.encoding)
            self._ask(lambda: self._stream.write(plain))
        return len(text)

    def flush(self) -> None:
        """Write out what is buffered."""
        self._ask(self._stream.flush)

    def _ask(self, action: Callable[[], object]) -> object:
        """Do something with the stream unless that has failed before."""
        if not self._is_open:
            return None
        try:
            return action()
        except UnicodeEncodeError:
            raise
        except (OSError, ValueError):  # ValueError: the stream was closed on our side
            self._is_open = False
            discard(self._stream)
            return None
